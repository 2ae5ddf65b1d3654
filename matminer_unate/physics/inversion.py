"""What a centre of inversion makes of the eigenproblems of a crystal."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from matminer_unate.crystals.symmetrised import SymmetrisedCrystal
from matminer_unate.physics.atoms import Ints
from matminer_unate.physics.bond_blocks import ANGULAR
from matminer_unate.physics.eigenstates import Eigenproblems
from matminer_unate.physics.elements import Floats

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
    shift, own_shift : (n_pairs, 3), (n_own, 3)
        The cell that the image of site i in cell 0 is in.
    """

    one: Ints
    other: Ints
    own: Ints
    sign: Floats
    own_sign: Floats
    shift: Ints
    own_shift: Ints

    @classmethod
    def of(cls, crystal: SymmetrisedCrystal, site: Ints, orbital: Ints) -> Inversion | None:
        """From the site and orbital (n_orbitals,) of each row; None without inversion."""
        found = (crystal.rotations == -np.eye(3, dtype=np.int64)).all(axis=(1, 2))
        if not found.any():
            return None
        partner = crystal.images[found.argmax()]
        both = crystal.frac_coords + crystal.frac_coords[partner]
        shifts = np.rint(both[0] - both).astype(np.int64)
        n = len(crystal.frac_coords)
        row = np.zeros((n, 9), dtype=np.int64)
        row[site, orbital] = np.arange(len(site))
        sign, opposite = SIGN[orbital], row[partner[site], orbital]
        one, own = np.flatnonzero(site < partner[site]), np.flatnonzero(site == partner[site])
        return cls(
            one, opposite[one], own, sign[one], sign[own], shifts[site[one]], shifts[site[own]]
        )

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

    def even_and_odd(self, problem: Eigenproblems, points: Floats) -> Iterator[Eigenproblems]:
        """The same problems, where k and −k are the same point, for even and for odd states.

        The even states are made of (aᵢ + s η a_p(i)) / √2 and of orbitals at centres with s η = 1,
        where η is the phase of the cell that the image of the site is in.
        """
        sign = self.sign * np.cos(2 * np.pi * points @ self.shift.T)
        own_sign = np.rint(self.own_sign * np.cos(2 * np.pi * points @ self.own_shift.T))
        patterns, member = np.unique(own_sign, axis=0, return_inverse=True)
        for number, pattern in enumerate(patterns):
            those = np.flatnonzero(member.ravel() == number)
            matrices = problem.matrices[:, those]
            first = 0
            for parity in (1, -1):
                own = self.own[pattern == parity]
                signs = parity * sign[those, None]
                yield Eigenproblems(
                    problem.k[those],
                    first,
                    self._half(matrices, signs, own),
                    problem.groups[:, np.concatenate([self.one, own])],
                )
                first += len(self.one) + len(own)

    def _half(self, matrices: Floats, signs: Floats, own: Ints) -> Floats:
        """Between the states (aᵢ + sign a_p(i)) / √2 and some of the centres."""
        n, size = len(self.one), len(self.one) + len(own)
        rows = matrices.take(self.one, axis=-2)
        result = np.empty((*matrices.shape[:2], size, size), matrices.dtype)
        turned = rows.take(self.other, axis=-1) * signs
        result[..., :n, :n] = rows.take(self.one, axis=-1) + turned
        result[..., :n, n:] = np.sqrt(2) * rows.take(own, axis=-1)
        result[..., n:, :n] = result[..., :n, n:].swapaxes(-2, -1)
        result[..., n:, n:] = matrices[..., own[:, None], own]
        return result
