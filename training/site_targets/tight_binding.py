"""What the tight-binding model says of each site."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from corpora.crystal import Crystal
from matminer_unate.crystals.checks import check_crystal
from matminer_unate.crystals.graph import radius_graph
from matminer_unate.errors import StructureError
from matminer_unate.physics.band_quantities import CRYSTAL_NAMES, SITE_NAMES, quantities
from matminer_unate.physics.elements import Floats
from matminer_unate.physics.tight_binding import CUTOFF, Ints
from site_targets.files import SiteVectors

SITE_TARGET_NAMES = SITE_NAMES + CRYSTAL_NAMES


def site_targets(lattice: Floats, frac_coords: Floats, atomic_numbers: Ints) -> NDArray[np.float32]:
    """What the tight-binding model says of each site.

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
    check_crystal(lattice, frac_coords, atomic_numbers)
    graph = radius_graph(lattice, frac_coords, atomic_numbers, CUTOFF, draw_in=False)
    sites, crystal = quantities(lattice, frac_coords, graph)
    rows = np.broadcast_to(crystal, (len(sites), len(crystal)))
    return np.concatenate([sites, rows], axis=1).astype(np.float32)


def tight_binding_targets(crystals: Sequence[Crystal]) -> list[SiteVectors | None]:
    """:func:`site_targets` of each crystal, ``None`` where the model cannot judge it."""
    vectors: list[SiteVectors | None] = []
    for c in crystals:
        try:
            vectors.append(site_targets(c.lattice, c.frac_coords, c.atomic_numbers))
        except StructureError:  # one of thousands must not end a run of hours
            vectors.append(None)
    return vectors
