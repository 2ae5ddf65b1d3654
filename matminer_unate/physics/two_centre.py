"""Pairs of elements and their distances → hoppings and overlaps of their orbitals.

The two-centre integrals of density-functional tight binding (see
:mod:`matminer_unate.physics.tight_binding`), interpolated in tables.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from scipy.sparse import csr_array

from matminer_unate.physics.atoms import BOHR, Ints, solved_element
from matminer_unate.physics.elements import Floats
from matminer_unate.physics.tables import tables

CHANNELS = tuple((a, b, m) for a in range(3) for b in range(3) for m in range(min(a, b) + 1))
SWAPPED = np.array([CHANNELS.index((b, a, m)) for a, b, m in CHANNELS])
PARITY = np.array([(-1.0) ** (a + b) for a, b, _ in CHANNELS])
TABULATED = np.array([channel for channel, (a, b, _) in enumerate(CHANNELS) if a <= b])
"""Channels of the tables: the others are those of the pair turned round."""

ROOTS: Floats = np.linspace(1.0, 3.2, 45)
"""√bohr. Where two-centre integrals are tabulated: densely where atoms are close."""
CLOSEST = 1.2
"""Bohr. Atoms closer than 0.6 Å count as that close."""
N_COEFFICIENTS = len(ROOTS) + 2


def pair_integrals(z1: Ints, z2: Ints, distance: Floats) -> Floats:
    """Integrals of any number of bonds, of one pair of elements or of many.

    Parameters
    ----------
    z1, z2 : (n_bonds,)
    distance : (n_bonds,) Å
        Beyond 5.4 Å, the integrals are those at 5.4 Å.

    Returns
    -------
    (n_bonds, 2, 14)
        Hopping (eV) and overlap in each of ``CHANNELS``; twice differentiable in the distance. With
        z1 and z2 exchanged, the same to the last digit but for ``SWAPPED`` and ``PARITY``.
    """
    return _shipped().integrals(solved_element(z1), solved_element(z2), distance)


@cache
def _shipped() -> PairTables:
    return PairTables(tables())


class PairTables:
    """Splines of the pairs of elements that were met, made from the arrays of the file.

    Parameters
    ----------
    arrays : dict of str to array
        See :func:`matminer_unate.physics.tables.tables`.
    """

    def __init__(self, arrays: dict[str, Floats]) -> None:
        first, core = arrays["first"], arrays["core"]
        self._second, self._splines = arrays["second"], arrays["splines"]
        # (20, 103, R, K): with the first element put in.
        products = first @ core.reshape(*core.shape[:2], -1)
        self._of_first = products.reshape(*first.shape, core.shape[3])
        # Row high (high + 1) / 2 + low has the pair of the elements counted from 0, the lighter one
        # first. Memory that is not written to is not taken.
        n_pairs = first.shape[1] * (first.shape[1] + 1) // 2
        self._coefficients = np.empty((n_pairs, N_COEFFICIENTS, 2, len(CHANNELS)))
        self._known = np.zeros(n_pairs, dtype=bool)

    def integrals(self, z1: Ints, z2: Ints, distance: Floats) -> Floats:
        """:func:`pair_integrals` of solved elements."""
        low, high = np.minimum(z1, z2) - 1, np.maximum(z1, z2) - 1
        pair = high * (high + 1) // 2 + low
        missing = pair[~self._known[pair]]
        if len(missing):
            self._learn(np.unique(missing))

        root = np.sqrt(np.clip(distance / BOHR, CLOSEST, ROOTS[-1] ** 2))
        x = (root - ROOTS[0]) / (ROOTS[1] - ROOTS[0])
        start = np.minimum(x.astype(np.int64), len(ROOTS) - 2)
        t = x - start
        weights = np.empty((len(t), 4))
        weights[:, 0] = (1 - t) ** 3 / 6
        weights[:, 1] = 2 / 3 - t**2 + t**3 / 2
        weights[:, 3] = t**3 / 6
        weights[:, 2] = 1 - weights[:, 0] - weights[:, 1] - weights[:, 3]
        columns = (pair * N_COEFFICIENTS + start)[:, None] + np.arange(4)
        # As a product with a sparse matrix, nothing is copied out of the tables.
        rows = self._coefficients.reshape(-1, 2 * len(CHANNELS))
        ends = np.arange(0, 4 * len(t) + 1, 4)
        weighting = csr_array((weights.ravel(), columns.ravel(), ends), shape=(len(t), len(rows)))
        values = (weighting @ rows).reshape(-1, 2, len(CHANNELS))
        turned = z1 > z2
        values[turned] = values[turned][:, :, SWAPPED] * PARITY
        return values

    def _learn(self, pairs: Ints) -> None:
        """Write rows.

        Threads that do so at once write the same but for rounding, so nothing is locked.
        """
        high = ((np.sqrt(8 * pairs + 1) - 1) / 2).astype(np.int64)
        low = pairs - high * (high + 1) // 2
        forward, backward = self._ordered(low, high), self._ordered(high, low)
        alike = low == high
        backward[alike] = forward[alike]  # to the last digit
        rows = np.empty((len(pairs), *self._coefficients.shape[1:]))
        rows[..., SWAPPED[TABULATED]] = backward * PARITY[TABULATED]
        rows[..., TABULATED] = forward
        self._coefficients[pairs] = rows
        self._known[pairs] = True

    def _ordered(self, first: Ints, second: Ints) -> Floats:
        """Coefficients of the tabulated channels, (n, N_COEFFICIENTS, 2, 10)."""
        products = np.empty((len(self._second), len(first), self._of_first.shape[-1]))
        for element in np.unique(first):
            these = first == element
            products[:, these] = self._second[:, second[these]] @ self._of_first[:, element]
        coefficients = products @ self._splines
        shape = 2, len(TABULATED), len(first), N_COEFFICIENTS
        return coefficients.reshape(shape).transpose(2, 3, 0, 1)
