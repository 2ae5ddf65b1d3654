"""Valence electrons and levels of every element."""

from __future__ import annotations

import numpy as np

from matminer_unate.physics.atoms import electrons_of, levels_of, solved_element

EVERY = np.arange(1, 119)


def test_every_element_has_levels_and_room_for_its_electrons() -> None:
    shells = ~np.isnan(levels_of(EVERY))
    assert shells.shape == (118, 3)
    assert shells[:, 0].all()
    assert ((electrons_of(EVERY) > 0) & (electrons_of(EVERY) <= shells @ [2, 6, 10])).all()


def test_superheavy_elements_have_the_atom_of_the_row_above() -> None:
    assert solved_element(np.array([103, 104, 118])).tolist() == [103, 72, 86]
    np.testing.assert_array_equal(levels_of(np.array([118])), levels_of(np.array([86])))


def test_shells_are_those_that_bond() -> None:
    # Hydrogen, silicon, iron, strontium, zinc, gallium, lutetium.
    z = np.array([1, 14, 26, 38, 30, 31, 71])
    counts = (~np.isnan(levels_of(z))).sum(axis=1)
    assert counts.tolist() == [1, 2, 3, 3, 3, 2, 3]
    assert electrons_of(z).tolist() == [1, 4, 8, 2, 12, 3, 3]
