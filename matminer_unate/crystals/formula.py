"""Atomic numbers → formulas, by which crystals are grouped."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

Counts = tuple[tuple[int, int], ...]
"""Atomic numbers, ascending, and how many of each."""


def reduced_counts(atomic_numbers: NDArray[np.int64]) -> Counts:
    """Elements of sites (n_sites,) and how many of each, without their common divisor."""
    numbers, counts = np.unique(atomic_numbers, return_counts=True)
    counts //= np.gcd.reduce(counts)
    return tuple(zip(numbers.tolist(), counts.tolist(), strict=True))


def reduced_formula(atomic_numbers: NDArray[np.int64]) -> str:
    """Reduced formula of sites (n_sites,), as pymatgen writes it: ``SiO2``."""
    return _written(reduced_counts(atomic_numbers))


@cache
def _written(counts: Counts) -> str:
    """Cached, because polymorphs have the same."""
    from pymatgen.core import Composition

    return Composition(dict(counts)).reduced_formula
