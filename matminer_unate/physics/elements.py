"""Tabulated properties of the elements, and guessed oxidation states."""

from __future__ import annotations

import itertools
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from matminer_unate.crystals.formula import Counts

Floats = NDArray[np.float64]
_MAX_GUESSES = 20_000


@dataclass(frozen=True)
class _ElementTable:
    """Per-element numbers by atomic number, (119,) each; index 0 is unused."""

    electronegativity: Floats
    radius: Floats  # Å
    valence: Floats
    row: Floats


@cache
def element_table() -> _ElementTable:
    return _ElementTable(
        electronegativity=magpie_property("Electronegativity"),
        radius=magpie_property("CovalentRadius") / 100.0,  # stored in pm
        valence=magpie_property("NValence"),
        row=magpie_property("Row"),
    )


@cache
def magpie_property(name: str) -> Floats:
    """One of Magpie's element properties by atomic number, (119,).

    Missing values are the mean over the elements, as in matminer's ``impute_nan``.

    References
    ----------
    Ward et al., npj Comput. Mater. 2, 16028 (2016), doi:10.1038/npjcompumats.2016.28.
    """
    table = _as_tabulated(name)
    table[1:][np.isnan(table[1:])] = np.nanmean(table[1:])
    table[0] = np.nanmean(table)
    table.setflags(write=False)
    return table


@cache
def is_tabulated() -> NDArray[np.bool_]:
    """Whether the table has electronegativity and radius of each atomic number, (119,).

    Of helium, neon, argon, radon, berkelium and what follows it lacks one of them, and the mean
    over the elements stands in.
    """
    return np.isfinite(_as_tabulated("Electronegativity") + _as_tabulated("CovalentRadius"))


@cache
def has_radius() -> NDArray[np.bool_]:
    """Whether the table has the covalent radius of each atomic number, (119,)."""
    return np.isfinite(_as_tabulated("CovalentRadius"))


def _as_tabulated(name: str) -> Floats:
    """By atomic number, (119,); NaN where there is no value.

    From the file in matminer, whose ``MagpieData`` reads and imputes all 22: half a second.
    """
    file = files("matminer.utils") / "data_files" / "magpie_elementdata" / f"{name}.table"
    table = np.full(119, np.nan)
    for z, line in enumerate(file.read_text(encoding="utf-8").splitlines()[:118], start=1):
        with suppress(ValueError):  # "Missing"
            table[z] = float(line)
    return table


@lru_cache(maxsize=200_000)
def guess_oxidation_states(formula: Counts) -> tuple[tuple[float, ...], float]:
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
