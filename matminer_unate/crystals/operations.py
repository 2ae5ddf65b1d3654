"""Symmetry operations of a crystal, where they are plain to see.

spglib's dataset also refines the crystal and finds its Wyckoff positions, which takes up to 20 ms
where the symmetry is high. The operations alone take a quarter of a millisecond. They are told from
what is none by a distance: how far from an atom an operation takes another of its kind. Where one
is neither well below the tolerance nor well above it, the answer depends on how the search is done,
and is left to spglib.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MARGIN = 3.0
"""Distances from 1/3 of the tolerance to 3 times it are left to spglib."""

MAX_COMPARED = 200_000
"""Pairs of sites to be compared, beyond which spglib is as fast."""

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_SHORT = np.array([v for v in itertools.product((-1.0, 0.0, 1.0), repeat=3) if any(v)])
"""Where an operation can take a basis vector of a reduced cell, (26, 3)."""
_OWN = [_SHORT.tolist().index(e) for e in np.eye(3).tolist()]
"""Where the basis vectors themselves are among them."""
_PAIRS = np.array([0, 0, 1]), np.array([1, 2, 2])
"""Of basis vectors."""


@dataclass(frozen=True)
class Operations:
    """Operations x ↦ R x + t, fractional, and what they make of the sites of a crystal.

    Attributes
    ----------
    rotations : (n, 3, 3) int64
    translations : (n, 3)
    images : (n, n_sites)
        The site that each one is taken to.
    misses : (n, n_sites, 3)
        How far from it, fractional.
    """

    rotations: Ints
    translations: Floats
    images: Ints
    misses: Floats


class NotPlain(Exception):  # noqa: N818, nothing went wrong
    """Whether something is a symmetry operation depends on how it is looked for."""


def translations(lattice: Floats, frac_coords: Floats, numbers: Ints, tolerance: float) -> Floats:
    """Translations that take a crystal to itself, (n, 3) fractional; the first of them is 0.

    Parameters
    ----------
    lattice : (3, 3), Å
        A reduced cell.
    frac_coords : (n_sites, 3)
    numbers : (n_sites,)
    tolerance : float, Å

    Raises
    ------
    NotPlain
        A translation is one at this tolerance, but hardly.
    """
    return _operations(lattice, frac_coords, numbers, np.eye(3)[None], tolerance).translations


def primitive_basis(
    lattice: Floats, frac_coords: Floats, numbers: Ints, shifts: Floats, tolerance: float
) -> tuple[Floats, Ints]:
    """The lattice of a primitive cell (3, 3; Å), and the first site of each set of copies.

    Parameters
    ----------
    lattice, frac_coords, numbers
        As for :func:`translations`.
    shifts : (n, 3)
        What that returned.
    tolerance : float, Å
        Between copies.

    Raises
    ------
    NotPlain
        The translations are no group, or sites are lost.
    """
    n = len(shifts)
    if n == 1:
        return lattice, np.arange(len(numbers))
    vectors = np.concatenate([np.rint(shifts * n), n * np.eye(3)])
    basis = _basis(vectors.astype(int).tolist())
    if round(abs(np.linalg.det(basis))) * n != n**3:
        raise NotPlain
    inside = frac_coords @ np.linalg.inv(basis / n)
    apart = inside[:, None] - inside
    apart = (apart - np.round(apart)) @ (basis / n @ lattice)
    same = (np.einsum("ijk,ijk->ij", apart, apart) < tolerance**2) & (numbers[:, None] == numbers)
    first = np.unique(same.argmax(axis=1))
    if len(first) * n != len(numbers):
        raise NotPlain
    return basis / n @ lattice, first


def _basis(vectors: list[list[int]]) -> Ints:
    """A basis (3, 3) of the lattice that integer vectors span, by Euclid's algorithm."""
    found = []
    for axis in range(3):
        while len(with_it := [v for v in vectors if v[axis]]) > 1:
            least = min(with_it, key=lambda v: abs(v[axis]))
            for v in with_it:
                if v is not least:
                    times = v[axis] // least[axis]
                    v[:] = [x - times * y for x, y in zip(v, least, strict=True)]
        found.append(with_it[0])
        vectors = [v for v in vectors if v is not with_it[0] and any(v)]
    return np.array(found)


def operations(lattice: Floats, frac_coords: Floats, numbers: Ints, tolerance: float) -> Operations:
    """Those of the space group.

    Parameters
    ----------
    lattice : (3, 3), Å
        Of a primitive cell, reduced by Niggli's criteria.
    frac_coords : (n_sites, 3)
    numbers : (n_sites,)
    tolerance : float, Å

    Raises
    ------
    NotPlain
        An operation is one at this tolerance, but hardly.
    """
    bases = _isometries(lattice, tolerance)
    return _operations(lattice, frac_coords, numbers, bases, tolerance)


