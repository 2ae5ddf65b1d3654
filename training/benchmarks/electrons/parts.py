"""Crystals → blocks of columns: those of the model, and those of each change of it.

Columns are pooled as those of ``TightBindingStats`` are. Its five columns of dispersion are a part
of their own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.columns.feature_sets import CONTROL
from benchmarks.columns.own_features import OWN_BLOCKS
from benchmarks.electrons import corrections
from benchmarks.electrons.band_columns import (
    Described,
    edge_counts,
    pressure,
    slopes,
    transitions,
)
from benchmarks.electrons.model import (
    POPULATIONS,
    Matrices,
    States,
    bands_of,
    both_spins,
    matrices_of,
    solve,
)
from matminer_unate import TightBindingStats
from matminer_unate.featurizers.pooling import pool
from matminer_unate.featurizers.rows import PlacedCrystal
from matminer_unate.physics.band_quantities import CRYSTAL_QUANTITIES, DISPERSION, describe
from matminer_unate.physics.elements import Floats
from matminer_unate.physics.tight_binding import Bands

CONTROL_PART = "control"
"""Magpie, composition and cell, and site descriptors: what one has without the model."""

POOLING = ("mean", "std", "min", "max")
OWN = np.array([not q.is_site_mean and q not in DISPERSION for q in CRYSTAL_QUANTITIES])
"""Of ``CRYSTAL_QUANTITIES``, those that are columns, without dispersion."""


class Solved:
    """A crystal with the states of the model, which several changes start from."""

    def __init__(self, crystal: PlacedCrystal) -> None:
        self.crystal = crystal

    @cached_property
    def m(self) -> Matrices:
        return matrices_of(self.crystal)

    @cached_property
    def states(self) -> States:
        return solve(self.m)

    @cached_property
    def bands(self) -> Bands:
        return self.populated("Mulliken")

    @cached_property
    def field(self) -> tuple[Floats, Floats]:
        """Mean shifts of shells, and blocks without them."""
        potential, core = corrections.crystal_field(self.m)
        return corrections.split_field(self.m, potential + core)

    def populated(self, name: str) -> Bands:
        return bands_of(self.m, self.states.energy, POPULATIONS[name](self.states))

    @cached_property
    def populations(self) -> Floats:
        """Electrons in the s, p and d shell of each site (n_sites, 3)."""
        return describe(self.bands)[0][:, 1:4]

    def feedback(self, strength: float) -> Floats:
        return corrections.d_feedback(self.m, self.populations, strength)

    def with_hamiltonian(self, H: NDArray) -> Bands:
        states = solve(self.m, H)
        return bands_of(self.m, states.energy, POPULATIONS["Mulliken"](states))

    def shifted(self, shift: Floats) -> Bands:
        """With levels of orbitals shifted; the model's own bands where they are not."""
        if not shift.any():
            return self.bands
        return self.with_hamiltonian(self.m.shifted(shift))

    def with_exchange(
        self, salts_only: bool, rows: dict[int, float], shift: Floats | float = 0.0
    ) -> Bands:
        """With two spins, and levels shifted besides."""
        half = corrections.exchange_shift(self.m, rows, salts_only)
        if not half.any():
            return self.shifted(half + shift)
        return both_spins(self.shifted(shift - half), self.shifted(shift + half))


def log_volume(s: Solved) -> Described:
    """Of an atom: what the pressure knows without any bands."""
    n = s.crystal.graph.n_sites
    volume = float(np.abs(np.linalg.det(s.crystal.lattice))) / n
    return np.zeros((n, 0)), np.array([np.log(volume)])


def whole(bands: Bands) -> Described:
    """What ``TightBindingStats`` says, without dispersion."""
    sites, crystal = describe(bands)
    return sites, crystal[OWN]


def dispersion(bands: Bands) -> Described:
    """What it says of dispersion. Nothing of a site."""
    sites, crystal = describe(bands)
    return sites[:, :0], crystal[[q in DISPERSION for q in CRYSTAL_QUANTITIES]]


ONLY_3D = {4: corrections.STONER[4]}

PARTS: dict[str, Callable[[Solved], Described]] = {
    "present": lambda s: whole(s.bands),
    "Löwdin": lambda s: whole(s.populated("Löwdin")),
    "projected": lambda s: whole(s.populated("projected")),
    "net": lambda s: whole(s.populated("net")),
    "dispersion": lambda s: dispersion(s.bands),
    "edge counts": lambda s: edge_counts(s.bands),
    "transitions": lambda s: transitions(s.bands),
    "pressure": lambda s: pressure(s.m, s.bands, slopes(s.m, s.states)),
    "volume": log_volume,
    "free levels": lambda s: whole(
        s.with_hamiltonian(
            corrections.diagonal_shifted(s.m, corrections.towards_free_levels(s.m, 1.0))
        )
    ),
    "potential": lambda s: whole(
        s.shifted(
            corrections.potential_shift(s.m, 0.15 * corrections.oxidation_states(s.m.z))[s.m.site]
        )
    ),
    "field": lambda s: whole(
        s.with_hamiltonian(
            corrections.with_field(s.m, s.field[1]) + s.m.shifted(s.field[0]) - s.m.H
        )
    ),
    "exchange": lambda s: whole(s.with_exchange(True, ONLY_3D)),
    "feedback": lambda s: whole(s.shifted(s.feedback(1.5))),
    "strong feedback": lambda s: whole(s.shifted(s.feedback(3.0))),
    "feedback of all shells": lambda s: whole(
        s.shifted(corrections.shell_feedback(s.m, s.populations, 1.0))
    ),
    "feedback and exchange": lambda s: whole(s.with_exchange(True, ONLY_3D, s.feedback(1.5))),
    "free levels and feedback": lambda s: whole(
        s.with_hamiltonian(
            corrections.diagonal_shifted(s.m, corrections.towards_free_levels(s.m, 1.0))
            + s.m.shifted(s.feedback(1.5))
            - s.m.H
        )
    ),
    "raised d": lambda s: whole(s.shifted(corrections.raised_d(s.m, 2.0))),
}


def columns_of(described: Described) -> Floats:
    sites, crystal = described
    pooled = pool(sites.astype(np.float32), np.array([0, len(sites)]), POOLING)[0]
    return np.concatenate([pooled, crystal]).astype(np.float32)


def compute_parts(structures: Sequence, wanted: Sequence[str], folder: Path) -> dict[str, float]:
    """Write the parts that are not in the folder, ``<part>.npy``; CPU seconds of each."""
    folder.mkdir(parents=True, exist_ok=True)
    if CONTROL_PART in wanted and not (folder / f"{CONTROL_PART}.npy").exists():
        found = np.hstack([OWN_BLOCKS[block](structures) for block in CONTROL])
        np.save(folder / f"{CONTROL_PART}.npy", found)
    missing = [name for name in wanted if name in PARTS and not (folder / f"{name}.npy").exists()]
    seconds = dict.fromkeys(missing, 0.0)
    if not missing:
        return seconds
    featurizer = TightBindingStats()
    rows: dict[str, list[Floats]] = {name: [] for name in missing}
    for count, structure in enumerate(structures, 1):
        solved = Solved(featurizer._prepare(structure))
        for name in missing:
            started = time.process_time()
            rows[name].append(columns_of(PARTS[name](solved)))
            seconds[name] += time.process_time() - started
        if count % 500 == 0:
            told = ", ".join(f"{k} {1000 * v / count:.1f}" for k, v in seconds.items())
            print(f"{count} crystals; ms each: {told}", flush=True)
    for name in missing:
        np.save(folder / f"{name}.npy", np.array(rows[name]))
    return seconds
