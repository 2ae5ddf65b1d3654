"""Formulas of crystals, by which rows are grouped."""

from __future__ import annotations

from collections import Counter
from functools import cache
from typing import Any

import numpy as np
from pymatgen.core import Composition, Element

from matminer_unate.crystals.graph import RadiusGraph
from matminer_unate.crystals.structures import arrays_of


def formula_key(graph: RadiusGraph) -> str:
    numbers, counts = np.unique(graph.atomic_numbers, return_counts=True)
    counts = counts // np.gcd.reduce(counts)
    return " ".join(f"{z}:{n}" for z, n in zip(numbers, counts, strict=True))


def composition(structure: Any) -> Any:
    """Composition of elements, of a Structure or ASE Atoms."""
    from pymatgen.core import Composition

    numbers, counts = np.unique(arrays_of(structure)[2], return_counts=True)
    return Composition({int(z): int(n) for z, n in zip(numbers, counts, strict=True)})


@cache
def formula_of_numbers(numbers: bytes) -> str:
    """Reduced formula of sorted atomic numbers; cached, because polymorphs have the same."""
    counts = Counter(np.frombuffer(numbers, dtype=np.int64).tolist())
    return Composition({Element.from_Z(z): n for z, n in counts.items()}).reduced_formula
