"""Crystal → numbers of it as a whole: dimensions, layers, vacuum, and stiffness of springs."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from matminer_unate.crystals.graph import RadiusGraph
from matminer_unate.crystals.lattice import cell_heights
from matminer_unate.physics.bonded_networks import (
    Networks,
    bonded_networks,
    distances,
    strengths_by_neighbours,
    strengths_by_radii,
)
from matminer_unate.physics.elements import Floats, element_table
from matminer_unate.physics.quantity import Quantity
from matminer_unate.physics.spring_model import log_moduli


def _of_networks(suffix: str, strength: str) -> list[Quantity]:
    by = f"bonds by {strength}"
    shape = ("molecules", "chains", "layers", "bulk")
    share = [
        Quantity(f"atoms in {name} {suffix}", "–", f"⟨share of atoms in {name}⟩, {by}")
        for name in shape
    ]
    weakest = [
        Quantity(f"weakest bond of {name} {suffix}", "–", f"largest s with {name}, {by}")
        for name in shape[1:]
    ]
    return [
        *share,
        *weakest,
        Quantity(f"layer thickness {suffix}", "Å", f"⟨h⟩, {by}"),
        Quantity(f"layer spacing {suffix}", "Å", f"⟨p⟩, {by}"),
        Quantity(f"interlayer gap {suffix}", "Å", f"⟨p − h⟩, {by}"),
        Quantity(f"atoms per layer area {suffix}", "1/Å²", f"⟨atoms of a layer / its area⟩, {by}"),
    ]


CELL_QUANTITIES: tuple[Quantity, ...] = (
    *_of_networks("by radii", "s = r̂ f/d"),
    *_of_networks("by neighbours", "s = √(d₁ᵢ d₁ⱼ) f/d"),
    Quantity("vacuum share", "–", "v = ⟨empty beyond 3.5 Å between planes of atoms / p⟩"),
    Quantity("log volume per atom without vacuum", "log Å³", "log((1 − v) volume / atoms)"),
    Quantity("packing fraction", "–", "Σ 4π/3 (covalent radius)³ / volume"),
    Quantity("log bulk modulus of springs, Voigt", "–", "log(K_V + 0.001)"),
    Quantity("log bulk modulus of springs, Reuss", "–", "log(K_R + 0.001)"),
    Quantity("log shear modulus of springs, Voigt", "–", "log(G_V + 0.001)"),
    Quantity("log shear modulus of springs, Reuss", "–", "log(G_R + 0.001)"),
)
"""In the docstring of ``CellStats``, the symbols are explained."""


def cell_quantities(
    lattice: NDArray[np.float64], frac_coords: NDArray[np.float64], graph: RadiusGraph
) -> NDArray[np.float32]:
    """``CELL_QUANTITIES`` of a crystal.

    Parameters
    ----------
    lattice : (3, 3), Å
    frac_coords : (n_sites, 3)
    graph : RadiusGraph
        With true vectors, up to ``bonded_networks.CUTOFF``.
    """
    distance, volume = distances(graph), cell_heights(lattice)[1]
    strengths = strengths_by_radii(graph, distance), strengths_by_neighbours(graph, distance)
    by_radii, by_neighbours = (
        bonded_networks(lattice, frac_coords, graph, strength) for strength in strengths
    )
    filled = 1.0 - by_radii.vacuum
    spheres = 4 / 3 * math.pi * float((element_table().radius[graph.atomic_numbers] ** 3).sum())
    parts: Sequence[Floats] = (
        _network_values(by_radii),
        _network_values(by_neighbours),
        np.array([by_radii.vacuum, math.log(filled * volume / graph.n_sites), spheres / volume]),
        log_moduli(volume, graph, distance),
    )
    return np.concatenate(parts).astype(np.float32)


def _network_values(found: Networks) -> Floats:
    layers = found.thickness, found.spacing, found.gap, found.area_density
    return np.concatenate([found.shares, found.weakest, layers])
