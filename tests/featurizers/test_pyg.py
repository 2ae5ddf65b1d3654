"""Crystals and the encoder in networks of torch_geometric."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from pymatgen.core import Lattice, Structure
from real_crystals import crystals
from torch_geometric.data import Batch
from torch_geometric.loader import DataLoader
from torch_geometric.nn import global_mean_pool

from matminer_unate import UnateFeaturizer
from matminer_unate.crystals.pyg import structure_to_data
from matminer_unate.errors import InputError, StructureError, UnateWarning
from matminer_unate.featurizers.pyg import to_data
from matminer_unate.network.pyg import UnateEncoderLayer

THORIA = Structure.from_spacegroup(
    "Fm-3m", Lattice.cubic(5.6), ["Th", "O"], [[0, 0, 0], [0.25, 0.25, 0.25]]
)


def some() -> list[Structure]:
    return [crystals()[name] for name in ("NaCl", "TiO2 rutile", "SiO2 quartz")]


def test_a_graph_holds_the_crystal_and_the_vectors_of_its_edges(tiny_weights: Path) -> None:
    quartz = crystals()["SiO2 quartz"]
    (data,) = to_data([quartz], tiny_weights)
    np.testing.assert_array_equal(data.z, quartz.atomic_numbers)
    np.testing.assert_allclose(data.pos, quartz.cart_coords, atol=1e-5)
    np.testing.assert_allclose(data.cell[0], quartz.lattice.matrix, atol=1e-5)
    source, target = data.edge_index
    steps = (data.edge_vector - data.pos[source] + data.pos[target]).double()
    steps = steps @ torch.linalg.inv(data.cell[0].double())
    np.testing.assert_allclose(steps, steps.round(), atol=1e-5)  # lattice translations
    assert data.edge_vector.norm(dim=1).max() <= data.cutoff


def test_x_is_what_the_featurizer_says_of_the_sites(tiny_weights: Path) -> None:
    featurizer = UnateFeaturizer(tiny_weights)
    frame = pd.DataFrame({"structure": some()}, index=["a", "b", "c"])
    for data, structure in zip(to_data(frame, tiny_weights), some(), strict=True):
        assert data.x.dtype == torch.float32
        np.testing.assert_allclose(data.x, featurizer.embed_sites(structure), atol=1e-5)
    assert all("x" not in data for data in to_data(some(), tiny_weights, embeddings=False))


def test_the_layer_says_the_same_of_a_batch_as_of_each_graph_alone(tiny_weights: Path) -> None:
    graphs = to_data([*some(), crystals()["MgAl2O4 spinel"]], tiny_weights)
    layer = UnateEncoderLayer(tiny_weights).eval()
    batch = Batch.from_data_list(graphs)
    species = batch.z.clone()
    found = layer(batch)
    assert found.shape == (len(batch.z), layer.out_channels)
    torch.testing.assert_close(found, torch.cat([layer(data) for data in graphs]))
    torch.testing.assert_close(found, batch.x, rtol=1e-4, atol=1e-5)
    assert torch.equal(batch.z, species)


@pytest.mark.parametrize("frozen", [False, True])
def test_what_is_not_frozen_learns_on(tiny_weights: Path, frozen: bool) -> None:
    batch = next(iter(DataLoader(to_data(some(), tiny_weights, embeddings=False), batch_size=3)))
    layer = UnateEncoderLayer(tiny_weights, frozen).train()
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    head = torch.nn.Linear(layer.out_channels, 1)
    optimizer = torch.optim.SGD([*layer.parameters(), *head.parameters()], lr=0.1)
    head(global_mean_pool(layer(batch), batch.batch)).square().sum().backward()
    optimizer.step()
    gradients = [p.grad for p in layer.encoder.backbone.parameters()]
    assert head.weight.grad is not None
    if frozen:
        assert all(gradient is None for gradient in gradients)
        assert all(torch.equal(before[n], v) for n, v in layer.state_dict().items())
    else:
        assert all(gradient is not None for gradient in gradients)
        assert layer.encoder.backbone.species.weight.grad.any()


def test_gradients_reach_the_positions_through_a_frozen_layer(tiny_weights: Path) -> None:
    (data,) = to_data([crystals()["SiO2 quartz"]], tiny_weights)
    data.edge_vector.requires_grad_()
    UnateEncoderLayer(tiny_weights, frozen=True).train()(data).square().sum().backward()
    assert data.edge_vector.grad.abs().max() > 0


def test_unknown_elements_are_masked_and_told(tiny_weights: Path) -> None:
    with pytest.warns(UnateWarning, match="have not seen \\(Th\\)"):
        (data,) = to_data([THORIA], tiny_weights)
    assert 90 in data.z.tolist()
    torch.testing.assert_close(UnateEncoderLayer(tiny_weights).eval()(data), data.x)


def test_graphs_of_another_cutoff_are_refused(tiny_weights: Path) -> None:
    with pytest.raises(InputError, match=r"cutoff of 3 Å, the weights read 4\.5 Å"):
        UnateEncoderLayer(tiny_weights)(structure_to_data(THORIA, 3.0))


def test_an_unusable_structure_is_named_by_its_row(tiny_weights: Path) -> None:
    with pytest.raises(StructureError, match=r"row 1: "):
        to_data([some()[0], None], tiny_weights)
    with pytest.raises(StructureError, match=r"row 1 \(index 'b'\): "):
        to_data(pd.Series([some()[0], None], index=["a", "b"]), tiny_weights)
