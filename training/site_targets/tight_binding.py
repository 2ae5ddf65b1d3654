"""What the tight-binding model says of each site."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

import numpy as np

from corpora.crystal import Crystal
from matminer_unate.crystals.checks import check_crystal
from matminer_unate.crystals.graph import radius_graph
from matminer_unate.crystals.structures import CrystalArrays
from matminer_unate.crystals.symmetry import primitive_cell
from matminer_unate.errors import StructureError
from matminer_unate.physics.atoms import Ints
from matminer_unate.physics.band_quantities import (
    CRYSTAL_NAMES,
    SITE_NAMES,
    Described,
    PhysicalCell,
    quantities,
)
from matminer_unate.physics.elements import Floats
from matminer_unate.physics.tight_binding import CUTOFF
from site_targets.files import SiteVectors

SITE_TARGET_NAMES = SITE_NAMES + CRYSTAL_NAMES


def site_targets(lattice: Floats, frac_coords: Floats, atomic_numbers: Ints) -> SiteVectors:
    """What the tight-binding model says of each site.

    It is asked of the primitive cell, so that a crystal has the same targets in every cell.

    Parameters
    ----------
    lattice : (3, 3) float64, Å
        Lattice vectors as rows.
    frac_coords : (n_sites, 3) float64
    atomic_numbers : (n_sites,) int64

    Returns
    -------
    (n_sites, n_targets) float32
        Columns ``SITE_TARGET_NAMES``: those of the site, then those of the crystal, the same for
        all of its sites. Energies of states are relative to the Fermi level (middle of the gap);
        edge shares have mean 1 over the sites when s, p and d are added.

    Raises
    ------
    StructureError
        See :func:`matminer_unate.crystals.checks.check_crystal` and
        :func:`matminer_unate.crystals.graph.radius_graph`.
    """
    cell, copies = primitive((lattice, frac_coords, atomic_numbers))
    [described] = quantities([cell])
    return as_targets(described, copies)


def tight_binding_targets(crystals: Sequence[Crystal]) -> list[SiteVectors | None]:
    """:func:`site_targets` of each crystal, ``None`` where the model cannot judge it."""
    vectors: list[SiteVectors | None] = [None] * len(crystals)
    asked: deque[tuple[int, Ints]] = deque()

    def cells() -> Iterator[PhysicalCell]:
        for row, c in enumerate(crystals):
            try:
                cell, copies = primitive((c.lattice, c.frac_coords, c.atomic_numbers))
            except StructureError:  # one of thousands must not end a run of hours
                continue
            asked.append((row, copies))
            yield cell

    for described in quantities(cells()):
        row, copies = asked.popleft()
        vectors[row] = as_targets(described, copies)
    return vectors


def primitive(crystal: CrystalArrays) -> tuple[PhysicalCell, Ints]:
    """The primitive cell, and of which of its sites each one of the crystal is a copy."""
    check_crystal(*crystal)
    lattice, frac_coords, numbers = primitive_cell(*crystal)
    graph = radius_graph(lattice, frac_coords, numbers, CUTOFF, draw_in=False)
    given, places, kinds = crystal
    apart = (places @ given @ np.linalg.inv(lattice))[:, None] - frac_coords
    apart = (apart - np.rint(apart)) @ lattice
    squared = np.where(kinds[:, None] == numbers, (apart**2).sum(axis=2), np.inf)
    return (lattice, frac_coords, graph), squared.argmin(axis=1)


def as_targets(described: Described, copies: Ints) -> SiteVectors:
    """Quantities of sites and crystal, a row a site of the cell that was given."""
    sites, crystal = described
    rows = np.broadcast_to(crystal, (len(copies), len(crystal)))
    return np.concatenate([sites[copies], rows], axis=1).astype(np.float32)
