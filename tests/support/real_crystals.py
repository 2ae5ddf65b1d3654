"""Real crystals from textbooks, for the tests."""

from __future__ import annotations

from functools import cache

from pymatgen.analysis.prototypes import AFLOW_PROTOTYPE_LIBRARY
from pymatgen.core import Lattice, Structure


def crystals() -> dict[str, Structure]:
    """Conventional cells of the seven crystal systems, experimental parameters; copies."""
    return {name: structure.copy() for name, structure in _built().items()}


@cache
def _built() -> dict[str, Structure]:
    build = Structure.from_spacegroup
    return {
        "NaCl": build("Fm-3m", Lattice.cubic(5.640), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]),
        "Si": build("Fd-3m", Lattice.cubic(5.431), ["Si"], [[0, 0, 0]]),
        "SrTiO3": build(
            "Pm-3m",
            Lattice.cubic(3.905),
            ["Sr", "Ti", "O"],
            [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0]],
        ),
        "MgAl2O4 spinel": build(
            "Fd-3m",
            Lattice.cubic(8.083),
            ["Mg", "Al", "O"],
            [[0, 0, 0], [0.625, 0.625, 0.625], [0.3876, 0.3876, 0.3876]],
        ),
        "SiO2 quartz": build(
            "P3_221",
            Lattice.hexagonal(4.913, 5.405),
            ["Si", "O"],
            [[0.4697, 0, 2 / 3], [0.4135, 0.2669, 0.7858]],
        ),
        "ZnO wurtzite": build(
            "P6_3mc",
            Lattice.hexagonal(3.250, 5.207),
            ["Zn", "O"],
            [[1 / 3, 2 / 3, 0], [1 / 3, 2 / 3, 0.3819]],
        ),
        "TiO2 rutile": build(
            "P4_2/mnm",
            Lattice.tetragonal(4.594, 2.959),
            ["Ti", "O"],
            [[0, 0, 0], [0.3053, 0.3053, 0]],
        ),
        "ZrO2 baddeleyite (monoclinic)": build(
            "P2_1/c",
            Lattice.from_parameters(5.1505, 5.2116, 5.3173, 90, 99.23, 90),
            ["Zr", "O", "O"],
            [[0.2754, 0.0395, 0.2083], [0.0700, 0.3317, 0.3447], [0.4496, 0.7569, 0.4792]],
        ),
        "P2I4 (triclinic)": aflow_prototype("A2B_aP6_2_2i_i"),
    }


def aflow_prototype(label: str) -> Structure:
    """One of the AFLOW prototypes that come with pymatgen."""
    return next(e["snl"].structure for e in AFLOW_PROTOTYPE_LIBRARY if e["tags"]["aflow"] == label)
