"""Further columns from states that are there anyway: transitions, pressure."""

from __future__ import annotations

import numpy as np
from scipy.special import expit

from benchmarks.electrons.model import Matrices, States, blocks
from matminer_unate.physics.band_quantities import (
    DOS_WIDTH,
    EDGE_WIDTH,
    THERMAL,
    band_edges,
    fermi_level,
)
from matminer_unate.physics.elements import Floats
from matminer_unate.physics.tight_binding import Bands

Described = tuple[Floats, Floats]
"""Quantities of sites (n_sites, …) and of the crystal (…)."""

TRANSITIONS = np.array([0.5, 1.5, 3.0, 5.0, 8.0, 12.0])
TRANSITION_WIDTHS = np.array([0.5, 0.7, 1.0, 1.2, 1.8, 2.5])
"""eV. Centres and widths of the joint density of states."""
SOFTEST = 1.0
"""eV. Transition energies count as √(ΔE² + this²)."""
WITHIN = np.array([0.5, 1.0, 2.0])
"""eV from the band edges."""
STRETCH = 0.005
"""Of all distances, for derivatives by central differences."""


def k_weight(bands: Bands) -> Floats:
    """Of k points in the mixture of grids, (n_k,)."""
    return bands.grid_shares @ bands.grid_weights


def filling(bands: Bands) -> tuple[Floats, float, float]:
    """Occupation (0 to 1) of all states, highest filled and lowest empty level, as columns have."""
    e, n = bands.energy, len(bands.orbit)
    count = min(float(bands.n_electrons.sum()), 2.0 * e.shape[1])
    top, bottom, _ = band_edges(e, bands.grid_shares, bands.grid_weights, count, n)
    insulating = min(max((bottom - top) / DOS_WIDTH - 0.5, 0.0), 1.0)
    middle = 0.5 * (top + bottom)
    fermi = fermi_level(e, k_weight(bands), count, middle)
    fermi += insulating * (middle - fermi)
    return expit((fermi - e) / THERMAL), top, bottom


def edge_counts(bands: Bands) -> Described:
    """log of the states per site within some energies of either band edge. Nothing of a site."""
    e, w = bands.energy, k_weight(bands)[:, None]
    _, top, bottom = filling(bands)
    near = []
    for reach in WITHIN:
        below, above = expit((e - top + reach) / THERMAL), expit((bottom + reach - e) / THERMAL)
        near += [2 * (w * below)[e < top + 1e-6].sum(), 2 * (w * above)[e > bottom - 1e-6].sum()]
    n = len(bands.n_electrons)
    return np.zeros((n, 0)), np.log(np.array(near) / n + 1e-3)


def transitions(bands: Bands) -> Described:
    """Vertical transitions: joint density of states, and polarisabilities Σ p p′ / ΔE².

    Of a site: within the site from shell to neighbouring shell (s-p, p-d), and with any pair of
    shells. Of the crystal: the joint density per site at ``TRANSITIONS``, in logarithms.
    """
    f, _, _ = filling(bands)
    n = len(bands.n_electrons)
    density = np.zeros(len(TRANSITIONS))
    sums = np.zeros(3)
    dipole, any_pair = np.zeros(n), np.zeros(n)
    for k, weight in enumerate(k_weight(bands)):
        occupied, empty = f[k] > 0.01, f[k] < 0.99
        dE = np.abs(bands.energy[k][empty] - bands.energy[k][occupied, None])
        W = weight * 2 * f[k][occupied, None] * (1 - f[k][empty])
        W = np.where(bands.energy[k][empty] > bands.energy[k][occupied, None], W, 0.0)
        for c, (centre, width) in enumerate(zip(TRANSITIONS, TRANSITION_WIDTHS, strict=True)):
            density[c] += (W * np.exp(-0.5 * ((dE - centre) / width) ** 2)).sum() / width
        inverse = W / (dE**2 + SOFTEST**2)
        sums += inverse.sum(), (inverse / (dE + SOFTEST)).sum(), W.sum()
        share = bands.share[:, k]
        p = share[:, occupied].reshape(n, 3, -1)
        q = (share[:, empty] @ inverse.T).reshape(n, 3, -1)
        pq = p @ q.swapaxes(1, 2)
        dipole += pq[:, 0, 1] + pq[:, 1, 0] + pq[:, 1, 2] + pq[:, 2, 1]
        any_pair += pq.sum(axis=(1, 2))
    sites = np.log(np.maximum(np.column_stack([dipole, any_pair]), 0.0) + 1e-3)
    pairs = max(sums[2], 1e-6)
    crystal = [np.log(sums[0] / n + 1e-3), sums[0] / pairs, sums[1] / pairs]
    return sites, np.concatenate([np.log(density / n + 1e-3), crystal])


def slopes(m: Matrices, s: States) -> Floats:
    """Of each state and orbital, its part of dE / d ln a (eV), (n_k, n_orbitals, n_bands).

    Hellmann and Feynman: c* (dH − E dS) c, for a change of all lengths, angles kept.
    """
    i, j, vector = m.bonds
    longer, shorter = (blocks(m.z, (i, j, (1 + d) * vector)) for d in (STRETCH, -STRETCH))
    dH, dS = m.bloch_sums((longer - shorter) / (2 * STRETCH))
    return (s.c.conj() * (dH @ s.c - (dS @ s.c) * s.energy[:, None, :])).real


def pressure(m: Matrices, bands: Bands, slope: Floats) -> Described:
    """What a change of volume does to the bands.

    Of a site: d(band energy)/d ln a, and its logarithm where bonding. Of the crystal: that per
    volume in logarithm, volume per atom, and the shifts of the band edges and of the gap.
    """
    f, top, bottom = filling(bands)
    e, w = bands.energy, k_weight(bands)[:, None]
    n = len(bands.n_electrons)
    starts = np.unique(m.site, return_index=True)[1]
    of_sites = np.add.reduceat(slope, starts, axis=1)  # (n_k, n_sites, n_bands)
    energy_slope = np.einsum("kb,knb->n", 2 * w * f, of_sites)
    near_top = w * f * np.exp(-0.5 * ((e - top) / EDGE_WIDTH) ** 2)
    near_bottom = w * (1 - f) * np.exp(-0.5 * ((e - bottom) / EDGE_WIDTH) ** 2)
    total = of_sites.sum(axis=1)
    shift = [float((g * total).sum() / (g.sum() + 1e-6)) for g in (near_top, near_bottom)]
    volume = float(np.abs(np.linalg.det(m.crystal.lattice))) / n
    mean = energy_slope.mean()
    crystal = [
        mean / volume,
        np.log(max(mean, 0.05)),
        np.log(max(mean, 0.05) / volume),
        *shift,
        shift[1] - shift[0],
    ]
    sites = np.column_stack([energy_slope, np.log(np.maximum(energy_slope, 0.05))])
    return sites, np.array(crystal)
