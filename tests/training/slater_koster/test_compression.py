"""Compression: arrays of low rank come back, splines go through their knots."""

from __future__ import annotations

import numpy as np

from matminer_unate.physics.atoms import BOHR
from matminer_unate.physics.two_centre import (
    CHANNELS,
    PARITY,
    ROOTS,
    SWAPPED,
    PairTables,
)
from slater_koster.compression import compress, spline_matrix


def test_splines_of_a_cubic_are_the_cubic() -> None:
    knots = np.arange(9.0)
    coefficients = spline_matrix(9) @ (0.3 * knots**3 - knots)
    half_way = np.array([1, 23, 23, 1]) / 48
    found = [half_way @ coefficients[k : k + 4] for k in range(8)]
    between = knots[:-1] + 0.5
    np.testing.assert_allclose(found, 0.3 * between**3 - between, atol=1e-10)


def test_integrals_of_low_rank_are_read_as_they_were() -> None:
    random = np.random.default_rng(0)
    one, two = random.normal(size=(2, 3, 6, 2, len(CHANNELS)))
    radial = np.exp(-ROOTS[:, None] * np.array([1.0, 1.5, 2.0]))
    integrals = np.einsum("raqc,rbqc,dr->abdqc", one, two, radial)
    # As of real pairs: turned round, the parity decides.
    turned = integrals.swapaxes(0, 1)[..., SWAPPED] * PARITY
    integrals += turned
    arrays = compress(integrals, rank=6, n_splines=3)
    tables = PairTables({name: array.astype(np.float64) for name, array in arrays.items()})
    first, second = (axis.ravel() for axis in np.indices((6, 6)))
    for k in (4, 20, 44):
        distance = np.full(36, ROOTS[k] ** 2 * BOHR)
        found = tables.integrals(first + 1, second + 1, distance)
        np.testing.assert_allclose(found, integrals[first, second, k], atol=1e-5)
