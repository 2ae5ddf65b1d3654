"""How many k points do the tight-binding columns need?

    python training/k_points.py --data data --out training/results/k_points.csv

``TightBindingStats`` with finer and coarser grids, judged on ``val`` formulas by kernel ridge and
LightGBM on its columns alone, trained on 2,000 rows of ``train``. No test row takes part.
"""

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.columns.regressors import HEADS, Rows
from benchmarks.columns.subsets import property_rows, read_property_table
from benchmarks.properties import PROPERTIES
from harness.command import run_script, script_parser
from harness.jobs import run_on_one_thread
from harness.result_tables import write_table
from matminer_unate import TightBindingStats
from matminer_unate.physics import k_points

USUAL = ("gap", "tbmbj_gap", "bulk_modulus")
N_LABELS, N_VAL = 2000, 1200
JUDGES = ("kernel_ridge", "lightgbm_dense")
SETTINGS = {
    "as it is": (k_points.K_LENGTH, k_points.MAX_WORK),
    "half the points along each axis": (k_points.K_LENGTH / 2, k_points.MAX_WORK),
    "two thirds along each axis": (k_points.K_LENGTH / 1.5, k_points.MAX_WORK),
    "as many in large cells": (k_points.K_LENGTH, 400 * k_points.MAX_WORK),
    "a third of the work in large cells": (k_points.K_LENGTH, 0.3 * k_points.MAX_WORK),
}
"""``K_LENGTH`` (Å) and ``MAX_WORK``."""


def main() -> None:
    args = parse_arguments()
    run_on_one_thread(run, args)


def run(args: argparse.Namespace) -> None:
    """Compute the columns, fit, and write."""
    warnings.simplefilter("ignore")
    found = []
    for name in args.properties:
        property_ = PROPERTIES[name]
        table = read_property_table(Path(args.data), property_.crystals, structures=True)
        rows, used = some_rows(property_rows(property_, table, N_LABELS)[0])
        structures = table["structure"].iloc[used].tolist()
        for setting, (length, work) in SETTINGS.items():
            k_points.K_LENGTH, k_points.MAX_WORK = length, work
            cpu = time.process_time()
            columns = np.nan_to_num(TightBindingStats(on_error="nan").transform(structures))
            cpu = time.process_time() - cpu
            row = {"property": name, "grid": setting, "k_length_angstrom": length}
            row |= {"max_work": work, "cpu_ms": 1e3 * cpu / len(structures)}
            for judge in JUDGES:
                on_val = HEADS[judge](columns, rows)[0]
                row[f"val_mae_{judge}"] = float(np.abs(on_val - rows.y[rows.val]).mean())
            print(row, flush=True)
            found.append(row)
    note = f"{N_LABELS} labels, {N_VAL} val rows, seed 0"
    write_table(pd.DataFrame(found).round(5), args.out, note)


def parse_arguments() -> argparse.Namespace:
    parser = script_parser(__doc__)
    parser.add_argument("--data", required=True, help="folder of the parquet files")
    parser.add_argument("--properties", nargs="+", default=USUAL, choices=PROPERTIES)
    parser.add_argument("--out", default="k_points.csv", help="[k_points.csv]")
    return parser.parse_args()


def some_rows(rows: Rows) -> tuple[Rows, np.ndarray]:
    """Training rows and some of val, numbered anew; and which rows of the table they are."""
    val = np.random.default_rng(0).permutation(rows.val)[:N_VAL]
    used = np.unique(np.concatenate([rows.train, val]))
    some = Rows(
        rows.y[used],
        np.searchsorted(used, rows.train),
        np.searchsorted(used, val),
        np.array([], dtype=np.int64),
        rows.groups[used],
        rows.minimum,
        rows.seed,
    )
    return some, used


if __name__ == "__main__":
    run_script(main)
