"""Crystal → what a tight-binding model says of each site: charges, populations, local densities.

No label of any crystal goes into it: it makes columns of its own, and is a teacher for pretraining.
Two-centre density-functional tight binding from free atoms (:mod:`matminer_unate.free_atoms`),
without self-consistency of the charges (Porezag et al., Phys. Rev. B 51, 12947 (1995),
doi:10.1103/PhysRevB.51.12947):

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
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh
from threadpoolctl import ThreadpoolController

from matminer_unate.free_atoms import HARTREE, valence
from matminer_unate.graph import RadiusGraph, radius_graph
from matminer_unate.structures import cell_heights, check_crystal
from matminer_unate.two_centre import CHANNELS, PLACES, rotations, two_centre

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

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
THERMAL = 0.1  # eV, of the Fermi function
EDGE_WIDTH = 0.6  # eV, of the windows at the top of the valence and bottom of the conduction band
DOS_WIDTH = 0.3  # eV, of the density of states at the Fermi level
NO_EMPTY_STATE = 15.0
"""eV. The gap where every orbital is filled, as in solid noble gases."""

SPREADS = (0.02, 0.1, 0.5)
"""Electrons per site, d. How far the Fermi levels are apart of about this many more and this many
fewer electrons; see :func:`band_edges`."""
SAME_FILLING = 1e-6
"""Electrons. Above rounding, and below what any state of a grid of k points holds."""

WINDOW_CENTRES = np.array([-12, -8, -5.5, -3.5, -2, -1, 0, 1, 2, 3.5, 5.5, 8.0])
WINDOW_WIDTHS = np.array([2, 1.3, 1, 0.8, 0.5, 0.4, 0.4, 0.4, 0.5, 0.8, 1, 1.5])

SITE_NAMES = (
    "charge",
    *(f"{shell} electrons" for shell in "spd"),
    *(f"{shell} share of the valence band edge" for shell in "spd"),
    *(f"{shell} share of the conduction band edge" for shell in "spd"),
    *(f"states at {e:g} eV [1/eV]" for e in WINDOW_CENTRES),
    "centre of occupied states [eV]",
    "width of occupied states [eV]",
    "centre of empty states [eV]",
    "width of empty states [eV]",
    "band energy [eV]",
    "bond energy [eV]",
)
CRYSTAL_NAMES = (
    "gap [eV]",
    *(f"level spread of {2 * d:g} electrons per site [eV]" for d in SPREADS),
    "Fermi level [eV]",
    "valence band edge [eV]",
    "conduction band edge [eV]",
    "states at the Fermi level per site [1/eV]",
    "band energy per site [eV]",
    "bond energy per site [eV]",
    "mean absolute charge",
    *(f"{shell} share of the valence band edge, mean" for shell in "spd"),
    *(f"{shell} share of the conduction band edge, mean" for shell in "spd"),
)
SITE_TARGET_NAMES = SITE_NAMES + CRYSTAL_NAMES

ANGULAR = np.array([0, 1, 1, 1, 2, 2, 2, 2, 2])
"""Of the orbitals of a site: s, p, d."""


def site_targets(lattice: Floats, frac_coords: Floats, atomic_numbers: Ints) -> NDArray[np.float32]:
    """What the tight-binding model says of each site.

    Parameters
    ----------
    lattice : (3, 3) float64, Å
        Lattice vectors as rows.
    frac_coords : (n_sites, 3) float64
    atomic_numbers : (n_sites,) int64

    Returns
    -------
    (n_sites, n_targets) float32
        Columns ``SITE_TARGET_NAMES``: those of the site, then those of the crystal, the same for
        all of its sites. Energies of states are relative to the Fermi level (middle of the gap);
        edge shares have mean 1 over the sites when s, p and d are added.

    Raises
    ------
    StructureError
        See :func:`matminer_unate.structures.check_crystal` and
        :func:`matminer_unate.graph.radius_graph`.
    """
    check_crystal(lattice, frac_coords, atomic_numbers)
    graph = radius_graph(lattice, frac_coords, atomic_numbers, CUTOFF, draw_in=False)
    sites, crystal = quantities(lattice, frac_coords, graph)
    rows = np.broadcast_to(crystal, (len(sites), len(crystal)))
    return np.concatenate([sites, rows], axis=1).astype(np.float32)


def quantities(lattice: Floats, frac_coords: Floats, graph: RadiusGraph) -> tuple[Floats, Floats]:
    """Columns ``SITE_NAMES`` (n_sites, …) and ``CRYSTAL_NAMES`` (…) of a checked crystal.

    ``graph`` has the bonds within ``CUTOFF``, none drawn in.
    """
    with _blas().limit(limits=1, user_api="blas"):
        return describe(solve(lattice, frac_coords, graph))


@cache
def _blas() -> ThreadpoolController:
    """The BLAS libraries of this process, to be told to use one thread.

    On small matrices their threads mostly wait for each other: with four of them on four busy
    cores, 60 crystals took more than ten minutes instead of four seconds.
    """
    return ThreadpoolController()


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
    shells = [valence(int(z)) for z in graph.atomic_numbers]
    level = np.array([s.level for s in shells]) * HARTREE
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
    electrons = np.array([shell.n_electrons for shell in shells])
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
    elements, counts = np.unique(atomic_numbers, return_counts=True)
    levels = np.array([valence(int(z)).level[ANGULAR] for z in elements])
    return int(counts @ (~np.isnan(levels)).sum(axis=1))


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
    integrals = np.empty((len(vector), 2, len(CHANNELS)))
    code = 128 * zi + zj
    for c in np.unique(code):
        these = code == c
        integrals[these] = two_centre(int(c // 128), int(c % 128), distance[these])
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


# Bands → targets


def describe(bands: Bands) -> tuple[Floats, Floats]:
    """Columns ``SITE_NAMES`` (n_sites, …) and ``CRYSTAL_NAMES`` of a crystal's bands."""
    e, n = bands.energy, len(bands.n_electrons)
    count = min(bands.n_electrons.sum(), 2.0 * e.shape[1])
    top, bottom, spreads = band_edges(e, bands.weight, count, n)
    fermi = fermi_level(e, bands.weight, count)
    # Where there is a gap, its middle: by count alone, rounding would decide. In between, a share.
    insulating = np.clip((bottom - top) / DOS_WIDTH - 0.5, 0.0, 1.0)
    fermi += insulating * (0.5 * (top + bottom) - fermi)
    filled = 2 / (1 + np.exp(np.clip((e - fermi) / THERMAL, -60, 60)))
    occupied, empty = bands.weight[:, None] * filled, bands.weight[:, None] * (2 - filled)

    def window(centre: float, width: float) -> Floats:
        return np.exp(-0.5 * ((e - centre) / width) ** 2) / (width * np.sqrt(2 * np.pi))

    edges = [occupied * window(top, EDGE_WIDTH), empty * window(bottom, EDGE_WIDTH)]
    functions = [
        *(edge * n / (edge.sum() + 1e-6) for edge in edges),
        *(occupied * e**k for k in range(3)),
        *(empty * (e - fermi) ** k for k in range(3)),
        *(
            2 * bands.weight[:, None] * window(fermi + c, w)
            for c, w in zip(WINDOW_CENTRES, WINDOW_WIDTHS, strict=True)
        ),
    ]
    projected = np.reshape(functions, (len(functions), -1)) @ bands.share.reshape(e.size, -1)
    by_shell = projected.reshape(len(functions), n, 3)
    valence_edge, conduction_edge, electrons = by_shell[:3]
    total = by_shell.sum(axis=2)
    charge = bands.n_electrons - total[2]
    band_energy = total[3]
    bond_energy = band_energy - (electrons * bands.level).sum(axis=1)
    occupied_centre, occupied_width = moments(total[2:5])
    empty_centre, empty_width = moments(total[5:8])
    sites = np.column_stack(
        [
            charge,
            electrons,
            valence_edge,
            conduction_edge,
            total[8:].T,
            occupied_centre - fermi,
            occupied_width,
            empty_centre,
            empty_width,
            band_energy,
            bond_energy,
        ]
    )
    states = 2 * (bands.weight[:, None] * window(fermi, DOS_WIDTH)).sum() / n
    crystal = [bottom - top, *spreads, fermi, top, bottom, states]
    crystal += [band_energy.mean(), bond_energy.mean(), np.abs(charge).mean()]
    shares = np.concatenate([valence_edge.mean(axis=0), conduction_edge.mean(axis=0)])
    return sites, np.concatenate([crystal, shares])


