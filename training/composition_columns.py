"""What the learned vectors of the elements are worth to models that know formulas alone.

    python training/composition_columns.py --data data/ \\
        --out training/results/composition_columns.csv

For gaps and bulk moduli, columns of formulas by ``UnateCompositionFeaturizer`` against Magpie's and
those of MEGNet's element embeddings (which saw formation energies), in kernel ridge, LightGBM and
their mean; 2,000 labels of the ``train`` formulas, three random subsets. Errors are of the ``val``
formulas, on which kernel ridge also chooses its width and penalty; ``test`` stays unseen. Changes
are against Magpie on the same rows, with 95 % intervals over formulas. Polymorphs of a formula have
the same columns, and all of them are rows.

A stopped run goes on with the same command.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.columns.own_features import OWN_BLOCKS
from benchmarks.columns.peer_features import megnet_elements
from benchmarks.columns.regressors import FEW_BINS, Matrix, Rows, kernel_ridge, lightgbm_head
from benchmarks.columns.subsets import property_rows, read_property_table
from benchmarks.labelled_tables import structures_of
from benchmarks.properties import PROPERTIES, Property
from harness.command import require_positive, run_script, script_parser
from harness.comparisons import bootstrap_change, resample_formulas
from harness.result_tables import GrowingTable
from matminer_unate import UnateCompositionFeaturizer

USUAL = ("gap", "bulk_modulus")
REFERENCE = "magpie"
ALL = ("mean", "std", "min", "max", "range")

COLUMNS: dict[str, tuple[str, ...]] = {
    REFERENCE: ("magpie",),
    "megnet-elements": ("megnet-elements",),
    "mp_v3, mean": ("mp_v3 mean",),
    "mp_v3, mean and std": ("mp_v3 mean std",),
    "mp_v3": ("mp_v3",),
    "mp_v2_taught": ("mp_v2_taught",),
    "magpie+mp_v3, mean": ("magpie", "mp_v3 mean"),
    "magpie+mp_v3": ("magpie", "mp_v3"),
}
"""Sets of columns, and the blocks that they are made of: weights, and some of the statistics."""

HEADS: dict[str, Callable[[Matrix, Rows], tuple[np.ndarray, np.ndarray]]] = {
    "kernel_ridge": kernel_ridge,
    "lightgbm": lightgbm_head("dense", **FEW_BINS),
}


def main(argv: list[str] | None = None) -> None:
    args = parse_arguments(argv)
    note = "errors on val formulas, three subsets of the train formulas, seeds 0 to 2"
    table = GrowingTable(args.out, ("property", "columns", "n_train"), note)
    for name in args.properties:
        problem: Problem | None = None
        for columns in COLUMNS:
            if (name, columns, args.labels) in table.known:
                continue
            problem = problem or Problem(PROPERTIES[name], args)
            row = {"property": name, "columns": columns, **problem.judge(columns)}
            print(" ".join(f"{k}={v}" for k, v in row.items()), flush=True)
            table.add(row)


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = script_parser(__doc__)
    add = parser.add_argument
    add("--data", required=True, help="folder of the parquet files")
    add("--properties", nargs="+", default=USUAL, choices=PROPERTIES, help=f"{USUAL}")
    add("--labels", type=int, default=2000, help="[2000]")
    add("--out", default="composition_columns.csv")
    args = parser.parse_args(argv)
    require_positive(parser, args, "labels")
    return args


class Problem:
    """The rows of a property, with the columns of their formulas.

    Parameters
    ----------
    property_ : Property
    args : Namespace
    """

    def __init__(self, property_: Property, args: argparse.Namespace) -> None:
        table = read_property_table(Path(args.data), property_.crystals)
        none = np.array([], dtype=np.int64)
        subsets = property_rows(property_, table, args.labels)
        used = np.unique(np.concatenate([*(r.train for r in subsets), subsets[0].val]))
        self.table = table.iloc[used].reset_index(drop=True)
        self.subsets = [
            replace(
                rows,
                y=rows.y[used],
                train=np.searchsorted(used, rows.train),
                val=np.searchsorted(used, rows.val),
                test=none,
                groups=rows.groups[used],
            )
            for rows in subsets
        ]
        self.resamples = resample_formulas(self.subsets[0].groups[self.subsets[0].val])
        self._blocks: dict[str, Matrix] = {}
        self._errors: dict[str, dict[str, np.ndarray]] = {}

    def judge(self, columns: str) -> dict[str, float | int]:
        """Errors with some columns, and how they differ from those with Magpie's."""
        ours, theirs = self.errors(columns), self.errors(REFERENCE)
        row: dict[str, float | int] = {
            "n_train": len(self.subsets[0].train),
            "n_val": len(self.subsets[0].val),
            "n_columns": self.join(columns).shape[1],
        }
        for head, errors in ours.items():
            row[f"{head}_error"] = float(f"{errors.mean():.5g}")
            change = bootstrap_change(errors, theirs[head], *self.resamples)
            for part, value in zip(("pct", "low", "high"), change, strict=True):
                row[f"{head}_{part}"] = round(value, 2)
        return row

    def errors(self, columns: str) -> dict[str, np.ndarray]:
        """Of every val row, means over the subsets, by head; ``mean`` is the mean of both heads."""
        if columns not in self._errors:
            X, found = self.join(columns), dict[str, list[np.ndarray]]()
            for rows in self.subsets:
                on_val = {name: head(X, rows)[0] for name, head in HEADS.items()}
                on_val["mean"] = np.mean(list(on_val.values()), axis=0)
                for name, values in on_val.items():
                    found.setdefault(name, []).append(np.abs(values - rows.y[rows.val]))
            self._errors[columns] = {name: np.mean(e, axis=0) for name, e in found.items()}
        return self._errors[columns]

    def join(self, columns: str) -> Matrix:
        """The blocks of a set of columns side by side, (n_rows, n_columns)."""
        for block in COLUMNS[columns]:
            if block not in self._blocks:
                self._blocks[block] = block_columns(block, self.table)
        return np.hstack([self._blocks[block] for block in COLUMNS[columns]])


def block_columns(block: str, table: pd.DataFrame) -> Matrix:
    """Columns of one block."""
    if block == "magpie":
        return OWN_BLOCKS["magpie"](pd.Series(structures_of(table)))
    if block == "megnet-elements":
        return megnet_elements(table)
    weights, *statistics = block.split()
    featurizer = UnateCompositionFeaturizer(weights, statistics or ALL, on_error="nan")
    return featurizer.transform(table["formula_reduced"])


if __name__ == "__main__":
    run_script(main)
