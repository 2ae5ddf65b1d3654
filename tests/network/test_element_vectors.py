"""The vectors of the elements beside the weights: read, refused, and what they know."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from matminer_unate.errors import WeightsError
from matminer_unate.network.element_vectors import (
    ELEMENTS,
    element_vectors,
    write_element_vectors,
)
from matminer_unate.network.weights import shipped_weights, weights_config


@pytest.mark.parametrize("weights", shipped_weights())
def test_shipped_weights_have_a_vector_of_every_element_that_they_have_seen(weights: str) -> None:
    found = element_vectors(weights)
    assert (found.is_known == weights_config(weights).is_known).all()
    assert np.isfinite(found.vectors[found.is_known]).all()
    assert np.isnan(found.vectors[~found.is_known]).all()
    order = np.argsort(found.n_crystals[found.is_known])
    share = found.own_share[found.is_known][order]
    assert (np.diff(share) >= 0).all()  # the rarer, the less its own
    assert share[0] < 0.8
    assert share[-1] > 0.999


def test_shipped_vectors_know_the_columns_of_the_periodic_table() -> None:
    vectors = element_vectors("mp_v3").vectors
    for element, nearest in {19: 37, 17: 35, 34: 16, 41: 42, 59: 60, 63: 70}.items():
        distance = np.linalg.norm(vectors - vectors[element], axis=1)
        distance[element] = np.nan
        assert np.nanargmin(distance) == nearest  # K-Rb, Cl-Br, Se-S, Nb-Mo, Pr-Nd, Eu-Yb


def test_written_vectors_are_read_as_they_were(weights_with_elements: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(weights_with_elements, folder)
    before = element_vectors(weights_with_elements)
    changed = type(before)(before.vectors + 1, before.n_crystals, before.own_share)
    write_element_vectors(folder, changed)
    after = element_vectors(folder)
    np.testing.assert_array_equal(after.vectors, before.vectors + 1)
    assert after.n_crystals.dtype == np.int64
    assert not after.vectors.flags.writeable
    assert sorted(p.name for p in folder.iterdir()) == sorted(
        p.name for p in weights_with_elements.iterdir()
    )


def test_missing_damaged_and_foreign_tables_are_refused_with_the_command(
    tiny_weights: Path, other_weights: Path, weights_with_elements: Path, tmp_path: Path
) -> None:
    with pytest.raises(WeightsError, match=r"no elements.safetensors.*element_vectors.py --weig"):
        element_vectors(tiny_weights)
    folder = tmp_path / "weights"
    shutil.copytree(other_weights, folder)
    shutil.copy(weights_with_elements / ELEMENTS, folder / ELEMENTS)
    with pytest.raises(WeightsError, match=r"is of other weights \(tiny, sha256 .*again with"):
        element_vectors(folder)
    (folder / ELEMENTS).write_bytes(b"no tensors")
    with pytest.raises(WeightsError, match=r"cannot be read .*again with"):
        element_vectors(folder)
