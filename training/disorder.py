"""How far are the columns of disordered crystals from the mean over random supercells?

    python training/disorder.py --data data/ --out training/results/disorder.csv

In small crystals of the ``val`` formulas, half of the atoms of an element are exchanged for those
of a similar one, or half of the alkali atoms are taken away. What stands for such a crystal is
compared with the mean over eight random arrangements in its 2 × 2 × 2 supercell, column by column,
in standard deviations of the column over ordered crystals; the root of the mean square over columns
is taken, and its median and mean over crystals are the table. With them are those of one random
arrangement in the same supercell, and in the cell doubled along its shortest vector, which is about
as small as the ordered ones; of the mean of the two crystals without mixing (with vacancies: the
full one); the standard error of the reference; and what columns change where nothing is mixed, but
atoms are moved by 0.003 Å in the supercell, so that it counts as one.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pymatgen.core import Element, Structure
from sklearn.base import clone

from benchmarks.labelled_tables import read_labelled, structures_of
from harness.command import run_script, script_parser
from harness.result_tables import write_table
from matminer_unate import CellStats, SiteDescriptorStats, TightBindingStats, UnateFeaturizer
from matminer_unate.errors import UnateWarning

PAIRS = {
    **{"Si": "Ge", "Ga": "In", "S": "Se", "Ca": "Sr", "Zr": "Hf", "Na": "K", "Cl": "Br"},
    **{"Fe": "Co", "Ni": "Cu", "Mg": "Zn", "Se": "Te", "Sr": "Ba"},
}
"""Elements and what half of their atoms are exchanged for."""

ALKALI = ("Li", "Na", "K", "Rb", "Cs")
"""Elements of which half of the atoms are taken away."""

MAX_SITES = 6
"""Of the crystals; their supercells have eight times as many."""

N_ARRANGEMENTS = 8
N_SCALE = 200
"""Crystals over which the columns have their standard deviations."""

MOVED = 0.003
"""Å. More than sites may be apart that count as copies of each other."""

LEAST_SPREAD = 1e-3
"""Columns that vary less are left out."""

Values = NDArray[np.float64]


def main(argv: list[str] | None = None) -> None:
    args = parse_arguments(argv)
    table = read_labelled(Path(args.data) / "mp_mtcgcnn.parquet", ["band_gap_ev"], MAX_SITES)
    table = table[table["formula_split"] == "val"].sample(frac=1, random_state=0)
    structures = structures_of(table)
    rng = np.random.default_rng(0)
    cases = [
        case
        for kind in ("exchanged", "taken away")
        for case in list(mixed_crystals(structures, kind))[: args.crystals]
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnateWarning)
        judged = [
            row
            for featurizer in featurizers()
            for row in judge(featurizer, structures[:N_SCALE], cases, rng)
        ]
    keys = ["half_of_an_element", "featurizer", "columns", "stands_for_it"]
    by = pd.DataFrame(judged).groupby(keys, sort=False)["distance"]
    summary = by.agg(crystals="size", median="median", mean="mean").reset_index()
    note = f"seed 0, {args.crystals} crystals of val of each kind, distances in spreads of columns"
    write_table(summary.round(4), args.out, note)


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = script_parser(__doc__)
    parser.add_argument("--data", required=True, help="folder of the parquet files")
    parser.add_argument("--crystals", type=int, default=30, help="of each kind [30]")
    parser.add_argument("--out", default="disorder.csv")
    return parser.parse_args(argv)


def featurizers() -> list[Any]:
    """All of them, with the poolings that are compared."""
    pooling = ("mean", "std")
    return [
        UnateFeaturizer(pooling=pooling),
        SiteDescriptorStats(pooling, "all"),
        CellStats(),
        TightBindingStats(pooling),
    ]


Case = tuple[str, Structure, str, str | None]
"""Kind, an ordered crystal, the element of which half goes, and what comes in its place."""


def mixed_crystals(structures: list[Structure], kind: str) -> Iterator[Case]:
    """Crystals with an element that can be exchanged, or taken away, and another that cannot."""
    for structure in structures:
        symbols = sorted({e.symbol for e in structure.composition})
        if len(symbols) < 2:
            continue
        for symbol in symbols:
            if kind == "exchanged" and symbol in PAIRS and PAIRS[symbol] not in symbols:
                yield kind, structure, symbol, PAIRS[symbol]
                break
            if kind == "taken away" and symbol in ALKALI:
                yield kind, structure, symbol, None
                break


def disordered(case: Case) -> Structure:
    """The crystal in which half of the element's atoms are exchanged or missing at every site."""
    _, structure, symbol, other = case
    shares = {symbol: 0.5} if other is None else {symbol: 0.5, other: 0.5}
    species = [shares if e.symbol == symbol else e for e in structure.species]
    return Structure(structure.lattice, species, structure.frac_coords)


