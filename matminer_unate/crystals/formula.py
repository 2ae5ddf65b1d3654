"""Atomic numbers → formulas, by which crystals are grouped."""

from __future__ import annotations

import math
from collections import Counter
from functools import cache

import numpy as np
from numpy.typing import NDArray

Counts = tuple[tuple[int, int], ...]
"""Atomic numbers, ascending, and how many of each."""


def reduced_counts(atomic_numbers: NDArray[np.int64]) -> Counts:
    """Elements of sites (n_sites,) and how many of each, without their common divisor."""
    counts = Counter(atomic_numbers.tolist())
    divisor = math.gcd(*counts.values())
    return tuple((z, counts[z] // divisor) for z in sorted(counts))


def reduced_formula(atomic_numbers: NDArray[np.int64]) -> str:
    """Reduced formula of sites (n_sites,), as pymatgen writes it: ``SiO2``."""
    return written_formula(reduced_counts(atomic_numbers))


@cache
def written_formula(counts: Counts) -> str:
    """The same of elements and how many of each; cached, because polymorphs have the same."""
    from pymatgen.core import Composition

    return Composition(dict(counts)).reduced_formula


def averaged_formula(atomic_numbers: NDArray[np.int64], occupancy: NDArray[np.float32]) -> str:
    """Formula of partial sites (n_sites,), as ``Zn1Cu0.25Au0.5``."""
    from pymatgen.core import Composition, Element

    amounts: dict[Element, float] = {}
    for z, share in zip(atomic_numbers.tolist(), occupancy.tolist(), strict=True):
        element = Element.from_Z(z)
        amounts[element] = amounts.get(element, 0.0) + share
    rounded = {element: round(amount, 4) for element, amount in amounts.items()}
    return str(Composition(rounded).reduced_formula)
