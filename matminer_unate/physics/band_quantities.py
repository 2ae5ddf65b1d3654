"""Bands → quantities of sites and of the crystal."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from threading import Lock

import numpy as np
from scipy.special import expit

from matminer_unate.physics.eigenstates import eigenstates
from matminer_unate.physics.elements import Floats
from matminer_unate.physics.quantity import Quantity, names_of, slug
from matminer_unate.physics.tight_binding import (
    LARGE,
    Bands,
    PhysicalCell,
    models_of,
    n_orbitals,
)
from matminer_unate.processes import blas_threads, one_blas_thread

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


def _shells(what: str, formula: str) -> list[Quantity]:
    family = f"<s|p|d>_{slug(what)}"
    return [Quantity(f"{shell} {what}", "–", formula, family) for shell in "spd"]


SITE_QUANTITIES = (
    Quantity(
        "charge",
        "e",
        "valence electrons of the atom − Σ 2 f pᵢ, above 0 for a cation; the mean is nearly 0",
    ),
    *_shells("electrons", "Σ 2 f pᵢₗ"),
    *_shells(
        "share of the valence band edge",
        "Σ f g pᵢₗ · n_sites / Σ f g, g = gauss(E − valence band edge, 0.6 eV)",
    ),
    *_shells(
        "share of the conduction band edge", "the same with 1 − f and the conduction band edge"
    ),
    *(
        Quantity(
            f"states at {c:g} eV",
            "1/eV",
            "Σ 2 gauss(E − E_F − c, w) pᵢ for 12 energies c from −12 to 8 eV; w = 0.4 eV near 0 to "
            "2 eV",
            "states_at_<minus_><c>_ev",
        )
        for c in WINDOW_CENTRES
    ),
    Quantity("centre of occupied states", "eV", "μ = Σ f E pᵢ / Σ f pᵢ, relative to E_F"),
    Quantity("width of occupied states", "eV", "√(Σ f E² pᵢ / Σ f pᵢ − μ²)"),
    Quantity("centre of empty states", "eV", "the centre with 1 − f for f"),
    Quantity("width of empty states", "eV", "the width with 1 − f for f"),
    Quantity("band energy", "eV", "Σ 2 f E pᵢ"),
    Quantity("bond energy", "eV", "band energy − Σₗ electrons in ℓ · level of ℓ in the atom"),
)
"""In the docstring of ``TightBindingStats``, the symbols are explained."""


DISPERSION = (
    Quantity(
        "smallest direct gap",
        "eV",
        "min over k of c(k) − v(k), v and c the bands ⌈N/2⌉ and ⌊N/2⌋ + 1 of N electrons; 0 where "
        "N is odd",
    ),
    Quantity("mean direct gap", "eV", "the mean over k"),
    Quantity("direct above indirect gap", "eV", "smallest direct gap − gap"),
    Quantity("dispersion of the upper valence band", "eV", "standard deviation of v(k)"),
    Quantity("dispersion of the lower conduction band", "eV", "standard deviation of c(k)"),
)
"""Unlike the gap and the level spreads, these follow bands, so they tell bands that touch or cross
from bands that are filled in part. They are of the primitive cell: others fold bands."""


def _mean(name: str, unit: str = "–") -> Quantity:
    return Quantity(name, unit, "mean over the sites", is_site_mean=True)


CRYSTAL_QUANTITIES = (
    Quantity("gap", "eV", "lowest empty − highest filled level; 15 where every orbital is filled"),
    *(
        Quantity(
            f"level spread of {2 * d:g} electrons per site",
            "eV",
            "mean level of the electrons d/2 to 3d/2 per site above the last one − of those as far "
            f"below it; 2d = {', '.join(f'{2 * s:g}' for s in SPREADS)}",
            "level_spread_of_<2d>_electrons_per_site",
        )
        for d in SPREADS
    ),
    Quantity("Fermi level", "eV", "E_F, on the scale of the atoms' levels"),
    Quantity("valence band edge", "eV", "highest filled level"),
    Quantity("conduction band edge", "eV", "lowest empty level"),
    Quantity("states at the Fermi level per site", "1/eV", "Σ 2 gauss(E − E_F, 0.3 eV) / n_sites"),
    *DISPERSION,
    _mean("band energy per site", "eV"),
    _mean("bond energy per site", "eV"),
    Quantity("mean absolute charge", "e", "mean of abs charge over the sites"),
    *(
        _mean(f"{shell} share of the {band} band edge, mean")
        for band in ("valence", "conduction")
        for shell in "spd"
    ),
)

SITE_NAMES, CRYSTAL_NAMES = names_of(SITE_QUANTITIES), names_of(CRYSTAL_QUANTITIES)


Described = tuple[Floats, Floats]
"""``SITE_QUANTITIES`` (n_sites, …) and ``CRYSTAL_QUANTITIES`` (…)."""

Turn = AbstractContextManager[object]

MAX_THREADS = 8
"""More would wait for Python's lock most of the time."""

