"""Two-centre integrals by quadrature: limits that are known, and convergence."""

from __future__ import annotations

import numpy as np
import pytest

from matminer_unate.physics.atoms import HARTREE
from matminer_unate.physics.two_centre import CHANNELS, PARITY, SWAPPED
from slater_koster.free_atoms import FreeAtom, Valence, valence
from slater_koster.integrals import two_centre_integrals


def test_overlap_of_the_same_orbital_tends_to_one_at_short_distance() -> None:
    lead = [valence(82)]
    assert 0.5 < two_centre_integrals(lead, 1.2)[0, 0, 1, 0] < 1.0
    assert abs(two_centre_integrals(lead, 10.0)[0, 0, 1]).max() < 0.05


def test_integrals_of_bare_protons_are_those_of_the_hydrogen_molecular_ion() -> None:
    r = np.exp(np.linspace(np.log(1e-5), np.log(25.0), 1000))
    none, radial = np.full(2, np.nan), np.zeros((3, 1000))
    radial[0] = 2 * np.exp(-r)
    level = np.array([-0.5, *none])
    atom = FreeAtom(r, np.log(r[1] / r[0]), -1 / r)
    proton = Valence(atom, 1.0, level, level, np.zeros(1000), radial)
    d = 2.0
    hopping, overlap = two_centre_integrals([proton], d)[0, 0, :, 0]
    exact = np.exp(-d) * (1 + d + d**2 / 3)
    assert overlap == pytest.approx(exact, abs=1e-6)
    # ⟨a|−∇²/2 − 1/r_a − 1/r_b|b⟩ = −S/2 − (1 + d) exp(−d) hartree
    assert hopping == pytest.approx(HARTREE * (-0.5 * exact - (1 + d) * np.exp(-d)), abs=1e-4)


def test_integrals_of_a_pair_turned_round_differ_by_the_parity_of_the_orbitals() -> None:
    integrals = two_centre_integrals([valence(22), valence(8)], 3.6)
    turned = integrals[1, 0][:, SWAPPED] * PARITY
    np.testing.assert_allclose(turned, integrals[0, 1], atol=1e-10)
    s_and_p = CHANNELS.index((0, 1, 0))
    assert abs(integrals[0, 1, 0, s_and_p]) > 0.1


def test_the_quadrature_has_converged() -> None:
    atoms = [valence(55), valence(82)]
    change = two_centre_integrals(atoms, 4.0) - two_centre_integrals(atoms, 4.0, n_nodes=120)
    assert abs(change).max() < 1e-5
