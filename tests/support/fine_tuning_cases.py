"""Small fine-tuned regressors, for the tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pymatgen.core import Structure
from small_corpora import prototypes

from matminer_unate import UnateFineTuneRegressor
from matminer_unate.errors import StructureError
from matminer_unate.featurizers.tight_binding_stats import TightBindingStats


def structures(n: int = 24) -> list[Structure]:
    """Of elements that the tiny weights know."""
    known = [s for s in prototypes() if max(s.atomic_numbers) <= 83]
    return known[:n]


def volumes(crystals: list[Structure]) -> np.ndarray:
    """Å³ per atom."""
    return np.array([s.volume / len(s) for s in crystals])


def make(weights: Path, **options: object) -> UnateFineTuneRegressor:
    defaults: dict[str, object] = {
        "epochs": 3, "batch_size": 8, "n_members": 1, "tight_binding": False, "progress": False,
        "device": "cpu",
    }  # fmt: skip
    return UnateFineTuneRegressor(weights, **defaults | options)


def no_tight_binding(self: TightBindingStats, structure: object) -> None:
    raise StructureError("it is too large")
