"""Crystals → columns of this package: blocks of ``UnateRegressor``, and an untrained encoder."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from benchmarks.columns.regressors import Matrix
from benchmarks.untrained import untrained_twin
from matminer_unate import CellStats, SiteDescriptorStats, UnateFeaturizer
from matminer_unate.crystals.structures import crystal_arrays
from matminer_unate.regressors.recipe import cell_columns, composition_columns, tight_binding_stats

OWN_BLOCKS: dict[str, Callable[[pd.Series], Matrix]] = {
    "magpie": composition_columns,
    "cell": cell_columns,
    "physics": lambda crystals: SiteDescriptorStats().transform(crystals),
    "fingerprint": lambda crystals: SiteDescriptorStats(descriptors="fingerprint").transform(
        crystals
    ),
    "cell-stats": lambda crystals: CellStats().transform(crystals),
    "tight-binding": lambda crystals: tight_binding_stats().transform(crystals),
}
"""Structures → columns that no network is needed for, as ``UnateRegressor`` computes them."""


def untrained(table: pd.DataFrame, weights: str) -> Matrix:
    """The same network with random weights, its norms fitted to the ``train`` formulas."""
    some = table["structure"][table["formula_split"] == "train"]
    arrays = (crystal_arrays(structure) for structure in some)
    with tempfile.TemporaryDirectory() as folder:
        twin = untrained_twin(weights, Path(folder), arrays)
        return UnateFeaturizer(twin).transform(table["structure"])
