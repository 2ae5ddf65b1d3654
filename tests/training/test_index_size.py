"""Rows that stand for those of a large index, and what is measured of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from real_crystals import crystals

from index_size import K, agreement, measure, synthetic
from matminer_unate import UnateIndex


@pytest.fixture
def real(tiny_weights: Path) -> UnateIndex:
    structures = [s.copy().apply_strain(k / 200) for s in crystals().values() for k in range(3)]
    return UnateIndex(structures, weights=tiny_weights, device="cpu")


def test_rows_are_moved_by_noise_and_formulas_have_as_many_as_before(real: UnateIndex) -> None:
    n = len(real)
    index = synthetic(real, 2 * n, np.random.default_rng(0))
    assert len(index) == len(set(index.ids)) == 2 * n
    apart = index.embeddings - np.tile(real.embeddings, (2, 1))
    assert np.linalg.norm(apart, axis=1).mean() == pytest.approx(1, abs=0.2)
    of = [[formulas.count(f) for f in formulas] for formulas in (real.formulas, index.formulas)]
    assert of[1] == 2 * of[0]


def test_steps_are_measured_and_the_search_agrees_with_a_plain_one(
    real: UnateIndex, tmp_path: Path
) -> None:
    real.save(tmp_path)
    rows = measure(tmp_path, 2 * len(real))
    assert [row["step"] for row in rows][:2] == ["load", "save"]
    assert all(row["peak_mb"] >= row["held_mb"] for row in rows)
    assert [row["agreement"] for row in rows if "agreement" in row] == [1.0]


def test_agreement_counts_the_rows_that_are_the_nearest(real: UnateIndex) -> None:
    asked = np.repeat(real.embeddings[:1], 20, axis=0)
    found = real.query_embeddings(asked, K)
    assert agreement(real.embeddings, asked, found) == 1
    found["row"] = (found["row"] + 1) % len(real)
    assert agreement(real.embeddings, asked, found) < 1