TOGETHER = 32, 60_000
"""Crystals, and orbitals squared, that are computed together: a few megabytes of matrices."""


def quantities(cells: Iterable[PhysicalCell]) -> Iterator[Described]:
    """What the model says of checked crystals, in their order.

    Small ones are computed together, and as many of such batches at once as BLAS would use threads,
    each by one thread: on small matrices BLAS's own mostly wait for each other. (With four of them
    on four busy cores, 60 crystals took more than ten minutes instead of four seconds.) Cells of
    more than ``LARGE`` orbitals, which take gigabytes, are computed alone.
    """
    n_threads = min(blas_threads(), MAX_THREADS)
    turn: Turn = Lock()
    ahead = batches(cells)
    with one_blas_thread(), ThreadPoolExecutor(n_threads) as pool:
        waiting: deque[Future[list[Described]]] = deque()
        try:
            while True:
                with turn:
                    batch, alone = next(ahead, ([], False))
                if not batch:
                    break
                while waiting and (alone or len(waiting) >= 2 * n_threads):
                    yield from waiting.popleft().result()
                own: Turn = turn if len(batch) > 1 else nullcontext()  # few calls of one are short
                waiting.append(pool.submit(_quantities, batch, own))
                if alone:
                    yield from waiting.popleft().result()
            while waiting:
                yield from waiting.popleft().result()
        finally:
            for unfinished in waiting:  # after an exception, Ctrl-C among them
                unfinished.cancel()


def _quantities(cells: list[PhysicalCell], turn: Turn) -> list[Described]:
    """Those of a batch; what is many short calls is done while it is this thread's turn.

    Two threads that make short calls at once hand Python's lock to and fro, which takes them longer
    than one after the other. Eigenproblems are long calls, which leave it to others.
    """
    with turn:
        models = models_of(cells)
        problems = [list(model.eigenproblems()) for model in models]
    states = iter(eigenstates([problem for own in problems for problem in own]))
    with turn:
        return [
            describe(model.bands(islice(states, len(own))))
            for model, own in zip(models, problems, strict=True)
        ]


def batches(cells: Iterable[PhysicalCell]) -> Iterator[tuple[list[PhysicalCell], bool]]:
    """Crystals to be computed together, and whether nothing else should be at the same time."""
    batch, squared, (most, most_squared) = list[PhysicalCell](), 0, TOGETHER
    for cell in cells:
        size = n_orbitals(cell[2].atomic_numbers)
        if batch and (len(batch) == most or squared + size**2 > most_squared):
            yield batch, False
            batch, squared = [], 0
        if size > LARGE:
            yield [cell], True
        else:
            batch.append(cell)
            squared += size**2
    if batch:
        yield batch, False


def describe(bands: Bands) -> Described:
    """The quantities of a crystal from its bands."""
    e, n = bands.energy, len(bands.orbit)
    sites_of = np.bincount(bands.orbit) / n  # share of the sites
    count = min(float(n * sites_of @ bands.n_electrons), 2.0 * e.shape[1])
    k_weight = bands.grid_shares @ bands.grid_weights
    top, bottom, spreads = band_edges(e, bands.grid_shares, bands.grid_weights, count, n)
    # Where there is a gap, its middle: by count alone, rounding would decide. In between, a share.
    insulating = min(max((bottom - top) / DOS_WIDTH - 0.5, 0.0), 1.0)
    fermi = 0.5 * (top + bottom)
    if insulating < 1.0:
        fermi += (1.0 - insulating) * (fermi_level(e, k_weight, count, fermi) - fermi)
    weight = k_weight[:, None]
    filled = 2 * expit((fermi - e) / THERMAL)
    occupied, empty = weight * filled, weight * (2 - filled)
    edges = [occupied * gauss(e - top, EDGE_WIDTH), empty * gauss(e - bottom, EDGE_WIDTH)]
    away = e - fermi
    windows = gauss(away - WINDOW_CENTRES[:, None, None], WINDOW_WIDTHS[:, None, None])
    functions = np.concatenate(
        [
            [edge * n / (edge.sum() + 1e-6) for edge in edges],
            [occupied * e**k for k in range(3)],
            [empty * away**k for k in range(3)],
            2 * weight * windows,
        ]
    )
    projected = functions.reshape(len(functions), -1) @ bands.share.reshape(-1, e.size).T
    by_shell = projected.reshape(len(functions), -1, 3)
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
    states = 2 * (weight * gauss(away, DOS_WIDTH)).sum() / n
    crystal = [bottom - top, *spreads, fermi, top, bottom, states]
    crystal += dispersion(e, bands.grid_shares, bands.grid_weights, count, bottom - top)
    crystal += [sites_of @ band_energy, sites_of @ bond_energy, sites_of @ np.abs(charge)]
    shares = np.concatenate([sites_of @ valence_edge, sites_of @ conduction_edge])
    return sites[bands.orbit], np.concatenate([crystal, shares])


