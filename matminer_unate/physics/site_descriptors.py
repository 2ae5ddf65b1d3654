"""Radius graphs → cheap physical site descriptors, no network involved.

They serve three ends with one definition: as the honest control that learned columns must beat, as
targets that pretraining regresses, and as columns of their own.

Two groups. *Physics*: 26 numbers a site from electronegativities, radii and valences of the site
and its neighbours. *Fingerprint*: 56 numbers from the radial and angular distribution of the
neighbours, in the spirit of weighted atom-centred symmetry functions (Gastegger et al., J. Chem.
Phys. 148, 241709, 2018).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import erfc

from matminer_unate.crystals.formula import reduced_counts
from matminer_unate.crystals.graph import RadiusGraph
from matminer_unate.physics.elements import Floats, element_table, guess_oxidation_states
from matminer_unate.physics.quantity import Quantity, names_of, slug

PHYSICS = (
    Quantity("log bond weight", "–", "log Σ w"),
    Quantity("log bonded neighbours", "–", "log(1 + Σ b), b = 10 w − 2 from 0 to 1"),
    Quantity("mean electronegativity difference", "Pauling", "⟨Δχ⟩"),
    Quantity("mean absolute electronegativity difference", "Pauling", "⟨abs Δχ⟩"),
    Quantity(
        "max electronegativity difference",
        "Pauling",
        "m · max(Δχ − 3.5 (m − u)), m = max u: the largest Δχ over j, which fade in as u = 50 w − "
        "2 goes from 0 to 1",
    ),
    Quantity("min electronegativity difference", "Pauling", "the same of the smallest"),
    Quantity("std electronegativity difference", "Pauling", "√(⟨Δχ²⟩ − ⟨Δχ⟩²)"),
    Quantity("Pauling ionicity", "–", "⟨1 − exp(−Δχ²/4)⟩"),
    Quantity("shortest bond over radius sum", "–", "min d/r̂"),
    Quantity("shortest bond", "Å", "min d"),
    Quantity("mean bond over radius sum", "–", "⟨d/r̂⟩"),
    Quantity("electronegativity charge", "–", "q = Σ w tanh Δχ (above 0 for a cation)"),
    Quantity(
        "potential of electronegativity charges",
        "1/Å",
        "Σ qⱼ v(d), v(d) = erfc(αd)/d − erfc(α·cutoff)/cutoff, α = 0.35/Å",
    ),
    Quantity("mean neighbour electronegativity charge", "–", "⟨qⱼ⟩"),
    Quantity(
        "guessed oxidation state",
        "e",
        "o: common states that leave the formula most neutral, the most electronegative element "
        "choosing first",
    ),
    Quantity("potential of guessed oxidation states", "e/Å", "Σ oⱼ v(d)"),
    Quantity("mean neighbour oxidation state", "e", "⟨oⱼ⟩"),
    Quantity("share of like neighbours", "–", "⟨1 if j is of the element of i, else 0⟩"),
    Quantity("share of anion neighbours", "–", "⟨1 if oⱼ < 0, else 0⟩"),
    Quantity("share of cation neighbours", "–", "⟨1 if oⱼ > 0, else 0⟩"),
    Quantity("mean neighbour valence electrons", "–", "⟨valence electrons of j⟩"),
    Quantity("mean neighbour row", "–", "⟨row of j in the periodic table⟩"),
    Quantity("bond weight minus oxidation state", "–", "Σ w − abs o"),
    Quantity("charge imbalance of the guess", "e", "abs Σ o per atom, of the whole crystal"),
    Quantity("valence electrons per volume", "1/Å³", "of the whole crystal"),
    Quantity("log volume per atom", "log Å³", "of the whole crystal"),
)
"""In the docstring of ``SiteDescriptorStats``, the symbols are explained."""

_RADIAL_CENTRES = np.linspace(1.4, 4.2, 8)
_SHELL_CENTRES = np.linspace(1.8, 4.0, 4)


def _around(centres: Floats, name: str, unit: str, formula: str) -> list[Quantity]:
    family = f"{slug(name)}_<c>A"
    return [Quantity(f"{name} {centre:.1f} Å", unit, formula, family) for centre in centres]


FINGERPRINT = (
    *_around(_RADIAL_CENTRES, "radial count", "–", "Σ f g"),
    *_around(_RADIAL_CENTRES, "radial electronegativity", "Pauling", "Σ χⱼ f g"),
    *_around(_RADIAL_CENTRES, "radial radius", "Å", "Σ (covalent radius of j) f g"),
    *_around(_RADIAL_CENTRES, "radial valence", "10 e", "Σ (valence electrons of j)/10 f g"),
    *_around(_SHELL_CENTRES, "shell asymmetry", "–", "‖Σ s û‖: 0 if the neighbours balance"),
    *_around(_SHELL_CENTRES, "shell anisotropy", "–", "‖Σ s (û ûᵀ − 1/3)‖ (Frobenius): 0 if cubic"),
    *_around(_SHELL_CENTRES, "shell electronegativity asymmetry", "Pauling", "‖Σ s χⱼ û‖"),
    *_around(_SHELL_CENTRES, "shell count", "–", "n = Σ s"),
    *_around(
        _SHELL_CENTRES, "shell asymmetry per neighbour", "–", "shell asymmetry / max(n, 0.001)"
    ),
    *_around(
        _SHELL_CENTRES, "shell anisotropy per neighbour", "–", "shell anisotropy / max(n, 0.001)"
    ),
)

PHYSICS_NAMES, FINGERPRINT_NAMES = names_of(PHYSICS), names_of(FINGERPRINT)

DescriptorGroup = Literal["physics", "fingerprint", "all"]

DESCRIPTORS: dict[DescriptorGroup, tuple[Quantity, ...]] = {
    "physics": PHYSICS,
    "fingerprint": FINGERPRINT,
    "all": PHYSICS + FINGERPRINT,
}

_BOND_SOFTNESS = 0.37  # Å, the universal bond-valence parameter (Brown & Altermatt 1985)
_BONDED, _FELT = 0.25, 0.05
"""Bond weights at which a neighbour counts by half as bonded, and as one whose electronegativity is
compared: nothing at 0.8 times that, all at 1.2 times."""
_ANY_DIFFERENCE = 3.5  # Pauling; no two elements differ by as much
_WOLF_ALPHA = 0.35  # 1/Å


def site_descriptors(
    graphs: Sequence[RadiusGraph],
    volumes: Sequence[float],
    cutoff: float,
    group: DescriptorGroup = "all",
) -> NDArray[np.float32]:
    """Physics and fingerprint descriptors of every site of the given crystals.

    Parameters
    ----------
    graphs : sequence of RadiusGraph
        Radius graphs of the crystals, with no edge beyond the cutoff.
    volumes : sequence of float, Å³
        Cell volumes.
    cutoff : float, Å
    group : {"physics", "fingerprint", "all"}

    Returns
    -------
    (n_sites of all crystals, n_descriptors) float32
        Columns ``DESCRIPTORS[group]``, not standardised; ``all`` are 82.
    """
    sites = _Sites(graphs, volumes, cutoff)
    blocks = [
        describe(sites)
        for name, describe in (("physics", _physics), ("fingerprint", _fingerprint))
        if group in (name, "all")
    ]
    return np.concatenate(blocks, axis=1).astype(np.float32)


class _Sites:
    """Several crystals as one set of sites and edges, with sums over each site's edges."""

    def __init__(
        self, graphs: Sequence[RadiusGraph], volumes: Sequence[float], cutoff: float
    ) -> None:
        counts = np.array([g.n_sites for g in graphs])
        offsets = np.concatenate([[0], np.cumsum(counts)[:-1]])
        index = np.concatenate(
            [g.edge_index + o for g, o in zip(graphs, offsets, strict=True)], axis=1
        )
        vector = np.concatenate([g.edge_vector for g in graphs]).astype(np.float64)
        self.source, self.target = index
        self.graphs = graphs
        self.counts = counts
        self.volume_per_atom = np.repeat(np.asarray(volumes) / counts, counts)
        self.z = np.concatenate([g.atomic_numbers for g in graphs])
        self.cutoff = cutoff
        self.distance = np.linalg.norm(vector, axis=1)
        self.unit = vector / self.distance[:, None]
        self.envelope = 0.5 * (np.cos(np.pi * np.minimum(self.distance / cutoff, 1.0)) + 1.0)
        # Edges come sorted by target and every site has at least one.
        self._starts = np.searchsorted(self.target, np.arange(len(self.z)))

    def sum(self, values: Floats) -> Floats:
        return np.add.reduceat(values, self._starts, axis=0)

    def max(self, values: Floats) -> Floats:
        return np.maximum.reduceat(values, self._starts, axis=0)

    def oxidation_states(self) -> tuple[Floats, Floats]:
        """Guessed state of each site and imbalance of its crystal, (n_sites,) each."""
        states = np.empty(len(self.z))
        imbalance = np.empty(len(self.z))
        start = 0
        for graph in self.graphs:
            formula = reduced_counts(graph.atomic_numbers)
            guess, left = guess_oxidation_states(formula)
            place = np.searchsorted([z for z, _ in formula], graph.atomic_numbers)
            states[start : start + graph.n_sites] = np.array(guess)[place]
            imbalance[start : start + graph.n_sites] = left
            start += graph.n_sites
        return states, imbalance


