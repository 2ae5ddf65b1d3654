"""Vectors of the elements: the shrinking on small numbers, the command on small crystals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from real_crystals import crystals
from small_corpora import as_crystal, write_parquet
from tiny_encoder import TINY

import element_vectors
from benchmarks.embeddings.element_means import ElementMeans, empirical_bayes
from matminer_unate import UnateFeaturizer
from matminer_unate.errors import UnateWarning
from matminer_unate.network.element_vectors import element_vectors as read_vectors
from matminer_unate.network.encoder import SiteEncoder
from matminer_unate.network.weights import save_encoder

NAMES = ("NaCl", "SrTiO3", "ZnO wurtzite", "TiO2 rutile", "SiO2 quartz", "Si")


def means_of(z: list[int], vectors: np.ndarray) -> ElementMeans:
    means = ElementMeans(vectors.shape[1])
    means.add(np.array(z), vectors.astype(np.float32))
    return means


def test_the_share_of_its_own_grows_with_the_vectors_of_an_element() -> None:
    counts = {1: 1, 2: 3, 3: 10, 4: 1000}
    rng = np.random.default_rng(0)
    true = dict(zip(counts, rng.normal(0, 2, (4, 500)), strict=True))
    z = [element for element, n in counts.items() for _ in range(n)]
    scattered = np.array([true[element] for element in z]) + rng.normal(0, 3, (len(z), 500))
    means = means_of(z, scattered)
    vectors, share = empirical_bayes(means)
    # τ² = 4 and σ² = 9: w = 4/(4 + 9/n).
    np.testing.assert_allclose(share, [4 / 13, 4 / 7, 4 / 4.9, 4 / 4.009], atol=0.04)
    truth = np.array(list(true.values()))
    errors = np.square(vectors - truth).mean(axis=1)
    before = np.square(means.means() - truth).mean(axis=1)
    assert (errors[:2] < 0.8 * before[:2]).all()
    assert errors[3] == pytest.approx(before[3], rel=0.05)


def test_without_scatter_or_without_differences_there_is_nothing_to_weigh() -> None:
    vectors, share = empirical_bayes(means_of([1, 1, 2], np.array([[1.0], [1.0], [5.0]])))
    np.testing.assert_allclose(vectors, [[1.0], [5.0]])
    assert (share == 1).all()
    vectors, share = empirical_bayes(means_of([1, 1, 2, 2], np.array([[0.0], [2], [0.5], [1.5]])))
    np.testing.assert_allclose(vectors, [[1.0], [1.0]])
    assert (share == 0).all()
    vectors, _ = empirical_bayes(means_of([7], np.array([[3.0]])))
    np.testing.assert_allclose(vectors, [[3.0]])


def test_the_command_averages_over_crystals_and_leaves_out_what_the_weights_do_not_know(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    structures = [crystals()[name] for name in NAMES]
    write_parquet(tmp_path / "crystals.parquet", [as_crystal(s) for s in structures])
    torch.manual_seed(0)
    counts = dict.fromkeys(sorted({z for s in structures for z in s.atomic_numbers} - {38}), 9)
    run = {"data": ["crystals.parquet"], "part": "all", "max_sites": 20, "limit": 0}
    weights = tmp_path / "weights"
    save_encoder(weights, "mine", SiteEncoder(TINY).eval(), counts, {"config": run}, "{sha256}")

    element_vectors.main(["--weights", str(weights), "--data", str(tmp_path)])

    shown = capsys.readouterr().out
    assert "6 elements of 6 crystals" in shown
    assert "Na     1 crystals" in shown
    found = read_vectors(weights)
    assert sorted(np.flatnonzero(found.is_known)) == sorted(counts)
    with pytest.warns(UnateWarning, match="have not seen"):
        sites = UnateFeaturizer(weights, device="cpu").embed_sites(structures)
    means = ElementMeans(TINY.latent_dim)
    for structure, vectors in zip(structures, sites, strict=True):
        z = np.array(structure.atomic_numbers)
        for element in sorted(set(z.tolist()) & set(counts)):
            means.add(np.array([element]), vectors[z == element].mean(axis=0, keepdims=True))
    expected, share = empirical_bayes(means)
    np.testing.assert_allclose(found.vectors[found.is_known], expected, atol=1e-4)
    np.testing.assert_allclose(found.own_share[found.is_known], share, atol=1e-4)
    assert found.n_crystals[8] == 4
