"""Tabulated properties of the elements, and guessed oxidation states."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_MAX_GUESSES = 20_000


@dataclass(frozen=True)
class _ElementTable:
    """Per-element numbers by atomic number, (119,) each; index 0 is unused."""

    electronegativity: Floats
    radius: Floats  # Å
    valence: Floats
    row: Floats


@lru_cache(maxsize=1)
def element_table() -> _ElementTable:
    return _ElementTable(
        electronegativity=magpie_property("Electronegativity"),
        radius=magpie_property("CovalentRadius") / 100.0,  # stored in pm
        valence=magpie_property("NValence"),
        row=magpie_property("Row"),
    )


def magpie_property(name: str) -> Floats:
    """One of Magpie's element properties by atomic number, (119,).

    Missing values are the mean over the elements, as in matminer's ``impute_nan``.

    References
    ----------
    Ward et al., npj Comput. Mater. 2, 16028 (2016), doi:10.1038/npjcompumats.2016.28.
    """
    from matminer.utils.data import MagpieData
    from pymatgen.core import Element

    values = MagpieData(impute_nan=True).all_elemental_props[name]
    table = np.full(119, np.nan)
    for z in range(1, 119):
        table[z] = values.get(Element.from_Z(z).symbol, np.nan)
    return np.where(np.isnan(table), np.nanmean(table), table)


@lru_cache(maxsize=1)
def is_tabulated() -> NDArray[np.bool_]:
    """Whether the table has electronegativity and radius of each atomic number, (119,).

    Of helium, neon, argon, radon, berkelium and what follows it lacks one of them, and the mean
    over the elements stands in.
    """
    from matminer.utils.data import MagpieData
    from pymatgen.core import Element

    raw = MagpieData(impute_nan=False).all_elemental_props
    known = np.zeros(119, dtype=bool)
    for z in range(1, 119):
        symbol = Element.from_Z(z).symbol
        values = [raw[name].get(symbol, np.nan) for name in ("Electronegativity", "CovalentRadius")]
        known[z] = bool(np.isfinite(values).all())
    return known


@lru_cache(maxsize=200_000)
def guess_oxidation_states(formula: tuple[tuple[int, int], ...]) -> tuple[tuple[float, ...], float]:
    """Guess one oxidation state an element: common states, as neutral as they go.

    Parameters
    ----------
    formula : tuple of (atomic number, count)

    Returns
    -------
    states : tuple of float
        In the order of ``formula``.
    imbalance : float
        Absolute charge per atom that is left.
    """
    from pymatgen.core import Element

    if len(formula) == 1:
        return (0.0,), 0.0
    chi = element_table().electronegativity
    # Electronegative elements choose first and want their most negative state.
    order = sorted(range(len(formula)), key=lambda k: -chi[formula[k][0]])
    choices = []
    for rank, k in enumerate(order):
        states = Element.from_Z(formula[k][0]).common_oxidation_states or (0,)
        choices.append(sorted(states, reverse=rank > 0 and max(states) > 0))
    n_atoms = sum(count for _, count in formula)
    best: tuple[float, tuple[int, ...]] | None = None
    for states in itertools.islice(itertools.product(*choices), _MAX_GUESSES):
        charge = abs(sum(s * formula[k][1] for s, k in zip(states, order, strict=True)))
        if best is None or charge < best[0]:
            best = (charge, states)
        if charge == 0:
            break
    assert best is not None  # every element has at least one state
    result = [0.0] * len(formula)
    for s, k in zip(best[1], order, strict=True):
        result[k] = float(s)
    return tuple(result), best[0] / n_atoms
