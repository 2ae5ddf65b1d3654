"""A model to explain."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from few_trees import trees
from real_crystals import crystals

from matminer_unate import UnateRegressor


@pytest.fixture(scope="package")
def fitted(tiny_weights: Path) -> Iterator[UnateRegressor]:
    """It has learned densities."""
    structures = list(crystals().values())
    model = UnateRegressor(tiny_weights, device="cpu", n_folds=3, progress=False)
    with trees(5):
        yield model.fit(structures, [s.density for s in structures])
