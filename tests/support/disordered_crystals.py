"""Real disordered crystals, for the tests."""

from __future__ import annotations

import numpy as np
from pymatgen.core import Lattice, Structure
from pymatgen.core.operations import SymmOp

FCC = [[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]

PEROVSKITE = [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]


def disordered_crystals() -> dict[str, Structure]:
    """Conventional cells with mixed or partly occupied sites, experimental parameters."""
    build = Structure.from_spacegroup
    return {
        "CuAu": Structure(Lattice.cubic(3.87), [{"Cu": 0.5, "Au": 0.5}] * 4, FCC),
        "CuZn": build("Im-3m", Lattice.cubic(2.95), [{"Cu": 0.5, "Zn": 0.5}], [[0, 0, 0]]),
        "Li0.5CoO2": build(
            "R-3m",
            Lattice.hexagonal(2.816, 14.05),
            [{"Li": 0.5}, "Co", "O"],
            [[0, 0, 0.5], [0, 0, 0], [0, 0, 0.2395]],
        ),
        "Ba0.6Sr0.4TiO3": Structure(
            Lattice.cubic(3.95), [{"Ba": 0.6, "Sr": 0.4}, "Ti", "O", "O", "O"], PEROVSKITE
        ),
        "Sr2FeMoO6": Structure(
            Lattice.cubic(3.94), ["Sr", {"Fe": 0.5, "Mo": 0.5}, "O", "O", "O"], PEROVSKITE
        ),
        "Y0.15Zr0.85O1.925": build(
            "Fm-3m",
            Lattice.cubic(5.14),
            [{"Zr": 0.85, "Y": 0.15}, {"O": 0.9625}],
            [[0, 0, 0], [0.25, 0.25, 0.25]],
        ),
        "Fe2.5Ti0.5O4, its iron mixed in valence": build(
            "Fd-3m",
            Lattice.cubic(8.46),
            [{"Fe2+": 0.5, "Fe3+": 0.5}, {"Fe2+": 0.5, "Fe3+": 0.25, "Ti4+": 0.25}, "O2-"],
            [[0, 0, 0], [0.625, 0.625, 0.625], [0.3799, 0.3799, 0.3799]],
        ),
    }


def another_cell(structure: Structure, seed: int = 0) -> Structure:
    """The same crystal: turned, shifted, in a sheared supercell, its sites in another order."""
    generator = np.random.default_rng(seed)
    other = structure.copy()
    axis, angle = generator.normal(size=3), float(generator.uniform(20, 160))
    other.apply_operation(SymmOp.from_axis_angle_and_translation(axis, angle))
    other.make_supercell([[1, 1, 0], [0, 1, 0], [1, 0, 2]])
    other.translate_sites(range(len(other)), generator.random(3).tolist())
    return Structure.from_sites([other[k] for k in generator.permutation(len(other))])
