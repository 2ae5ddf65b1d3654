"""Compositions → Magpie's statistics of element properties, all at once.

Equal to what matminer's ``ElementProperty.from_preset("magpie", impute_nan=True)`` computes one
composition and one number at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from matminer_unate.crystals.formula import Counts
from matminer_unate.physics.elements import Floats, magpie_property

MAGPIE = (
    "Number", "MendeleevNumber", "AtomicWeight", "MeltingT", "Column", "Row", "CovalentRadius",
    "Electronegativity", "NsValence", "NpValence", "NdValence", "NfValence", "NValence",
    "NsUnfilled", "NpUnfilled", "NdUnfilled", "NfUnfilled", "NUnfilled", "GSvolume_pa",
    "GSbandgap", "GSmagmom", "SpaceGroupNumber",
)  # fmt: skip
"""Magpie's 22 element properties (Ward et al. 2016), as in matminer's ``magpie`` preset."""

MEANINGS = {
    "Number": ("atomic number", "–"),
    "MendeleevNumber": ("Mendeleev number", "–"),
    "AtomicWeight": ("atomic weight", "u"),
    "MeltingT": ("melting point of the element", "K"),
    "Column": ("column of the periodic table", "–"),
    "Row": ("row of the periodic table", "–"),
    "CovalentRadius": ("covalent radius", "pm"),
    "Electronegativity": ("electronegativity", "Pauling"),
    "NsValence": ("filled s valence states", "–"),
    "NpValence": ("filled p valence states", "–"),
    "NdValence": ("filled d valence states", "–"),
    "NfValence": ("filled f valence states", "–"),
    "NValence": ("filled valence states", "–"),
    "NsUnfilled": ("empty s valence states", "–"),
    "NpUnfilled": ("empty p valence states", "–"),
    "NdUnfilled": ("empty d valence states", "–"),
    "NfUnfilled": ("empty f valence states", "–"),
    "NUnfilled": ("empty valence states", "–"),
    "GSvolume_pa": ("volume per atom of the element", "Å³"),
    "GSbandgap": ("band gap of the element", "eV"),
    "GSmagmom": ("magnetic moment of the element", "μB"),
    "SpaceGroupNumber": ("space group number of the element", "–"),
}
"""In words, and the unit of each."""

STATISTICS = ("minimum", "maximum", "range", "mean", "avg_dev", "mode")
"""Over the atoms of a formula. ``avg_dev`` is the mean distance from the mean, ``mode`` the value
of the commonest element, the least of them where several are as common."""

_STATISTICS_IN_WORDS = (
    "least of the atoms",
    "largest of the atoms",
    "range over the atoms",
    "mean over the atoms",
    "mean deviation over the atoms",
    "of the commonest element",
)

MAGPIE_LABELS = [f"MagpieData {s} {name}" for name in MAGPIE for s in STATISTICS]
"""matminer's names of the columns."""


MAGPIE_MEANINGS = [
    (f"MagpieData {statistic} {name}", MEANINGS[name][1], f"{MEANINGS[name][0]}, {words}")
    for name in MAGPIE
    for statistic, words in zip(STATISTICS, _STATISTICS_IN_WORDS, strict=True)
]
"""Name, unit and meaning of each column."""


def magpie_statistics(compositions: Sequence[Counts]) -> NDArray[np.float32]:
    """Columns ``MAGPIE_LABELS`` of compositions, (n, 132).

    References
    ----------
    Ward et al., npj Comput. Mater. 2, 16028 (2016), doi:10.1038/npjcompumats.2016.28.
    """
    if not compositions:
        return np.empty((0, len(MAGPIE_LABELS)), np.float32)
    n_kinds = np.array([len(counts) for counts in compositions])
    starts = np.cumsum(n_kinds) - n_kinds
    numbers, atoms = np.array([pair for counts in compositions for pair in counts]).T
    values, weight = _table()[numbers], atoms[:, None].astype(np.float64)

    def total(of_elements: Floats) -> Floats:
        return np.add.reduceat(of_elements, starts)

    def repeated(of_compositions: Floats) -> Floats:
        return np.repeat(of_compositions, n_kinds, axis=0)

    n_atoms = total(weight)
    low, high = np.minimum.reduceat(values, starts), np.maximum.reduceat(values, starts)
    mean = total(values * weight) / n_atoms
    deviation = total(np.abs(values - repeated(mean)) * weight) / n_atoms
    is_commonest = weight == repeated(np.maximum.reduceat(weight, starts))
    mode = np.minimum.reduceat(np.where(is_commonest, values, np.inf), starts)
    found = np.stack([low, high, high - low, mean, deviation, mode], axis=2)
    return found.reshape(len(compositions), -1).astype(np.float32)


@cache
def _table() -> Floats:
    """The properties by atomic number, (119, 22)."""
    return np.stack([magpie_property(name) for name in MAGPIE], axis=1)