def arrangements(
    case: Case, repeats: Sequence[int], number: int, rng: np.random.Generator
) -> list[Structure]:
    """Random supercells, in each of which half of the atoms are exchanged or missing."""
    _, structure, symbol, other = case
    found = []
    for _ in range(number):
        cell = structure * tuple(repeats)
        sites = rng.permutation([k for k, e in enumerate(cell.species) if e.symbol == symbol])
        half = sites[: len(sites) // 2].tolist()
        if other is None:
            cell.remove_sites(half)
        else:
            for site in half:
                cell.replace(site, Element(other))
        found.append(cell)
    return found


def ends(case: Case) -> list[Structure]:
    """The crystals without mixing; with vacancies, the full one."""
    _, structure, symbol, other = case
    if other is None:
        return [structure]
    exchanged = structure.copy()
    exchanged.replace_species({symbol: other})
    return [structure, exchanged]


def judge(
    featurizer: Any, ordinary: list[Structure], cases: list[Case], rng: np.random.Generator
) -> Iterator[dict[str, Any]]:
    """Distances from the mean over arrangements, by what stands for each crystal."""
    name, begun = type(featurizer).__name__, time.perf_counter()
    scale = featurizer.transform(ordinary).std(axis=0, dtype=np.float64)
    varies = scale > LEAST_SPREAD
    labels = np.array(featurizer.feature_labels())
    group = np.array([_columns_of(label) for label in labels])
    averages = isinstance(featurizer, UnateFeaturizer)
    modes = ["ordered", "average"] if averages else ["ordered"]
    for case in cases:
        cells = arrangements(case, (2, 2, 2), N_ARRANGEMENTS, rng)
        every = featurizer.transform(cells).astype(np.float64)
        mean, n = every.mean(axis=0), len(every)
        stand_ins: dict[str, Values] = {}
        for mode in modes:
            one = clone(featurizer).set_params(disorder=mode)
            stand_ins[mode] = one.transform([disordered(case)])[0] - mean
        # Of those that the mean is not taken over.
        stand_ins["one random supercell"] = (every[0] - mean) * n / (n - 1)
        shortest = int(np.argmin(case[1].lattice.abc))
        doubled = arrangements(case, [1 + (k == shortest) for k in range(3)], 1, rng)
        stand_ins["one random doubled cell"] = featurizer.transform(doubled)[0] - mean
        stand_ins["mean of the ends"] = featurizer.transform(ends(case)).mean(axis=0) - mean
        moved = case[1] * (2, 2, 2)
        moved.perturb(MOVED, min_distance=None, seed=0)
        alone = featurizer.transform([moved, case[1]])
        stand_ins["(supercell alone)"] = alone[0] - alone[1]
        stand_ins["(standard error)"] = every.std(axis=0, ddof=1) / np.sqrt(n)
        for what, difference in stand_ins.items():
            relative = difference[varies] / scale[varies]
            for columns in dict.fromkeys(group[varies]):
                own = relative[group[varies] == columns]
                yield {
                    "half_of_an_element": case[0],
                    "featurizer": name,
                    "columns": columns,
                    "stands_for_it": what,
                    "distance": float(np.sqrt(np.mean(own**2))),
                }
    print(f"{name}: {time.perf_counter() - begun:.0f} s", flush=True)


def _columns_of(label: str) -> str:
    """Which pooling a column is of."""
    return next((how for how in ("mean", "std") if f"_{how}" in label), "of the crystal")


if __name__ == "__main__":
    run_script(main)
