"""What a centre of inversion makes of the eigenproblems of a crystal."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from matminer_unate.crystals.symmetrised import SymmetrisedCrystal
from matminer_unate.physics.atoms import Ints
from matminer_unate.physics.bond_blocks import ANGULAR
from matminer_unate.physics.eigenstates import Eigenproblems
from matminer_unate.physics.elements import Floats
from matminer_unate.physics.parities import Parities, at_partners

SIGN = (-1.0) ** ANGULAR
"""Of an orbital, turned inside out."""


@dataclass(frozen=True)
class Inversion:
    """Orbitals that inversion takes to each other, of pairs of sites and of sites at centres.

    Inversion takes orbital a of site i to s times orbital a of site p(i), with s = 1 for s and d
    and −1 for p orbitals.

    Attributes
    ----------
    one, other : (n_pairs,)
        Positions in the matrices of the orbitals of sites i < p(i), and of those of p(i).
    own : (n_own,)
        Of the orbitals of sites i = p(i).
    sign, own_sign : (n_pairs,), (n_own,)
        s.
    """

    one: Ints
    other: Ints
    own: Ints
    sign: Floats
    own_sign: Floats

    @classmethod
    def of(cls, crystal: SymmetrisedCrystal, site: Ints, orbital: Ints) -> Inversion | None:
        """From the site and orbital (n_orbitals,) of each row; None without inversion."""
        found = (crystal.rotations == -np.eye(3, dtype=np.int64)).all(axis=(1, 2))
        if not found.any():
            return None
        partner = crystal.images[found.argmax()]
        sign, opposite = SIGN[orbital], at_partners(partner, site, orbital)
        one, own = np.flatnonzero(site < partner[site]), np.flatnonzero(site == partner[site])
        return cls(one, opposite[one], own, sign[one], sign[own])

    def made_real(self, problem: Eigenproblems) -> Eigenproblems:
        """The same problems, at any k and with the phases of vectors, in real matrices.

        The basis is (aᵢ + s a_p(i)) / √2 and i (aᵢ − s a_p(i)) / √2, at the centres a for even and
        i a for odd orbitals. Inversion followed by complex conjugation takes each of these to
        itself and leaves the matrices as they are, so the elements between them are real.
        """
        n = len(self.one)
        rows = problem.matrices.take(self.one, axis=-2)
        A, B = rows.take(self.one, axis=-1), rows.take(self.other, axis=-1) * self.sign
        plus, minus = A + B, A - B
        result = np.empty(problem.matrices.shape)
        result[..., :n, :n], result[..., n : 2 * n, n : 2 * n] = plus.real, minus.real
        result[..., n : 2 * n, :n], result[..., :n, n : 2 * n] = plus.imag, -minus.imag
        if len(self.own):
            phase = np.where(self.own_sign < 0, 1j, 1.0)
            F = rows.take(self.own, axis=-1) * (np.sqrt(2) * phase)
            result[..., :n, 2 * n :], result[..., n : 2 * n, 2 * n :] = F.real, F.imag
            result[..., 2 * n :, : 2 * n] = result[..., : 2 * n, 2 * n :].swapaxes(-2, -1)
            middle = problem.matrices[..., self.own[:, None], self.own]
            result[..., 2 * n :, 2 * n :] = (middle * (phase.conj()[:, None] * phase)).real
        # A pair has the same share on both of its sites, which belong to one orbit.
        basis = np.concatenate([self.one, self.one, self.own])
        return replace(problem, matrices=result, groups=problem.groups[:, basis])

    def of_real_basis(self, parities: Parities) -> Parities:
        """What the operations make of the basis of :meth:`made_real`."""
        n, swapped = len(self.one), np.zeros(parities.image.shape[1], dtype=bool)
        place = np.empty(len(swapped), dtype=np.int64)
        place[self.one] = place[self.other] = np.arange(n)
        place[self.own], swapped[self.other] = np.arange(len(self.own)), True
        image, sign = place[parities.image], parities.sign
        one, own = image[:, self.one], image[:, self.own] + 2 * n
        even = np.where(swapped[parities.image[:, self.one]], self.sign, 1.0) * sign[:, self.one]
        odd = np.where(swapped[parities.image[:, self.one]], -self.sign, 1.0) * sign[:, self.one]
        return replace(
            parities,
            image=np.concatenate([one, one + n, own], axis=1),
            sign=np.concatenate([even, odd, sign[:, self.own]], axis=1),
        )
