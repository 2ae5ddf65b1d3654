"""What a centre of inversion makes of the eigenproblems of a crystal."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

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
    def of(cls, crystal: SymmetrisedCrystal, position: Ints) -> Inversion | None:
        """From positions (n_sites, 9) of orbitals; None for a crystal without inversion."""
        found = (crystal.rotations == -np.eye(3, dtype=np.int64)).all(axis=(1, 2))
        if not found.any():
            return None
        partner = crystal.images[found.argmax()]
        both = crystal.frac_coords + crystal.frac_coords[partner]
        shifts = np.rint(both[0] - both).astype(np.int64)
        n = np.arange(len(partner))
        pairs, centres = n[n < partner], n[n == partner]
        site, orbital = np.nonzero(position[pairs] >= 0)
        middle, own = np.nonzero(position[centres] >= 0)
        return cls(
            position[pairs[site], orbital],
            position[partner[pairs[site]], orbital],
            position[centres[middle], own],
            SIGN[orbital],
            SIGN[own],
            shifts[pairs[site]],
            shifts[centres[middle]],
        )

    def made_real(self, problem: Eigenproblems) -> Eigenproblems:
        """The same problems, at any k and with the phases of vectors, in real matrices.

        The basis is (aᵢ + s a_p(i)) / √2 and i (aᵢ − s a_p(i)) / √2, at the centres a for even and
        i a for odd orbitals. Inversion followed by complex conjugation takes each of these to
        itself and leaves the matrices as they are, so the elements between them are real.
        """
        n = len(self.one)
        phase = np.where(self.own_sign < 0, 1j, 1.0)

        def real_form(matrix: NDArray[np.complex128]) -> Floats:
            rows = matrix[:, self.one]
            A, B = rows[:, :, self.one], rows[:, :, self.other] * self.sign
            plus, minus = A + B, A - B
            result = np.empty(matrix.shape)
            result[:, :n, :n], result[:, n : 2 * n, n : 2 * n] = plus.real, minus.real
            result[:, n : 2 * n, :n], result[:, :n, n : 2 * n] = plus.imag, -minus.imag
            if len(self.own):
                F = np.sqrt(2) * rows[:, :, self.own] * phase
                result[:, :n, 2 * n :], result[:, n : 2 * n, 2 * n :] = F.real, F.imag
                result[:, 2 * n :, : 2 * n] = result[:, : 2 * n, 2 * n :].swapaxes(1, 2)
                middle = matrix[:, self.own[:, None], self.own] * phase
                result[:, 2 * n :, 2 * n :] = (middle * phase.conj()[:, None]).real
            return result

        # A pair has the same share on both of its sites, which belong to one orbit.
        basis = np.concatenate([self.one, self.one, self.own])
        H, S = real_form(problem.H), real_form(problem.S)
        return replace(problem, H=H, S=S, groups=problem.groups[:, basis])

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
            H, S = problem.H[those], problem.S[those]
            first = 0
            for parity in (1, -1):
                own = self.own[pattern == parity]
                signs = parity * sign[those, None]
                yield Eigenproblems(
                    problem.k[those],
                    first,
                    self._half(H, signs, own),
                    self._half(S, signs, own),
                    problem.groups[:, np.concatenate([self.one, own])],
                )
                first += len(self.one) + len(own)

    def _half(self, matrix: Floats, signs: Floats, own: Ints) -> Floats:
        """Matrices (m, n, n) between the states (aᵢ + sign a_p(i)) / √2 and some of the centres."""
        n, size = len(self.one), len(self.one) + len(own)
        rows = matrix[:, self.one]
        result = np.empty((len(matrix), size, size), matrix.dtype)
        result[:, :n, :n] = rows[:, :, self.one] + rows[:, :, self.other] * signs
        result[:, :n, n:] = np.sqrt(2) * rows[:, :, own]
        result[:, n:, :n] = result[:, :n, n:].swapaxes(1, 2)
        result[:, n:, n:] = matrix[:, own[:, None], own]
        return result
