"""Magpie's statistics against matminer's, one by one."""

from __future__ import annotations

import numpy as np
import pytest
from matminer.featurizers.composition import ElementProperty
from pymatgen.core import Composition

from matminer_unate.physics.magpie import MAGPIE_LABELS, magpie_statistics


@pytest.fixture(scope="module")
def matminers() -> ElementProperty:
    featurizer = ElementProperty.from_preset("magpie", impute_nan=True)
    featurizer.set_n_jobs(1)
    return featurizer


def test_names_are_matminers(matminers: ElementProperty) -> None:
    assert matminers.feature_labels() == MAGPIE_LABELS


def test_every_number_is_matminers(matminers: ElementProperty) -> None:
    rng = np.random.default_rng(0)
    formulas = [((z, 1),) for z in range(1, 119)]
    for _ in range(200):
        size = rng.integers(2, 10)
        numbers = np.sort(rng.choice(np.arange(1, 119), size, replace=False))
        counts = rng.integers(1, 13, size)
        formulas.append(tuple(zip(numbers.tolist(), counts.tolist(), strict=True)))
    rows = matminers.featurize_many([Composition(dict(f)) for f in formulas], pbar=False)
    np.testing.assert_array_equal(magpie_statistics(formulas), np.array(rows, np.float32))


def test_no_composition_has_no_row() -> None:
    assert magpie_statistics([]).shape == (0, 132)
