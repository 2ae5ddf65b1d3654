"""Integrals of pairs as they are read: near to computed ones, smooth, turned as orbitals turn."""

from __future__ import annotations

import tomllib
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files

import numpy as np
import pytest
from numpy.typing import NDArray
from places import ROOT
from safetensors import safe_open

from matminer_unate.physics.atoms import BOHR
from matminer_unate.physics.tables import FILE, tables
from matminer_unate.physics.two_centre import (
    CLOSEST,
    PARITY,
    ROOTS,
    SWAPPED,
    PairTables,
    pair_integrals,
)
from slater_koster.free_atoms import valence
from slater_koster.integrals import two_centre_integrals


def bonds(n: int, seed: int = 0) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray]:
    random = np.random.default_rng(seed)
    z1, z2 = random.integers(1, 119, (2, n))
    return z1, z2, random.uniform(0.3, 5.5, n)


def metadata() -> dict[str, str]:
    with safe_open(files("matminer_unate.physics") / FILE, "numpy") as file:
        return file.metadata()


# The file


@pytest.mark.parametrize(("z1", "z2"), [(1, 1), (6, 14), (22, 8), (55, 82), (92, 26)])
def test_integrals_are_as_near_to_computed_ones_as_the_file_says(z1: int, z2: int) -> None:
    said = metadata()
    for distance in (2.6, 3.47, 4.4, 7.1, 9.3):
        exact = two_centre_integrals([valence(z1), valence(z2)], distance)[0, 1]
        found = pair_integrals(np.array([z1]), np.array([z2]), np.array([distance * BOHR]))[0]
        error = abs(found - exact).max(axis=1)
        assert error[0] <= float(said["largest_error_of_a_hopping_eV"])
        assert error[1] <= float(said["largest_error_of_an_overlap"])


def test_levels_and_electrons_are_those_of_computed_atoms() -> None:
    for z in (8, 26, 64):
        atom = valence(z)
        assert tables()["electrons"][z - 1] == atom.n_electrons
        np.testing.assert_allclose(tables()["levels"][z - 1], 27.2114 * atom.level, rtol=1e-6)


def test_the_file_is_small_and_in_the_wheel() -> None:
    file = files("matminer_unate.physics") / FILE
    assert len(file.read_bytes()) < 2_000_000
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = project["tool"]["setuptools"]["package-data"]["matminer_unate"]
    packed = {path for pattern in patterns for path in (ROOT / "matminer_unate").glob(pattern)}
    assert ROOT / "matminer_unate" / "physics" / FILE in packed


# Reading it


def test_pairs_turned_round_differ_by_the_parity_of_the_orbitals_exactly() -> None:
    z1, z2, distance = bonds(500)
    forward, backward = pair_integrals(z1, z2, distance), pair_integrals(z2, z1, distance)
    np.testing.assert_array_equal(forward, backward[:, :, SWAPPED] * PARITY)
    same = pair_integrals(z1, z1, distance)
    np.testing.assert_array_equal(same, same[:, :, SWAPPED] * PARITY)


def test_a_bond_has_the_same_integrals_alone_and_among_others() -> None:
    z1, z2, distance = bonds(200)
    together = pair_integrals(z1, z2, distance)
    for k in range(0, 200, 20):
        alone = PairTables(tables()).integrals(
            np.where(z1 > 103, z1 - 32, z1)[[k]],
            np.where(z2 > 103, z2 - 32, z2)[[k]],
            distance[[k]],
        )
        np.testing.assert_allclose(alone[0], together[k], atol=1e-12)


def test_no_bonds_have_no_integrals() -> None:
    none = np.zeros(0, dtype=np.int64)
    assert pair_integrals(none, none, np.zeros(0)).shape == (0, 2, 14)


def test_channels_of_missing_shells_are_zero() -> None:
    hydrogen = pair_integrals(np.array([1]), np.array([26]), np.array([2.0]))[0]
    assert np.flatnonzero(hydrogen[0]).tolist() == [0, 1, 2]


def test_integrals_are_smooth_in_the_distance_and_level_where_atoms_coincide() -> None:
    knots = ROOTS[4:40] ** 2 * BOHR
    z1, z2 = np.full(len(knots), 38), np.full(len(knots), 8)

    def second_derivative(distance: NDArray, h: float = 1e-4) -> NDArray:
        left, middle, right = (pair_integrals(z1, z2, distance + s) for s in (-h, 0.0, h))
        return (left - 2 * middle + right) / h**2

    below, above = second_derivative(knots - 2e-4), second_derivative(knots + 2e-4)
    np.testing.assert_allclose(below, above, rtol=0, atol=3e-3 * abs(above).max())
    closest = CLOSEST * BOHR
    near = pair_integrals(z1[:3], z2[:3], np.array([0.0, 0.5 * closest, closest]))
    np.testing.assert_array_equal(near, near[[0, 0, 0]])


def test_threads_that_start_at_once_read_the_same() -> None:
    z1, z2, distance = bonds(2000, seed=1)
    z1, z2 = np.minimum(z1, 103), np.minimum(z2, 103)
    expected = PairTables(tables()).integrals(z1, z2, distance)
    fresh = PairTables(tables())
    with ThreadPoolExecutor(8) as pool:
        parts = [slice(k, k + 500) for k in range(0, 2000, 100)]
        found = list(pool.map(lambda p: fresh.integrals(z1[p], z2[p], distance[p]), parts))
    for part, values in zip(parts, found, strict=True):
        np.testing.assert_allclose(values, expected[part], atol=1e-12)