def gauss(x: Floats, width: float | Floats) -> Floats:
    """Gaussian of unit area."""
    return np.exp(-0.5 * (x / width) ** 2) / (width * np.sqrt(2 * np.pi))


def band_edges(
    energy: Floats, shares: Floats, weights: Floats, count: float, n_sites: int
) -> tuple[float, float, Floats]:
    """Highest filled level, lowest empty level (eV), and the level spreads (see ``SPREADS``).

    Parameters
    ----------
    energy : (n_k, n_bands) eV
    shares : (n_grids,)
    weights : (n_grids, n_k)
        Of the grids of k points that are mixed.
    count : float
        Electrons of the cell.
    n_sites : int

    Notes
    -----
    States of all k points are filled in the order of their energies, so nothing depends on the
    number of electrons of a cell being even. With L(x) the level of the electron at a filling of x,
    a staircase whose steps are as wide as states hold electrons, the levels are L(count − 0) and
    L(count + 0), the same where a state is filled in part. Each grid has its own; as a k point
    shows them whatever its weight, they are the means over the grids, in their shares.

    The spread is the mean of L over fillings from count + d/2 to count + 3d/2 − the mean from
    count − 3d/2 to count − d/2, with d electrons per site; beyond its ends L is flat. None of this
    depends on how states of equal energy are ordered, and where energies change by up to δ, it
    changes by up to 2δ, whereas L at a filling of its own would jump where two bands part. Spreads
    tell bad metals from good ones, where the gap is zero.
    """
    order = np.argsort(energy, axis=None)
    levels = energy.ravel()[order]
    k_point = order // energy.shape[1]
    top = bottom = 0.0
    for share, weight in zip(shares, weights, strict=True):
        filling = np.cumsum(2 * weight[k_point])
        highest = float(levels[np.searchsorted(filling, count - SAME_FILLING)])
        empty = int(np.searchsorted(filling, count + SAME_FILLING, side="right"))
        full = empty == len(levels)
        top += share * highest
        bottom += share * (highest + NO_EMPTY_STATE if full else float(levels[empty]))

    held = 2 * (shares @ weights)[k_point]
    filling = np.cumsum(held)
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


def dispersion(
    energy: Floats, shares: Floats, weights: Floats, count: float, gap: float
) -> list[float]:
    """``DISPERSION`` (eV) of bands filled with ``count`` electrons.

    Bands are counted from below at each k point, so nothing depends on the order of equal energies.
    For the other parameters see :func:`band_edges`.
    """
    energy = np.sort(energy, axis=1)
    upper = energy[:, max(int(np.ceil(count / 2 - SAME_FILLING)) - 1, 0)]
    following = int(np.floor(count / 2 + SAME_FILLING))
    # Where all orbitals are filled, the same band so much higher.
    lower = energy[:, following] if following < energy.shape[1] else upper + NO_EMPTY_STATE
    direct = lower - upper
    smallest = float(shares @ [direct[weight > 0].min() for weight in weights])
    weight = shares @ weights
    widths = [float(np.sqrt(weight @ (band - weight @ band) ** 2)) for band in (upper, lower)]
    return [smallest, float(weight @ direct), smallest - gap, *widths]


def fermi_level(energy: Floats, weight: Floats, count: float, start: float) -> float:
    """Where the Fermi function fills the bands with the given number of electrons.

    Newton's method, with bisection where it would leave the interval.
    """
    low, high, fermi = float(energy.min()) - 10, float(energy.max()) + 10, start
    for _ in range(100):
        filled = expit((fermi - energy) / THERMAL)
        excess = 2 * float((weight @ filled).sum()) - count
        slope = 2 * float((weight @ (filled * (1 - filled))).sum()) / THERMAL
        low, high = (fermi, high) if excess < 0 else (low, fermi)
        step = excess / slope if slope > 0 else np.inf
        following = fermi - step if low < fermi - step < high else 0.5 * (low + high)
        if abs(following - fermi) < 1e-11:
            break
        fermi = following
    return fermi


def moments(sums: Floats) -> tuple[Floats, Floats]:
    """Mean and standard deviation from sums of e⁰, e¹ and e², (3, n_sites)."""
    norm = np.maximum(sums[0], 1e-6)
    mean = sums[1] / norm
    return mean, np.sqrt(np.maximum(sums[2] / norm - mean**2, 0.0))
