"""Operations that are their own inverses: as many as commute, along the axes of the crystal."""

from __future__ import annotations

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure
from real_crystals import crystals

from matminer_unate.crystals.involutions import frame, involutions
from matminer_unate.crystals.structures import crystal_arrays
from matminer_unate.crystals.symmetrised import SymmetrisedCrystal, symmetrised
from matminer_unate.crystals.symmetry import primitive_cell

CRYSTALS = crystals()


def exact(structure: Structure) -> SymmetrisedCrystal:
    return symmetrised(primitive_cell(*crystal_arrays(structure)))


@pytest.mark.parametrize(
    ("name", "number"),
    [("SrTiO3", 7), ("Si", 7), ("NaCl", 7), ("TiO2 rutile", 7), ("ZnO wurtzite", 3)],
)
def test_there_are_as_many_as_the_point_group_has(name: str, number: int) -> None:
    assert len(involutions(exact(CRYSTALS[name]).rotations)[0]) == number


@pytest.mark.parametrize("name", CRYSTALS)
def test_they_commute_and_turn_the_axes_into_themselves(name: str) -> None:
    found = exact(CRYSTALS[name])
    which, signs, axes = involutions(found.rotations)
    W = found.rotations[which]
    np.testing.assert_array_equal(W[:, None] @ W, W @ W[:, None])
    products = {tuple(np.diag(a @ b)) for a in map(np.diag, signs) for b in map(np.diag, signs)}
    assert products <= {(1, 1, 1), *map(tuple, signs.tolist())}
    columns = found.lattice.T
    turned = columns @ W @ np.linalg.inv(columns)
    np.testing.assert_allclose(turned, [np.diag(s) for s in signs] or W, atol=1e-9)
    unit = frame(axes, found.lattice)
    np.testing.assert_allclose(unit @ unit.T, np.eye(3), atol=1e-9)


@pytest.mark.parametrize("alpha", [90.0, 70.0])
def test_one_axis_or_none_will_do(alpha: float) -> None:
    # Two kinds of sites in a plane: a mirror in a monoclinic cell, in a triclinic one nothing.
    lattice = Lattice.from_parameters(5.0, 6.0, 7.0, alpha, 80.0, 90.0)
    sites = [[0.0, 0.0, 0.0], [0.4, 0.0, 0.3], [0.2, 0.0, 0.7]]
    found = exact(Structure(lattice, ["Na", "Cl", "Br"], sites))
    which, signs, axes = involutions(found.rotations)
    if alpha == 90.0:
        assert signs.tolist() == [[-1, 1, 1]]
        assert axes.any(axis=1).tolist() == [True, False, False]
    else:
        assert len(which) == len(axes) == 0
