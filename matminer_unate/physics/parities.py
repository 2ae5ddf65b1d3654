"""What operations that are their own inverses make of the eigenproblems of a crystal.

States are even or odd under inversion, mirrors and half turns that commute: up to eight kinds, and
between states of two kinds all matrix elements vanish. So the matrices fall apart into blocks.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import hadamard

from matminer_unate.crystals.involutions import involutions
from matminer_unate.crystals.symmetrised import SymmetrisedCrystal
from matminer_unate.physics.atoms import Ints
from matminer_unate.physics.eigenstates import Eigenproblems
from matminer_unate.physics.elements import Floats

SMALLEST = 32
"""Orbitals. To split matrices into smaller blocks than about this takes longer than it saves."""

CHARACTERS = tuple(hadamard(2**m).astype(np.float64) for m in range(4))
"""Of the 2ᵐ kinds of states (rows) under the 2ᵐ products of m operations."""


def at_partners(partner: Ints, site: Ints, orbital: Ints) -> Ints:
    """Positions in the matrices of the same orbitals of other sites, (…, n).

    Parameters
    ----------
    partner : (…, n_sites)
        The other site of each.
    site, orbital : (n,)
        Of each row of the matrices.
    """
    row = np.zeros((partner.shape[-1], 9), dtype=np.int64)
    row[site, orbital] = np.arange(len(site))
    return row[partner[..., site], orbital]


@dataclass(frozen=True)
class Parities:
    """Operations that take orbital a of a site to ± orbital a of a site.

    Attributes
    ----------
    rotation : (m, 3, 3)
        On fractional coordinates as columns.
    code : (m,)
        Three bits, of which that of a product of operations is the exclusive or.
    image : (m, n)
        Positions in the matrices of what orbitals are taken to.
    sign : (m, n)
        ±1.
    shift : (m, n, 3)
        The cell that the image of an orbital in cell 0 is in.
    """

    rotation: Ints
    code: Ints
    image: Ints
    sign: Floats
    shift: Ints

    @classmethod
    def of(cls, crystal: SymmetrisedCrystal, site: Ints, orbital: Ints) -> Parities | None:
        """From the site and orbital (n,) of each row of the matrices; None where there are none."""
        which, signs, _ = involutions(crystal.rotations)
        if not len(which) or len(site) < 2 * SMALLEST:
            return None
        W, partner, coords = crystal.rotations[which], crystal.images[which], crystal.frac_coords
        # Up to a translation of the lattice, which does not matter, the first site's image is in
        # its cell.
        moved = (coords - coords[0]) @ W.swapaxes(1, 2)
        shift = np.rint(moved - coords[partner] + coords[partner[:, :1]]).astype(np.int64)
        x, y, z = signs.T.astype(np.float64)
        one = np.ones(len(which))
        of_orbital = np.stack([one, x, y, z, one, x * y, x * z, y * z, one], axis=1)
        return cls(
            W,
            (signs < 0) @ np.array([1, 2, 4]),
            at_partners(partner, site, orbital),
            of_orbital[:, orbital],
            shift[:, site],
        )

    def at_own_opposites(self, problem: Eigenproblems, points: Floats) -> Iterator[Eigenproblems]:
        """The problems in blocks, at points where k and −k are the same, with phases of cells."""
        change = points @ self.rotation - points
        usable = (change == np.rint(change)).all(axis=2)
        sign = self.sign[:, None] * np.rint(np.cos(2 * np.pi * points @ self.shift.swapaxes(1, 2)))
        return self._blocks(problem, sign, usable)

    def elsewhere(self, problem: Eigenproblems, points: Floats) -> Iterator[Eigenproblems]:
        """The problems in blocks, at any points, with phases of vectors."""
        usable = (points @ self.rotation == points).all(axis=2)
        sign = np.broadcast_to(self.sign[:, None], (len(self.sign), *problem.matrices.shape[1:3]))
        return self._blocks(problem, sign, usable)

    def _blocks(
        self, problem: Eigenproblems, sign: Floats, usable: NDArray[np.bool_]
    ) -> Iterator[Eigenproblems]:
        """The problems in blocks, from signs (m, n_k, n) and what leaves each k as it is."""
        # Squares are ±1, and products in the other order ± the same; one orbital tells which.
        g = np.arange(len(self.code))
        product = sign[g[:, None], :, self.image[:, 0]] * sign[:, :, 0]  # of g after h
        usable &= product[g, g] > 0
        commute = product == product.swapaxes(0, 1)
        alike = defaultdict[bytes, list[int]](list)
        for k, pattern in enumerate(np.concatenate([usable[None], commute]).T):
            alike[pattern.tobytes()].append(k)
        for those in alike.values():
            operations = self._independent(usable[:, those[0]], commute[:, :, those[0]])
            yield from self._in_blocks(problem, those, operations, sign)

    def _independent(self, usable: NDArray[np.bool_], commute: NDArray[np.bool_]) -> list[int]:
        """Operations of which usable ones that commute are products, as many as are worth it."""
        found, products = list[int](), {0}
        most = int(np.log2(self.image.shape[1] / SMALLEST))
        for g in np.flatnonzero(usable).tolist():
            code = int(self.code[g])
            if code not in products and len(found) < most and all(commute[g, h] for h in found):
                found.append(g)
                products |= {code ^ other for other in products}
        return found

    def _in_blocks(
        self, problem: Eigenproblems, those: list[int], operations: list[int], sign: Floats
    ) -> Iterator[Eigenproblems]:
        """Blocks of some points, by independent operations.

        A kind of states has the character χ(g) = ±1 for each of the 2ᵐ products g of the
        operations. It is made of Σ χ(g) g|a⟩, of one orbital a of each set that they take to each
        other, unless that is 0: where g|a⟩ = −χ(g)|a⟩. Between such states,
        ⟨a|H|b⟩ → Σ χ(g) ⟨g a|H|b⟩ / √(s_a s_b), where s operations take an orbital to itself.
        """
        matrices = problem.matrices
        if len(those) < len(problem.k):
            matrices = matrices[:, those]
        n = matrices.shape[-1]
        if not operations:
            k, first_band = problem.k[those], problem.first_band[those]
            yield replace(problem, k=k, first_band=first_band, matrices=matrices)
            return
        image, own_sign = np.arange(n)[None], np.ones((len(those), 1, n))
        for g in operations:
            own_sign = np.concatenate([own_sign, own_sign * sign[g, those][:, image]], axis=1)
            image = np.concatenate([image, self.image[g][image]])
        character, real = CHARACTERS[len(operations)], matrices.real.dtype
        chosen = np.flatnonzero(image.min(axis=0) == image[0])
        image, own_sign = image[:, chosen], own_sign[:, :, chosen]
        fixed = image == chosen
        n_fixed = fixed.sum(axis=0)
        exists = character @ (own_sign * fixed) > 0.5  # (n_some, 2ᵐ, n_chosen)
        rows = matrices.take(chosen, axis=-1).take(image.ravel(), axis=-2)
        rows = rows.reshape(*matrices.shape[:2], *image.shape, len(chosen))
        norm = 1 / np.sqrt(n_fixed)
        rows *= (own_sign * norm).astype(real)[..., None]
        rows *= norm.astype(real)
        blocks = (character.astype(real) @ rows.reshape(*rows.shape[:3], -1)).reshape(rows.shape)
        groups, size = problem.groups[:, chosen], exists.sum(axis=2)
        first = size.cumsum(axis=1) - size
        for width in set(size.ravel().tolist()) - {0}:
            k, kind = np.nonzero(size == width)
            own_k, own_first = problem.k[those][k], first[k, kind]
            if width == len(chosen):
                yield Eigenproblems(own_k, own_first, blocks[:, k, kind], groups)
                continue
            orbitals = np.nonzero(exists[k, kind])[1].reshape(-1, width)
            place = (k * len(image) + kind)[:, None] * len(chosen) + orbitals
            place = place[:, :, None] * len(chosen) + orbitals[:, None]
            within = blocks.reshape(2, -1).take(place, axis=1)
            yield Eigenproblems(own_k, own_first, within, groups[:, orbitals].swapaxes(0, 1))