def _fade_in(weight: Floats, half: float) -> Floats:
    """From 0 at 0.8 ``half`` to 1 at 1.2 ``half``: a threshold that does not jump."""
    return np.clip(2.5 * weight / half - 2.0, 0.0, 1.0)


def _physics(s: _Sites) -> Floats:
    table = element_table()
    i, j, d = s.target, s.source, s.distance
    chi, zi, zj = table.electronegativity, s.z[s.target], s.z[s.source]
    radius_sum = table.radius[zi] + table.radius[zj]
    bond = np.minimum(np.exp((radius_sum - d) / _BOND_SOFTNESS), 3.0) * s.envelope
    total = s.sum(bond)
    norm = np.maximum(total, 1e-9)
    share = bond / norm[i]

    def mean(values: Floats) -> Floats:
        return s.sum(share * values)

    delta = chi[zj] - chi[zi]
    mean_delta = mean(delta)
    bonded = s.sum(_fade_in(bond, _BONDED))
    counts = _fade_in(bond, _FELT)
    most = s.max(counts)

    def largest(values: Floats) -> Floats:
        # A neighbour that fades falls below all others before it is gone, so nothing jumps, but
        # where no other is felt in full.
        return most * s.max(values - _ANY_DIFFERENCE * (most[i] - counts))

    charge = s.sum(bond * np.tanh(delta))
    state, imbalance = s.oxidation_states()
    wolf = erfc(_WOLF_ALPHA * d) / d - erfc(_WOLF_ALPHA * s.cutoff) / s.cutoff
    valence = np.add.reduceat(table.valence[s.z], np.concatenate([[0], np.cumsum(s.counts)[:-1]]))
    per_volume = np.repeat(valence / s.counts, s.counts) / s.volume_per_atom
    return np.stack(
        [
            np.log(norm),
            np.log1p(bonded),
            mean_delta,
            mean(np.abs(delta)),
            largest(delta),
            -largest(-delta) + 0.0,
            np.sqrt(np.maximum(mean(delta**2) - mean_delta**2, 0.0)),
            mean(1.0 - np.exp(-0.25 * delta**2)),
            -s.max(-d / radius_sum),
            -s.max(-d),
            mean(d / radius_sum),
            charge,
            s.sum(charge[j] * wolf),
            mean(charge[j]),
            state,
            s.sum(state[j] * wolf),
            mean(state[j]),
            mean((zi == zj).astype(float)),
            mean((state[j] < 0).astype(float)),
            mean((state[j] > 0).astype(float)),
            mean(table.valence[zj]),
            mean(table.row[zj]),
            total - np.abs(state),
            imbalance,
            per_volume,
            np.log(s.volume_per_atom),
        ],
        axis=1,
    )