def band_edges(
    energy: Floats, weight: Floats, count: float, n_sites: int
) -> tuple[float, float, Floats]:
    """Highest filled level, lowest empty level (eV), and the level spreads (see ``SPREADS``).

    States of all k points are filled in the order of their energies, so nothing depends on the
    number of electrons of a cell being even. With L(x) the level of the electron at a filling of x,
    a staircase whose steps are as wide as states hold electrons, the levels are L(count − 0) and
    L(count + 0), the same where a state is filled in part. The spread is the mean of L over
    fillings from count + d/2 to count + 3d/2 − the mean from count − 3d/2 to count − d/2, with d
    electrons per site; beyond its ends L is flat. None of this depends on how states of equal
    energy are ordered, and where energies change by up to δ, it changes by up to 2δ, whereas L at
    a filling of its own would jump where two bands part. Spreads tell bad metals from good ones,
    where the gap is zero.
    """
    order = np.argsort(energy, axis=None)
    levels = energy.ravel()[order]
    held = 2 * np.repeat(weight, energy.shape[1])[order]
    filling = np.cumsum(held)
    top = float(levels[np.searchsorted(filling, count - SAME_FILLING)])
    empty = int(np.searchsorted(filling, count + SAME_FILLING, side="right"))
    full = empty == len(levels)
    bottom = top + NO_EMPTY_STATE if full else float(levels[empty])

    extra = n_sites * np.array(SPREADS)
    room = 2 * extra.max()  # to either end, for the flat continuation
    nodes = np.concatenate([[-room, 0.0], filling, filling[-1:] + room])
    steps = np.concatenate([[room * levels[0]], held * levels, [room * levels[-1]]])
    total = np.concatenate([[0.0], np.cumsum(steps)])

    def mean(middle: Floats) -> Floats:
        ends = np.interp([middle - extra / 2, middle + extra / 2], nodes, total)
        return (ends[1] - ends[0]) / extra

    above = np.full(len(SPREADS), bottom) if full else mean(count + extra)
    return top, bottom, above - mean(count - extra)


def fermi_level(energy: Floats, weight: Floats, count: float) -> float:
    """Where the Fermi function fills the bands with the given number of electrons, by bisection."""
    low, high = energy.min() - 10, energy.max() + 10
    for _ in range(50):
        middle = 0.5 * (low + high)
        filled = 2 / (1 + np.exp(np.clip((energy - middle) / THERMAL, -60, 60)))
        if weight @ filled.sum(axis=1) < count:
            low = middle
        else:
            high = middle
    return float(middle)


def moments(sums: Floats) -> tuple[Floats, Floats]:
    """Mean and standard deviation from sums of e⁰, e¹ and e², (3, n_sites)."""
    norm = np.maximum(sums[0], 1e-6)
    mean = sums[1] / norm
    return mean, np.sqrt(np.maximum(sums[2] / norm - mean**2, 0.0))
