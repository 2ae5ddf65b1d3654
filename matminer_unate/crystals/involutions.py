"""Of the operations of a crystal, those that are their own inverses and commute.

Inversion, mirrors and rotations by half a turn about perpendicular axes: together at most seven.
Along these axes each of them turns x, y and z into ± themselves, so that orbitals stay what they
are but for their signs, and states are even or odd under each.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def involutions(rotations: Ints) -> tuple[Ints, Ints, Ints]:
    """As many as there are that commute.

    Parameters
    ----------
    rotations : (g, 3, 3)
        Of the crystal, acting on fractional coordinates as columns; a group.

    Returns
    -------
    which : (m,)
        Of the rotations, inversion first; a group but for the identity.
    signs : (m, 3)
        ±1, what each one makes of vectors along the axes.
    axes : (3, 3), or (0, 3)
        Fractional, as rows, not normalised, perpendicular; where there is only one axis of a mirror
        or half a turn it is the first, and the others are 0. None for inversion alone.
    """
    return _involutions(rotations.astype(np.int8).tobytes())


@lru_cache(maxsize=1000)
def _involutions(rotations: bytes) -> tuple[Ints, Ints, Ints]:
    W = np.frombuffer(rotations, np.int8).reshape(-1, 3, 3).astype(np.int64)
    one = np.eye(3, dtype=np.int64)
    trace = np.trace(W, axis1=1, axis2=2)
    squared = W @ W
    own_inverse = (squared == one).all(axis=(1, 2))
    turns = np.flatnonzero(own_inverse & (np.abs(trace) == 1))  # and mirrors
    inversion = np.flatnonzero(trace == -3)
    product = W[turns][:, None] @ W[turns]
    commute = (product == product.swapaxes(0, 1)).all(axis=(2, 3))
    # Twice the projectors on their axes: −1 is the trace of half a turn, 1 that of a mirror.
    onto = one - trace[turns, None, None] * W[turns]
    same = (onto[:, None] == onto).all(axis=(2, 3))
    best = turns[:0]
    axes = np.zeros((0, 3), dtype=np.int64)
    for first in range(len(turns)):
        others = np.flatnonzero(commute[first] & ~same[first])
        own = commute[first] & (commute[others[0]] if len(others) else same[first])
        if own.sum() <= len(best):
            continue
        best = turns[own]
        axes = np.zeros((3, 3), dtype=np.int64)
        for axis, projector in zip(axes, np.unique(onto[own], axis=0), strict=False):
            axis[:] = projector[:, np.abs(projector).sum(axis=0).argmax()]
    which = np.concatenate([inversion, best])
    if not len(axes):
        return which, np.full((len(which), 3), -1), axes
    kept = (W[which] @ axes.T == axes.T).all(axis=1)
    # Across the only axis there is, a mirror leaves all as it is, and nothing else leaves any.
    kept = np.where(axes.any(axis=1), kept, trace[which, None] == 1)
    return which, np.where(kept, 1, -1), axes


def frame(axes: Ints, lattice: Floats) -> Floats:
    """Unit vectors (3, 3), as rows, along the axes of :func:`involutions` of a lattice."""
    if not len(axes):
        return np.eye(3)
    found = axes @ lattice
    if not axes[1].any():
        found[1] = np.cross(found[0], np.eye(3)[np.abs(found[0]).argmin()])
        found[2] = np.cross(found[0], found[1])
    unit: Floats = found / np.linalg.norm(found, axis=1)[:, None]
    return unit