def _fingerprint(s: _Sites) -> Floats:
    table = element_table()
    zj = s.z[s.source]
    weights = np.stack(
        [
            np.ones(len(zj)),
            table.electronegativity[zj],
            table.radius[zj],
            table.valence[zj] / 10.0,  # as large as the other weights
        ],
        axis=1,
    )
    radial = s.envelope[:, None] * np.exp(-(((s.distance[:, None] - _RADIAL_CENTRES) / 0.4) ** 2))
    blocks = [s.sum(weights[:, [k]] * radial) for k in range(weights.shape[1])]

    width = _SHELL_CENTRES[1] - _SHELL_CENTRES[0]
    channel = s.envelope[:, None] * np.exp(-(((s.distance[:, None] - _SHELL_CENTRES) / width) ** 2))
    count = s.sum(channel)
    outer = s.unit[:, :, None] * s.unit[:, None, :] - np.eye(3) / 3.0
    vector, second, chi_vector = (np.empty_like(count) for _ in range(3))
    for k in range(channel.shape[1]):
        weighted = channel[:, [k]] * s.unit
        vector[:, k] = np.linalg.norm(s.sum(weighted), axis=1)
        chi_vector[:, k] = np.linalg.norm(s.sum(weighted * weights[:, [1]]), axis=1)
        second[:, k] = np.linalg.norm(s.sum(channel[:, k, None] * outer.reshape(-1, 9)), axis=1)
    floor = np.maximum(count, 1e-3)
    blocks += [vector, second, chi_vector, count, vector / floor, second / floor]
    return np.concatenate(blocks, axis=1)
