"""Free atoms: levels of the literature, norms, and a room for every electron."""

from __future__ import annotations

import numpy as np
import pytest

from matminer_unate.physics.atoms import HARTREE
from slater_koster.free_atoms import free_atom, radial_states, valence, valence_shells


def free_levels(z: int) -> list[float]:
    """Levels of the valence s and p shell of a free atom, eV."""
    atom = free_atom(z)
    shells = enumerate(valence_shells(z)[:2])
    return [
        radial_states(atom.r, atom.step, atom.potential, 0.0, ell, n - ell)[0][-1] * HARTREE
        for ell, n in shells
        if n
    ]


@pytest.mark.parametrize(
    ("z", "level"),
    [(1, (-6.35,)), (6, (-13.63, -5.42)), (8, (-23.71, -9.21)), (14, (-10.83, -4.17))],
)
def test_levels_of_light_atoms_are_those_of_the_nist_tables(
    z: int, level: tuple[float, ...]
) -> None:
    # Local-density eigenvalues of Kotochigova et al., Phys. Rev. A 55, 191 (1997), in eV.
    np.testing.assert_allclose(free_levels(z)[: len(level)], level, atol=0.1)


def test_the_6s_level_of_lead_shows_the_relativistic_contraction() -> None:
    # −9.7 eV without relativity, −12.4 eV with it (the same tables).
    assert free_levels(82)[0] == pytest.approx(-12.4, abs=0.15)


def test_states_in_a_coulomb_potential_are_those_of_hydrogen() -> None:
    atom = free_atom(1)
    energies, _ = radial_states(atom.r, atom.step, -1 / atom.r, 0.0, 0, 2)
    np.testing.assert_allclose(energies, [-0.5, -0.125], rtol=2e-2)


def test_contracted_orbitals_are_normalised() -> None:
    silicon = valence(14)
    r = silicon.atom.r
    norm = (silicon.radial**2 * r**3 * silicon.atom.step).sum(axis=1)
    np.testing.assert_allclose(norm, [1, 1, 0], atol=1e-9)


@pytest.mark.parametrize("z", [1, 2, 26, 58, 63, 70, 83, 92, 96, 103])
def test_every_kind_of_element_has_levels_and_room_for_its_electrons(z: int) -> None:
    shells = valence(z)
    room = 2 * np.array([1, 3, 5])[~np.isnan(shells.level)].sum()
    assert 0 < shells.n_electrons <= room
