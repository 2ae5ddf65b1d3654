"""The least pairwise loss that symmetry allows."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from encoded_batches import element_latents, encoded
from pair_cases import FORMS, entropy
from real_crystals import crystals
from small_corpora import CUTOFF, make_corpus
from torch import Tensor

from corpora.batches import CleanBatch
from objectives.pair_adjacency import PairAdjacency
from objectives.pair_targets import Form
from objectives.pairwise_floor import pairwise_floor


def test_the_floor_of_rock_salt_is_the_entropy_within_its_pairs_of_orbits() -> None:
    salt = crystals()["NaCl"]
    corpus = make_corpus([salt.get_primitive_structure(), salt])
    # One Na, one Cl and no self-image bonds: two of four pairs are joined, and orbits tell which.
    primitive = pairwise_floor("bond", corpus, np.array([0]))
    assert primitive == pytest.approx({"floor": 0, "marginal": math.log(2), "skill": 1}, abs=1e-6)
    # 24 of the 32 Na-Cl pairs, and of 64 in all. Which 24 nothing tells.
    floor, marginal = entropy(24, 8) / 64, entropy(24, 40) / 64
    found = pairwise_floor("bond", corpus, np.array([1]))
    expected = {"floor": floor, "marginal": marginal, "skill": 1 - floor / marginal}
    assert found == pytest.approx(expected, abs=1e-6)
    both = pairwise_floor("bond", corpus, np.array([0, 1]))
    assert both["floor"] == pytest.approx(floor / 2, abs=1e-6)

    # Multiplicity: 24 Na-Cl pairs of two, 8 of none; 24 Na-Na and Cl-Cl of four, 8 sites of none.
    found = pairwise_floor("multiplicity", corpus, np.array([1]))
    weight = 24 + 24 + 0.1 * 16
    assert found["floor"] == pytest.approx(entropy(24, 0.8) / weight, abs=1e-6)
    assert found["marginal"] == pytest.approx(entropy(24, 24, 1.6) / weight, abs=1e-6)
    assert pairwise_floor("multiplicity", corpus, np.array([0]))["floor"] < 1e-6

    assert pairwise_floor("pair-rdf", corpus, np.array([0]))["floor"] < 1e-9
    assert pairwise_floor("pair-rdf", corpus, np.array([1]))["floor"] > 5e-4


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("form", FORMS)
def test_embeddings_that_respect_the_symmetry_reach_the_floor_and_no_less(form: Form) -> None:
    # In both, all sites of one element are equivalent.
    corpus = make_corpus([crystals()["NaCl"], crystals()["TiO2 rutile"]])
    batch = corpus.batch(np.array([0, 1]))
    floor = pairwise_floor(form, corpus, np.array([0, 1]))["floor"]
    lowest, last = train(form, batch, element_latents(batch, 12))
    assert lowest > floor - 1e-6
    assert last < floor * 1.03 + 1e-4
    # Sites told apart have more to say.
    apart = torch.randn(len(batch.z), 12, generator=torch.Generator().manual_seed(0))
    assert train(form, batch, apart)[1] < 0.8 * floor


def train(form: Form, batch: CleanBatch, latent: Tensor, steps: int = 200) -> tuple[float, float]:
    """Lowest and last loss of a decoder of fixed latents."""
    torch.manual_seed(0)
    head, view = PairAdjacency(12, form, CUTOFF), encoded(batch, latent)
    optimizer = torch.optim.Adam(head.parameters())
    losses = []
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 0.02 * (1 - step / steps)
        loss, _ = head(view, batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return min(losses), losses[-1]
