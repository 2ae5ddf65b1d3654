"""Make the file that the tight-binding model reads, and say how exact it is.

    python training/tight_binding_tables.py \\
        --out matminer_unate/physics/tight_binding_tables.safetensors
    python training/tight_binding_tables.py --check --data mp_mtcgcnn.parquet \\
        --out training/results/tight_binding_tables.csv

The first solves the free atoms of 103 elements and computes the two-centre integrals of all pairs
of them at 45 distances, in half a minute. The second compares what the package reads from its file
with integrals of as many other distances, half-way between those, and the columns of
``TightBindingStats`` with those from integrals that are computed for each bond.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import cache
from importlib.metadata import version
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pandas as pd
from pymatgen.core import Lattice, Structure
from safetensors.numpy import save_file

from corpora.reading import read_with_report
from harness.command import require_positive, run_script, script_parser
from harness.jobs import run_on_one_thread
from harness.result_tables import write_table
from matminer_unate import TightBindingStats
from matminer_unate.physics import tight_binding
from matminer_unate.physics.atoms import BOHR, HARTREE, LAST_SOLVED, Ints, solved_element
from matminer_unate.physics.elements import Floats, element_table
from matminer_unate.physics.two_centre import (
    CHANNELS,
    CLOSEST,
    ROOTS,
    TABULATED,
    PairTables,
    pair_integrals,
)
from slater_koster.compression import compress
from slater_koster.free_atoms import valence
from slater_koster.integrals import two_centre_integrals

SHORTEST_BOND = 0.6
"""Atoms of a crystal are hardly closer than this much of the sum of their covalent radii."""

ELEMENTS = np.arange(1, LAST_SOLVED + 1)

Integrals = Callable[[Ints, Ints, Floats], Floats]
"""As :func:`matminer_unate.physics.two_centre.pair_integrals`."""


def main(argv: list[str] | None = None) -> None:
    args = parse_arguments(argv)
    if args.check:
        check(args.data, args.crystals, args.out)
    else:
        make(args.out)


def make(out: str) -> None:
    atoms = [valence(int(z)) for z in ELEMENTS]
    arrays = compress(integrals_of_all_pairs(ROOTS**2))
    levels = HARTREE * np.array([atom.level for atom in atoms])
    electrons = np.array([atom.n_electrons for atom in atoms])
    read = PairTables({name: array.astype(np.float64) for name, array in arrays.items()})
    worst = errors_by_channel(read.integrals).groupby("what")["largest"].max()
    metadata = {
        "made_by": f"training/tight_binding_tables.py, matminer_unate {version('matminer_unate')}",
        "largest_error_of_a_hopping_eV": f"{worst['hopping']:.2g}",
        "largest_error_of_an_overlap": f"{worst['overlap']:.2g}",
        "errors_are_of": f"distances from {SHORTEST_BOND} sums of covalent radii to 5 Å",
    }
    save_file({"electrons": electrons, "levels": levels, **arrays}, out, metadata)
    print(*(f"{key}: {value}" for key, value in metadata.items()), sep="\n")
    print(f"{out}: {Path(out).stat().st_size / 1e6:.2f} MB")


def check(data: list[str], n_crystals: int, out: str) -> None:
    integrals = errors_by_channel(pair_integrals)
    crystals, _ = read_with_report(data, max_sites=20, part="val")
    chosen = np.random.default_rng(0).permutation(len(crystals))[:n_crystals]
    structures = [
        Structure(Lattice(c.lattice), c.atomic_numbers.tolist(), c.frac_coords)
        for c in (crystals[k] for k in chosen)
    ]
    columns = errors_by_column(structures)
    note = (
        f"{len(structures)} crystals of val, at most 20 sites, seed 0; integrals of all pairs from "
        f"{SHORTEST_BOND} sums of covalent radii to 5 Å, half-way between tabulated distances"
    )
    table = pd.concat([integrals, columns], ignore_index=True)
    write_table(table.round(9), out, note)
    print(table.groupby("what")[["largest", "percentile_99_9", "rms"]].max().to_string())


def integrals_of_all_pairs(distances: Floats) -> Floats:
    """Of all ordered pairs at distances in bohr, (103, 103, n_distances, 2, 14)."""
    atoms = [valence(int(z)) for z in ELEMENTS]
    return np.stack([two_centre_integrals(atoms, float(d)) for d in distances], axis=2)


def errors_by_channel(integrals: Integrals) -> pd.DataFrame:
    """How far integrals are from computed ones half-way between the tabulated distances."""
    distances = (0.5 * (ROOTS[1:] + ROOTS[:-1])) ** 2
    distances = distances[(distances > CLOSEST) & (distances < tight_binding.CUTOFF / BOHR)]
    exact = integrals_of_all_pairs(distances)
    one, two, at = np.indices(exact.shape[:3]).reshape(3, -1)
    z1, z2, d = ELEMENTS[one], ELEMENTS[two], distances[at] * BOHR
    radius = element_table().radius
    found = d > SHORTEST_BOND * (radius[z1] + radius[z2])
    error = integrals(z1[found], z2[found], d[found]) - exact.reshape(-1, 2, len(CHANNELS))[found]
    return pd.DataFrame(
        [
            {"what": what, "name": name_of(channel), "unit": unit, **summary(error[:, k, channel])}
            for k, (what, unit) in enumerate((("hopping", "eV"), ("overlap", "1")))
            for channel in TABULATED
        ]
    )


def name_of(channel: int) -> str:
    """As in ``sp σ``."""
    a, b, m = CHANNELS[channel]
    return f"{'spd'[a]}{'spd'[b]} {'σπδ'[m]}"


def errors_by_column(structures: list[Structure]) -> pd.DataFrame:
    """Differences of the columns from those with computed integrals, in spreads of the columns."""
    return run_on_one_thread(_errors_by_column, structures)


def _errors_by_column(structures: list[Structure]) -> pd.DataFrame:
    featurizer = TightBindingStats()
    columns = featurizer.transform(structures).astype(np.float64)
    with patch.object(tight_binding, "pair_integrals", computed_integrals):
        exact = featurizer.transform(structures).astype(np.float64)
    spread = np.maximum(exact.std(axis=0), 1e-6)
    change = (columns - exact) / spread
    rows = [
        {"what": "column", "name": name, "unit": "spread", **summary(change[:, k])}
        for k, name in enumerate(featurizer.feature_labels())
    ]
    return pd.DataFrame(
        [*rows, {"what": "columns", "name": "all", "unit": "spread", **summary(change)}]
    )


def computed_integrals(z1: Ints, z2: Ints, distance: Floats) -> Floats:
    """:func:`pair_integrals` without a table. Distances are rounded to 10⁻⁶ Å."""
    bonds = np.column_stack([solved_element(z1), solved_element(z2), distance.round(6)])
    distinct, bond = np.unique(bonds, axis=0, return_inverse=True)
    return np.array([_computed(int(a), int(b), d) for a, b, d in distinct])[bond.ravel()]


@cache
def _computed(z1: int, z2: int, distance: float) -> Floats:
    at = max(distance / BOHR, CLOSEST)
    return two_centre_integrals([valence(z1), valence(z2)], at)[0, 1]


def summary(error: Floats) -> dict[str, float]:
    size = np.abs(error)
    return {
        "largest": size.max(),
        "percentile_99_9": np.quantile(size, 0.999),
        "rms": float(np.sqrt((size**2).mean())),
    }


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = script_parser(__doc__)
    parser.add_argument("--check", action="store_true", help="compare the file of the package")
    parser.add_argument("--data", nargs="+", help="parquet files of crystals, to check columns")
    parser.add_argument("--crystals", type=int, default=200, help="of them [200]")
    parser.add_argument("--out", required=True, help="the file, or the table of the comparison")
    args = parser.parse_args(argv)
    require_positive(parser, args, "crystals")
    if args.check and not args.data:
        parser.error("--check needs --data")
    return args


if __name__ == "__main__":
    run_script(main)
