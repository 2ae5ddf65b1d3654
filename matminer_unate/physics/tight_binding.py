"""Crystal → what a tight-binding model says of each site: charges, populations, local densities.

No label of any crystal goes into it: it makes columns of its own, and is a teacher for pretraining.
Two-centre density-functional tight binding from free atoms, tabulated
(:mod:`matminer_unate.physics.tables`), without self-consistency of the charges (Porezag et al.,
Phys. Rev. B 51, 12947 (1995), doi:10.1103/PhysRevB.51.12947):

* levels of single atoms on the diagonal;
* between sites ⟨a|T + v_a + v_b|b⟩ and ⟨a|b⟩ of contracted s, p and d orbitals, turned into
  place as by Slater and Koster (Phys. Rev. 94, 1498 (1954), doi:10.1103/PhysRev.94.1498);
* bands at a few k points, filled with the valence electrons, shared among sites as by Mulliken
  (J. Chem. Phys. 23, 1833 (1955), doi:10.1063/1.1740588).

There is no crystal field and no spin: gaps come out too large (Si 7 eV) and magnetic insulators as
metals. What counts is that the numbers go with those of real electrons.

Energies in eV, lengths in Å, unless said otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

from matminer_unate.crystals.graph import RadiusGraph
from matminer_unate.crystals.lattice import cell_heights
from matminer_unate.physics.atoms import Ints, electrons_of, levels_of
from matminer_unate.physics.elements import Floats
from matminer_unate.physics.two_centre import PLACES, pair_integrals, rotations

CUTOFF, TAPER = 5.0, 0.5
"""Å. Hoppings go to zero smoothly over the last ``TAPER``."""

K_LENGTH = 9.0
"""Å. Along each axis, k points times the height of the cell are at least this."""
MAX_WORK = 4e8
"""k points times orbitals cubed; fewer k points in larger cells. About 2 s."""
LARGE = 2_000
"""Orbitals. Larger cells, which have Γ alone, are solved in single precision: half the time and
memory."""

SMALLEST_OVERLAP = 0.05
"""Eigenvalues of the overlap are raised to this, as wide orbitals can be linearly dependent."""

ANGULAR = np.array([0, 1, 1, 1, 2, 2, 2, 2, 2])
"""Of the orbitals of a site: s, p, d."""


@dataclass(frozen=True)
class Bands:
    """Bands of a crystal.

    Attributes
    ----------
    energy : (n_k, n_bands) eV, ascending
    share : (n_k, n_bands, 3 n_sites)
        Of each state on the s, p and d orbitals of each site; sums to 1 over the last axis. As the
        orbitals overlap, shares can be a little below 0 or above 1.
    weight : (n_k,)
        Sums to 1.
    n_electrons : (n_sites,)
        Of the neutral atoms.
    level : (n_sites, 3) eV
        Of the atoms alone; zero where there is no such shell.
    """

    energy: Floats
    share: Floats
    weight: Floats
    n_electrons: Floats
    level: Floats


def solve(lattice: Floats, frac_coords: Floats, graph: RadiusGraph) -> Bands:
    """Bands of the model, on a grid of k points that depends on the size of the cell."""
    n = graph.n_sites
    level = levels_of(graph.atomic_numbers)
    used = np.flatnonzero(~np.isnan(level[:, ANGULAR]))
    points, weight = k_points(lattice, len(used))
    i, j, image, vector = bonds(lattice, frac_coords, graph)
    hopping, overlap = blocks(graph.atomic_numbers[i], graph.atomic_numbers[j], vector)
    angle = 2 * np.pi * points @ image.T
    at_inversion = np.abs(2 * points - np.rint(2 * points)).max() < 1e-9
    # At k and −k alike the matrices are real.
    phase = np.cos(angle) if at_inversion else np.exp(1j * angle)
    if len(used) > LARGE:
        phase = phase.astype(np.float32)
    H, S = (bloch_sum(b, phase, i * n + j, n, used) for b in (hopping, overlap))
    diagonal = np.arange(len(used))
    H[:, diagonal, diagonal] += level[:, ANGULAR].ravel()[used]
    S[:, diagonal, diagonal] += 1.0
    energy, share = states(H, S)
    channel = used // 9 * 3 + ANGULAR[used % 9]
    present, starts = np.unique(channel, return_index=True)
    by_channel = np.zeros((*energy.shape, 3 * n))
    by_channel[:, :, present] = np.add.reduceat(share, starts, axis=1).swapaxes(1, 2)
    electrons = electrons_of(graph.atomic_numbers)
    return Bands(energy, by_channel, weight, electrons, np.nan_to_num(level))


def states(H: NDArray, S: NDArray) -> tuple[Floats, Floats]:
    """Energies (n_k, n_bands) of H c = E S c, and shares (n_k, n_orbitals, n_bands), Re c* S c.

    ``H`` may be overwritten.
    """
    if not has_independent_orbitals(S):
        return states_of_dependent_orbitals(H, S)
    # No eigenvalue of S needs to be raised, as in nearly all crystals: half the time.
    energy, share = np.empty(S.shape[:2]), np.empty(S.shape, dtype=S.real.dtype)
    for k in range(len(S)):
        # LAPACK works on columns: a real matrix is handed over as its transpose, without a copy.
        real = np.isrealobj(H)
        a, b = (H[k].T, S[k].T) if real else (H[k], S[k])
        energy[k], c = eigh(a, b, driver="gvd", check_finite=False, overwrite_a=real)
        share[k] = (c.conj() * (S[k] @ c)).real
    return energy, share


def has_independent_orbitals(S: NDArray) -> bool:
    """Whether all eigenvalues of the overlaps (n_k, n_orbitals, n_orbitals) are large enough."""
    lifted = S.copy()
    diagonal = np.arange(S.shape[1])
    lifted[:, diagonal, diagonal] -= SMALLEST_OVERLAP
    try:
        np.linalg.cholesky(lifted)
    except np.linalg.LinAlgError:
        return False
    return True


def states_of_dependent_orbitals(H: NDArray, S: NDArray) -> tuple[Floats, Floats]:
    """The same, with eigenvalues of the overlap raised to ``SMALLEST_OVERLAP``."""
    s, U = np.linalg.eigh(S)
    s = np.maximum(s, SMALLEST_OVERLAP)[:, None, :]
    X = U / np.sqrt(s)
    energy, v = np.linalg.eigh(X.conj().swapaxes(1, 2) @ H @ X)
    c = X @ v
    dual = (U * s) @ (U.conj().swapaxes(1, 2) @ c)  # S c
    return energy, (c.conj() * dual).real


def k_points(lattice: Floats, n_orbitals: int) -> tuple[Floats, Floats]:
    """Grid with Γ and, of k and −k, one; fractional (n_k, 3), and weights (n_k,).

    The divisions are powers of two, so that a cell doubled along an axis has exactly the same
    points, but for very small and very large cells.
    """
    heights = np.array(cell_heights(lattice)[0])
    power = np.ceil(np.log2(K_LENGTH / heights) - 1e-6)
    n = 2 ** np.clip(power, 0, 3).astype(int)
    while n.max() > 1 and n.prod() / 2 * float(n_orbitals) ** 3 > MAX_WORK:
        n[n.argmax()] //= 2
    grid = np.stack(np.meshgrid(*(np.arange(m) for m in n), indexing="ij"), axis=-1).reshape(-1, 3)
    stride = np.array([n[1] * n[2], n[2], 1])
    code, opposite = grid @ stride, (-grid % n) @ stride
    keep = code <= opposite
    weight = np.where(code < opposite, 2.0, 1.0)[keep]
    return grid[keep] / n, weight / weight.sum()


def n_orbitals(atomic_numbers: Ints) -> int:
    """Orbitals of a cell: 1 of H and He, 9 where a d shell takes part, else 4 of an atom."""
    return int((~np.isnan(levels_of(atomic_numbers)[:, ANGULAR])).sum())


def bonds(
    lattice: Floats, frac_coords: Floats, graph: RadiusGraph
) -> tuple[Ints, Ints, Ints, Floats]:
    """All (site, other site, image of the other, vector in Å) within the cutoff."""
    j, i = graph.edge_index
    wrapped = frac_coords - np.floor(frac_coords)
    vector = (wrapped[j] + graph.edge_image - wrapped[i]) @ lattice
    return i, j, graph.edge_image, vector


def blocks(zi: Ints, zj: Ints, vector: Floats) -> tuple[Floats, Floats]:
    """Hopping (eV) and overlap between the orbitals of two sites, (n_bonds, 9, 9) each."""
    distance = np.linalg.norm(vector, axis=1)
    integrals = pair_integrals(zi, zj, distance)
    inside = np.clip((CUTOFF - distance) / TAPER, 0.0, 1.0)
    integrals *= (0.5 - 0.5 * np.cos(np.pi * inside))[:, None, None]
    along = np.zeros((2, len(vector), 9, 9))
    for channel, places in enumerate(PLACES):
        for a, b in places:
            along[:, :, a, b] = integrals[:, :, channel].T
    turn = rotations(vector / np.maximum(distance, 1e-9)[:, None])
    hopping, overlap = turn @ along @ turn.swapaxes(1, 2)
    return hopping, overlap


def bloch_sum(block: Floats, phase: NDArray, pair: Ints, n: int, used: Ints) -> NDArray:
    """Blocks of bonds (n_bonds, 9, 9) → matrices of the orbitals used, (n_k, n_used, n_used).

    ``pair`` is n i + j; orbital o of site i is 9 i + o in ``used``.
    """
    matrix = np.zeros((len(phase), len(used), len(used)), dtype=phase.dtype)
    order = np.argsort(pair, kind="stable")
    found, starts = np.unique(pair[order], return_index=True)
    flat = block.reshape(-1, 81)[order]
    ends = np.append(starts, len(order))[1:]
    site, orbital = used // 9, used % 9
    pairs = np.searchsorted(found, n * np.arange(n + 1))
    own = np.searchsorted(site, np.arange(n + 1))
    for i in range(n):  # row by row: of large cells, nearly all pairs are out of reach
        row = np.zeros((len(phase), n, 81), dtype=phase.dtype)
        for k in range(pairs[i], pairs[i + 1]):
            bonds_of_pair = slice(starts[k], ends[k])
            row[:, found[k] - n * i] = phase[:, order[bonds_of_pair]] @ flat[bonds_of_pair]
        here = slice(own[i], own[i + 1])
        place = site * 81 + orbital[here, None] * 9 + orbital
        matrix[:, here] = row.reshape(len(phase), -1)[:, place]
    return matrix
