"""Supercells of a given number of cells."""

from __future__ import annotations

import numpy as np
import pytest
from pymatgen.core import Lattice

from matminer_unate.crystals.supercells import compact_supercells, supercells


@pytest.mark.parametrize(("index", "number"), [(1, 1), (2, 7), (3, 13), (4, 35), (8, 155)])
def test_there_are_as_many_sublattices_as_hart_and_forcade_count(index: int, number: int) -> None:
    bases = supercells(index)
    assert len(bases) == number
    np.testing.assert_allclose(np.linalg.det(bases), index)


def test_the_most_compact_of_four_primitive_cells_is_the_cubic_one() -> None:
    primitive = np.array([[0, 2.0, 2.0], [2.0, 0, 2.0], [2.0, 2.0, 0]])
    (basis,) = compact_supercells(primitive, 4, 1)
    assert sorted(np.abs(basis @ primitive).ravel().tolist()) == [0.0] * 6 + [4.0] * 3


def test_equally_compact_ones_come_together() -> None:
    cubic = 3.0 * np.eye(3)
    squares = [((b @ cubic) ** 2).sum() for b in compact_supercells(cubic, 2, 7)]
    assert np.round(squares, 6).tolist() == [45.0] * 3 + [54.0] * 4
    assert len(compact_supercells(cubic, 2, 1)) == 3
    assert len(compact_supercells(cubic, 2, 6)) == 3


@pytest.mark.parametrize("index", [3, 7, 12])
def test_the_vectors_are_as_short_as_those_of_niggli(index: int) -> None:
    lattice = Lattice.from_parameters(3.1, 4.2, 5.3, 81, 94, 107).matrix
    for basis in compact_supercells(lattice, index, 10):
        assert round(abs(np.linalg.det(basis))) == index
        found = np.linalg.norm(basis @ lattice, axis=1)
        niggli = Lattice(basis @ lattice).get_niggli_reduced_lattice()
        np.testing.assert_allclose(np.sort(found), np.sort(niggli.abc), rtol=1e-6)
