"""Signs of health of an embedding, against matrices of which they are known."""

from __future__ import annotations

import copy
from dataclasses import fields

import numpy as np
import pytest
import torch
from pymatgen.core import Structure
from small_corpora import CUTOFF, make_corpus, prototypes

from corpora.batches import clean_view, mean_pool
from matminer_unate.network.config import EncoderConfig
from pretraining.config import LossWeights, PretrainConfig
from pretraining.monitor import (
    CompositionBaseline,
    Monitor,
    effective_rank,
    sphere_spread,
    within_group_share,
)
from pretraining.pretrainer import Pretrainer
from pretraining.views import ViewMaker


def test_the_effective_rank_of_known_matrices() -> None:
    axes = torch.eye(5)
    both = torch.cat([axes, -axes])  # mean zero, five equal singular values
    assert float(effective_rank(both)) == pytest.approx(5.0, rel=1e-5)
    assert float(effective_rank(both + 7.0)) == pytest.approx(5.0, rel=1e-4)
    line = torch.outer(torch.arange(6.0), torch.tensor([1.0, 2.0, 3.0]))
    assert float(effective_rank(line)) == pytest.approx(1.0, rel=1e-3)
    unequal = both @ torch.diag(torch.tensor([2.0, 1.0, 0.0, 0.0, 0.0]))
    entropy = -(2 / 3 * np.log(2 / 3) + 1 / 3 * np.log(1 / 3))
    assert float(effective_rank(unequal)) == pytest.approx(np.exp(entropy), rel=1e-4)
    assert float(effective_rank(torch.ones(4, 3))) == pytest.approx(1.0)  # all the same: collapsed


def test_targets_that_the_held_out_crystals_lack_are_not_measured() -> None:
    held_out = make_corpus(prototypes()[:4])
    monitor = Monitor(held_out, make_corpus(prototypes()[4:8]), max_edges=600)
    assert monitor.unknown == {"tight_binding", "tight_binding_crystal", "teacher"}


def test_a_network_that_knows_the_majority_only_is_as_good_as_that_guess() -> None:
    corpus = make_corpus(prototypes())
    config = PretrainConfig(
        weights=LossWeights(**{f.name: float(f.name == "node") for f in fields(LossWeights)}),
        encoder=EncoderConfig(
            cutoff=CUTOFF,
            width=8,
            n_layers=1,
            n_rbf=8,
            latent_dim=8,
            latent_layers=(1,),
            column_states=(),
        ),
    )
    model = Pretrainer(config, corpus)
    last = model.objectives["node"].decoder[-1]
    torch.nn.init.zeros_(last.weight)
    last.bias.data = torch.from_numpy(corpus.element_counts).float()
    monitor = Monitor(corpus, corpus, max_edges=600)
    assert len(monitor.batches) > 2
    views = ViewMaker(config, torch.from_numpy(corpus.element_counts))
    found = monitor(model, copy.deepcopy(model.encoder), views, torch.device("cpu"))
    assert 0 < found["monitor_majority_accuracy"] < found["monitor_composition_accuracy"]
    assert found["monitor_masked_accuracy"] == pytest.approx(found["monitor_majority_accuracy"])


def test_the_geometry_is_that_of_the_encoder_as_it_will_be_exported() -> None:
    corpus = make_corpus(prototypes()[:20])
    config = PretrainConfig(
        weights=LossWeights(**{f.name: float(f.name == "node") for f in fields(LossWeights)}),
        encoder=EncoderConfig(
            cutoff=CUTOFF, width=8, n_layers=1, n_rbf=8, latent_dim=8, latent_layers=(1,),
            column_states=(),
        ),
    )  # fmt: skip
    model = Pretrainer(config, corpus)
    views = ViewMaker(config, torch.from_numpy(corpus.element_counts))
    monitor, cpu = Monitor(corpus, corpus, max_edges=600), torch.device("cpu")
    average = copy.deepcopy(model.encoder)
    for norm in average.modules():
        if isinstance(norm, torch.nn.BatchNorm1d):
            norm.running_mean.fill_(3.0)  # of no network: averages are of parameters alone
            norm.running_var.fill_(50.0)
    kept = copy.deepcopy(average.state_dict())
    found = monitor(model, average, views, cpu)
    expected = monitor(model, model.encoder, views, cpu)
    for name in ("effective_rank", "spread_min", "spread_median", "within_element_share"):
        assert found[f"monitor_{name}"] == pytest.approx(expected[f"monitor_{name}"], rel=1e-4)
    assert all(value.equal(kept[name]) for name, value in average.state_dict().items())


def test_the_mean_pool_is_the_mean_of_each_crystal() -> None:
    batch = make_corpus(prototypes()[:5]).batch(np.array([3, 0, 4]))
    latent = torch.randn(len(batch.z), 7, generator=torch.Generator().manual_seed(0))
    expected = torch.stack(
        [part.mean(0) for part in latent.split(batch.site_start.diff().tolist())]
    )
    torch.testing.assert_close(mean_pool(latent, batch), expected)


def test_an_isotropic_cloud_has_spread_1_and_a_collapsed_one_0() -> None:
    cloud = torch.randn(20_000, 16, generator=torch.Generator().manual_seed(0))
    spread = sphere_spread(cloud)
    assert spread["spread_min"] == pytest.approx(1, abs=0.03)
    assert spread["spread_median"] == pytest.approx(1, abs=0.03)
    collapsed = sphere_spread(torch.ones(50, 16) + 1e-4 * cloud[:50])
    assert collapsed["spread_median"] < 1e-3


def test_the_share_within_groups_of_known_clouds() -> None:
    group = torch.tensor([3, 3, 7, 7])
    table = torch.tensor([[1.0], [1.0], [5.0], [5.0]])
    assert within_group_share(table, group) == pytest.approx(0)
    same_means = torch.tensor([[-1.0], [1.0], [-2.0], [2.0]])
    assert within_group_share(same_means, group) == pytest.approx(1)
    mixed = torch.tensor([[-1.0], [1.0], [3.0], [5.0]])  # means 0 and 4, 4 of 20 within
    assert within_group_share(mixed, group) == pytest.approx(4 / 20)


def test_the_composition_baseline_knows_what_goes_with_what() -> None:
    """Of salts of one cation each, the hidden anion follows from the cation."""
    pairs: list[Structure] = []
    for structure in prototypes():
        elements = set(structure.composition)
        if len(structure) == 2 and not any(elements & set(p.composition) for p in pairs):
            pairs.append(structure)
    assert len(pairs) >= 3
    corpus = make_corpus(pairs)
    baseline = CompositionBaseline(corpus)
    for k in range(len(pairs)):
        batch = corpus.batch(np.array([k]))
        z = batch.z.numpy().copy()
        hidden = z == z.max()
        answer = int(z.max())
        z[hidden] = 0
        assert baseline.predict(z, np.zeros(len(z), dtype=np.int64)) == [answer]


def test_a_clean_view_has_no_edge_of_the_skin_and_every_species() -> None:
    batch = make_corpus(prototypes()[:3]).batch(np.arange(3))
    view = clean_view(batch, CUTOFF)
    assert view.z.equal(batch.z)
    assert view.edge_vector.norm(dim=1).max() <= CUTOFF
    assert view.edge_vector.equal(batch.edge_vector[view.edge])
    assert not view.selected.any()