def _isometries(lattice: Floats, tolerance: float) -> Floats:
    """Bases (n, 3, 3) of the lattice that are as the given one, in units of it.

    A length may differ by the tolerance, and so may the end of a vector of the mean length of two
    when the angle between them is made the same.
    """
    vectors = _SHORT @ lattice
    inner = vectors @ vectors.T
    lengths = np.sqrt(inner.diagonal())
    own = lengths[_OWN]
    off = np.abs(lengths - own[:, None])
    near = [np.flatnonzero(row < MARGIN * tolerance) for row in off]
    cosine = np.clip(inner / (lengths[:, None] * lengths), -1.0, 1.0)
    sine = np.sqrt(1.0 - cosine**2)
    mean = np.sqrt(0.5 * (lengths + own[:, None]))
    # Of the pairs, by where both of them are taken.
    i, j = _PAIRS
    own_cosine, own_sine = (of[_OWN][:, _OWN][i, j][:, None, None] for of in (cosine, sine))
    by = np.abs(sine * own_cosine - cosine * own_sine) * mean[i][:, :, None] * mean[j][:, None]
    turned = np.maximum(by, np.maximum(off[i][:, :, None], off[j][:, None]))
    a, b, c = near
    distance = np.maximum(turned[0, a[:, None], b][:, :, None], turned[1, a[:, None], c][:, None])
    distance = np.maximum(distance, turned[2, b[:, None], c])
    found = np.nonzero(_is_below(distance, tolerance))
    return np.stack([_SHORT[near[k][found[k]]] for k in range(3)], axis=1)


def _operations(
    lattice: Floats, frac_coords: Floats, numbers: Ints, bases: Floats, tolerance: float
) -> Operations:
    """With those of the bases (n, 3, 3) that turn the crystal into itself.

    ``frac_coords @ basis`` are the turned sites.
    """
    kinds = sorted((np.flatnonzero(numbers == z) for z in set(numbers.tolist())), key=len)
    fewest = frac_coords[kinds[0]]
    if len(bases) * len(fewest) ** 3 > MAX_COMPARED:
        raise NotPlain
    shift = (fewest - fewest[:1] @ bases).reshape(-1, 3)
    of = np.repeat(np.arange(len(bases)), len(fewest))
    images = np.empty((len(of), len(numbers)), dtype=np.int64)
    misses = np.empty((len(of), len(numbers), 3))
    worst = np.zeros(len(of))
    for own in kinds:
        if len(of) * len(own) ** 2 > MAX_COMPARED:
            raise NotPlain
        sites = frac_coords[own]
        nearest, misses[:, own] = nearest_sites(
            (sites @ bases)[of] + shift[:, None], sites, lattice
        )
        images[:, own] = own[nearest]
        miss = misses[:, own].reshape(-1, 3) @ lattice
        square = np.einsum("ij,ij->i", miss, miss).reshape(len(of), -1)
        worst = np.maximum(worst, np.sqrt(square.max(axis=1)))
        left = worst < MARGIN * tolerance
        if not left.all():
            of, shift, worst = of[left], shift[left], worst[left]
            images, misses = images[left], misses[left]
    _is_below(worst, tolerance)
    return Operations(bases[of].swapaxes(1, 2).astype(np.int64), shift, images, misses)


def nearest_sites(moved: Floats, sites: Floats, lattice: Floats) -> tuple[Ints, Floats]:
    """Which of the sites (m, 3) moved ones (g, m, 3) are nearest to, and the difference.

    Returns
    -------
    nearest : (g, m)
    apart : (g, m, 3)
        Fractional, from the site to the moved one.
    """
    # Components first, where NumPy is fast.
    apart = moved.transpose(2, 0, 1)[..., None] - sites.T[:, None, None]
    apart -= np.rint(apart)
    if len(sites) > 1:
        flat = apart.reshape(3, -1)
        square = np.einsum("xi,xi->i", lattice @ lattice.T @ flat, flat).reshape(apart.shape[1:])
        nearest = square.argmin(axis=2)
        place = nearest.ravel() + len(sites) * np.arange(nearest.size)
        apart = flat.take(place, axis=1).reshape(3, *nearest.shape)
    else:
        nearest, apart = np.zeros(apart.shape[1:3], dtype=np.int64), apart[..., 0]
    return nearest, apart.transpose(1, 2, 0)


def _is_below(distance: Floats, tolerance: float) -> NDArray[np.bool_]:
    """Whether distances are below the tolerance; raises NotPlain where one is near to it."""
    below = distance < tolerance / MARGIN
    if (distance[~below] < tolerance * MARGIN).any():
        raise NotPlain
    return below
