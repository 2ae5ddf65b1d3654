"""Columns of the cell that were thought of for ``CellStats``, and did not pay.

Kept so that ``training/cell_columns.py`` can say so again. The matrix of electronegativity
equalisation is that of Rappé and Goddard, J. Phys. Chem. 95, 3358 (1991), doi:10.1021/j100161a070,
with the interaction screened to three tenths: unscreened, charges of many crystals diverge.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pandas as pd
from scipy.special import erfc

from benchmarks.columns.regressors import Matrix
from matminer_unate.crystals.formula import reduced_counts
from matminer_unate.crystals.graph import RadiusGraph, radius_graph
from matminer_unate.crystals.lattice import cell_heights
from matminer_unate.crystals.structures import crystal_arrays
from matminer_unate.physics.bonded_networks import CUTOFF, distances, fading
from matminer_unate.physics.elements import (
    Floats,
    element_table,
    guess_oxidation_states,
    magpie_property,
)

COULOMB = 14.3996  # eV Å
WOLF_ALPHA = 0.3  # 1/Å
SCREENING = 0.3
KJ_PER_MOL = 96.485  # of an eV

SITES_AT_MOST = 1_000
"""For the dense matrix of electronegativity equalisation."""


def polarisability(graph: RadiusGraph, volume: float) -> list[float]:
    """Mean free-atom polarisability (Å³; CRC Handbook, in Magpie's tables), Clausius-Mossotti's
    4π/3 Σα/V and its logarithm, and the refractive index squared that it gives, bounded."""
    alpha = magpie_property("Polarizability")[graph.atomic_numbers]
    ratio = 4 / 3 * math.pi * float(alpha.sum()) / volume
    bounded = min(ratio, 0.9)
    index = (1 + 2 * bounded) / (1 - bounded)
    return [float(alpha.mean()), ratio, math.log(ratio), index]


def bond_stiffness(graph: RadiusGraph, volume: float) -> list[float]:
    """Frequencies of atoms held by springs, of springs by reduced masses, and Σ k d² per volume."""
    z, (source, target) = graph.atomic_numbers, graph.edge_index
    radius, mass = element_table().radius[z], magpie_property("AtomicWeight")[z]
    distance = distances(graph)
    spring = np.exp(np.minimum((radius[source] + radius[target] - distance) / 0.37, 1.1))
    spring = spring * fading(distance)
    held = np.bincount(target, spring, minlength=len(z)) + 1e-9
    atoms = np.sqrt(held / mass)
    reduced = mass[source] * mass[target] / (mass[source] + mass[target])
    bonds = float(np.sqrt(spring / reduced).max(initial=1e-9))
    work = float((spring * distance**2).sum()) + 1e-9
    numbers = [atoms.mean(), atoms.max(), atoms.min(), bonds, work / volume, held.mean()]
    return [math.log(number) for number in (*numbers, work / mass.sum())]


def _wolf(graph: RadiusGraph) -> tuple[Floats, float]:
    """Interaction of charges along edges, and of a charge with itself (eV)."""
    distance = distances(graph)
    at_cutoff = math.erfc(WOLF_ALPHA * CUTOFF) / CUTOFF
    pair = COULOMB * (erfc(WOLF_ALPHA * distance) / distance - at_cutoff)
    return pair, COULOMB * (at_cutoff + 2 * WOLF_ALPHA / math.sqrt(math.pi))


def madelung(graph: RadiusGraph, volume: float) -> list[float]:
    """Electrostatic energy per atom of guessed oxidation states, and potentials of ions (V)."""
    z, (source, target) = graph.atomic_numbers, graph.edge_index
    formula = reduced_counts(z)
    guess, _ = guess_oxidation_states(formula)
    charge = np.array(guess)[np.searchsorted([element for element, _ in formula], z)]
    pair, itself = _wolf(graph)
    potential = np.bincount(target, pair * charge[source], minlength=len(z)) - itself * charge
    energy = float((charge * potential).mean()) / 2
    cations, anions = potential[charge > 0], potential[charge < 0]
    high = float(cations.max()) if len(cations) else 0.0
    low = float(anions.min()) if len(anions) else 0.0
    squares = float((charge**2).mean())
    return [energy, energy / max(squares, 0.01), high, low, low - high]


def equalised_charges(graph: RadiusGraph, volume: float) -> list[float]:
    """Charges by electronegativity equalisation: their size and spread, energy and potential."""
    z, (source, target) = graph.atomic_numbers, graph.edge_index
    n = len(z)
    if n > SITES_AT_MOST:
        return [math.nan] * 6
    ionisation = magpie_property("FirstIonizationEnergy")[z]
    affinity = magpie_property("ElectronAffinity")[z] / KJ_PER_MOL
    chi, hardness = (ionisation + affinity) / 2, ionisation - affinity
    radius, distance = element_table().radius[z], distances(graph)
    pair, itself = _wolf(graph)
    width = np.sqrt(2 * (radius[source] ** 2 + radius[target] ** 2))
    pair = SCREENING * (pair - COULOMB * erfc(distance / width) / distance)
    matrix = np.zeros((n, n))
    np.add.at(matrix, (target, source), pair)
    matrix[np.diag_indices(n)] += hardness - SCREENING * itself
    free, shift = np.linalg.solve(matrix, np.column_stack([-chi, np.ones(n)])).T
    charge = free - free.sum() / shift.sum() * shift
    potential = matrix @ charge - hardness * charge
    return [
        float(np.abs(charge).mean()),
        float(charge.max()),
        float(charge.min()),
        float(charge.std()),
        float((charge * potential).mean()) / 2,
        float(np.ptp(potential)),
    ]


CANDIDATES: dict[str, Callable[[RadiusGraph, float], list[float]]] = {
    "polarisability": polarisability,
    "bond stiffness per mass": bond_stiffness,
    "Madelung energy of guessed charges": madelung,
    "equalised charges": equalised_charges,
}
"""Graph and volume (Å³) → columns, by name."""


def candidate_columns(name: str, structures: pd.Series) -> Matrix:
    """Columns of a candidate, (n_rows, n_columns)."""
    rows = []
    for structure in structures:
        lattice, frac_coords, z = crystal_arrays(structure)
        graph = radius_graph(lattice, frac_coords, z, CUTOFF, draw_in=False)
        rows.append(CANDIDATES[name](graph, cell_heights(lattice)[1]))
    return np.array(rows, dtype=np.float32)
