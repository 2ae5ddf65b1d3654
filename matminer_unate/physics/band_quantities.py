"""Bands → quantities of sites and of the crystal."""

from __future__ import annotations

from functools import cache

import numpy as np
from threadpoolctl import ThreadpoolController

from matminer_unate.crystals.graph import RadiusGraph
from matminer_unate.physics.elements import Floats
from matminer_unate.physics.quantity import Quantity, names_of, slug
from matminer_unate.physics.tight_binding import Bands, solve

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


def quantities(lattice: Floats, frac_coords: Floats, graph: RadiusGraph) -> tuple[Floats, Floats]:
    """``SITE_QUANTITIES`` (n_sites, …) and ``CRYSTAL_QUANTITIES`` (…) of a checked crystal.

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


def describe(bands: Bands) -> tuple[Floats, Floats]:
    """``SITE_QUANTITIES`` (n_sites, …) and ``CRYSTAL_QUANTITIES`` (…) of a crystal's bands."""
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
    crystal += dispersion(e, bands.weight, count, bottom - top)
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


def dispersion(energy: Floats, weight: Floats, count: float, gap: float) -> list[float]:
    """``DISPERSION`` (eV) of bands filled with ``count`` electrons.

    Bands are counted from below at each k point, so nothing depends on the order of equal energies.
    """
    upper = energy[:, max(int(np.ceil(count / 2 - SAME_FILLING)) - 1, 0)]
    following = int(np.floor(count / 2 + SAME_FILLING))
    # Where all orbitals are filled, the same band so much higher.
    lower = energy[:, following] if following < energy.shape[1] else upper + NO_EMPTY_STATE
    direct = lower - upper
    widths = [np.sqrt(weight @ (band - weight @ band) ** 2) for band in (upper, lower)]
    return [direct.min(), weight @ direct, direct.min() - gap, *widths]


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
