"""Supercells of a given number of cells: all that there are, and the most compact of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

EQUALLY_COMPACT = 1e-3
"""Relative difference of the squared lengths of vectors that counts as none."""


def compact_supercells(
    lattice: NDArray[np.float64], index: int, many: int
) -> list[NDArray[np.int64]]:
    """The supercells with the shortest vectors, by the sum of their squared lengths.

    Parameters
    ----------
    lattice : (3, 3), Å
    index : int
        Cells in the supercell.
    many : int
        How many are wanted. Of those that are equally compact, mostly by symmetry, all are given or
        none, but for the most compact ones.

    Returns
    -------
    list of (3, 3) int64
        Vectors in units of those of the lattice.
    """
    bases = supercells(index)
    reduced = _reduced(bases, lattice)
    squares = ((reduced @ lattice) ** 2).sum(axis=(1, 2))
    order = np.argsort(squares, kind="stable")
    ranked = squares[order]
    ends = np.flatnonzero(ranked[1:] > ranked[:-1] * (1 + EQUALLY_COMPACT)) + 1
    ends = np.append(ends, len(ranked))
    number = max(ends[0], ends[ends <= many].max(initial=0))
    return [reduced[k] for k in order[:number]]


def supercells(index: int) -> NDArray[np.int64]:
    """A basis of each sublattice of an index, in Hermite's normal form, (n, 3, 3)."""
    found = [
        [[a, 0, 0], [b, c, 0], [d, e, f]]
        for a in range(1, index + 1)
        if index % a == 0
        for c in range(1, index // a + 1)
        if (index // a) % c == 0
        for f in [index // a // c]
        for b in range(c)
        for d in range(f)
        for e in range(f)
    ]
    # Off the diagonal, a column is less than the number on it: the transpose has that in rows.
    return np.array(found, dtype=np.int64).transpose(0, 2, 1)


def _reduced(bases: NDArray[np.int64], lattice: NDArray[np.float64]) -> NDArray[np.int64]:
    """The same sublattices by short vectors: no vector gets shorter by adding the others once.

    ``lattice.reduced_basis`` of one after another takes five times as long; of a single lattice,
    this takes three times as long as that.
    """
    bases = bases.copy()
    combined = np.array([(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1) if (i, j) != (0, 0)])
    for _ in range(100):
        vectors = bases @ lattice
        longest = np.argsort(-(vectors**2).sum(axis=2), axis=1, kind="stable")
        changed = False
        for rank in range(3):
            rows, one = np.arange(len(bases)), longest[:, rank]
            others = np.stack([(one + 1) % 3, (one + 2) % 3], axis=1)
            # By whole multiples first, which long vectors need.
            for k in range(2):
                vectors = bases @ lattice
                v, u = vectors[rows, one], vectors[rows, others[:, k]]
                times = np.rint((v * u).sum(axis=1) / (u * u).sum(axis=1) * (1 - 1e-9))
                changed |= bool(times.any())
                bases[rows, one] -= times.astype(np.int64)[:, None] * bases[rows, others[:, k]]
            vectors = bases @ lattice
            v, u = vectors[rows, one], vectors[rows[:, None], others]
            tried = v[:, None] + np.einsum("ck,nkx->ncx", combined, u)
            squares = (tried**2).sum(axis=2)
            best = squares.argmin(axis=1)
            better = squares[rows, best] < (v**2).sum(axis=1) * (1 - 1e-9)
            step = np.einsum("nk,nkx->nx", combined[best], bases[rows[:, None], others])
            bases[rows, one] += np.where(better[:, None], step, 0)
            changed |= bool(better.any())
        if not changed:
            break
    return bases
