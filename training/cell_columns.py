"""What columns of the cell are worth, beside those of the elements and sites, and in the recipe.

    python training/cell_columns.py --data data/ --work runs/cell_columns \\
        --out training/results/cell_columns.csv

For each property, models with and without the columns of ``CellStats`` (its groups alone and all
of them) and of what did not become part of it (``benchmarks/columns/cell_candidates.py``), by
five-fold cross-validation in whole formulas over random rows of the ``train`` and ``val`` formulas;
``test`` stays unseen. The columns are added to the ``control`` (Magpie, cell, physical descriptors)
or to the ``recipe``, which is all that ``UnateRegressor`` has. LightGBM sees no learned columns and
no fingerprint, kernel ridge sees everything with one width and penalty throughout; ``mean`` is the
mean of both. Changes are against the base on the same rows, with 95 % intervals over formulas.

A stopped run goes on with the same command.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.model_selection import GroupKFold

from benchmarks.columns.cell_candidates import CANDIDATES, candidate_columns
from benchmarks.columns.feature_sets import CONTROL
from benchmarks.columns.own_features import OWN_BLOCKS
from benchmarks.columns.regressors import FEW_BINS, Matrix, Rows, fit_kernel_ridge, lightgbm_head
from benchmarks.labelled_tables import read_labelled, structures_of
from benchmarks.properties import PROPERTIES
from harness.command import require_positive, run_script, script_parser
from harness.comparisons import bootstrap_change, resample_formulas
from harness.result_tables import GrowingTable
from matminer_unate import CellStats, UnateRegressor
from matminer_unate.io.whole_files import fresh_file

USUAL = ("exfoliation", "bulk_modulus", "shear_modulus", "piezoelectric", "gap", "tbmbj_gap")
BASES = ("control", "recipe")

GROUPS: dict[str, tuple[str, ...]] = {
    "networks by radii": ("_by_radii",),
    "networks by neighbours": ("_by_neighbours",),
    "volume without vacuum": ("vacuum", "packing"),
    "springs": ("springs",),
    "all of CellStats": ("cell_",),
}
"""Columns of ``CellStats`` by what their names hold."""

LOGARITHM = {"exfoliation": 5.0}
"""Properties with a long tail are learned as log(y + this)."""

N_FOLDS = 5
WIDTHS, PENALTY = {"control": 0.3, "recipe": 1.0}, 0.03
HEADS = ("lightgbm", "kernel_ridge", "mean")

Errors = dict[str, np.ndarray]


def main(argv: list[str] | None = None) -> None:
    args = parse_arguments(argv)
    note = f"errors by {N_FOLDS}-fold cross-validation over train and val formulas, one seed"
    table = GrowingTable(args.out, ("property", "base", "columns"), note)
    for name in args.properties:
        for base in args.bases:
            wanted = ["none", *GROUPS, *(CANDIDATES if base == "control" else ())]
            if all((name, base, columns) in table.known for columns in wanted):
                continue
            problem = Problem(name, base, args)
            reference = problem.errors(None)
            for columns in wanted:
                if (name, base, columns) not in table.known:
                    row = {"property": name, "base": base, "columns": columns}
                    row |= problem.judge(columns, reference)
                    print(" ".join(f"{k}={v}" for k, v in row.items()), flush=True)
                    table.add(row)


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = script_parser(__doc__)
    add = parser.add_argument
    add("--data", required=True, help="folder of the parquet files")
    add("--work", default="runs/cell_columns", help="[runs/cell_columns]")
    add("--properties", nargs="+", default=USUAL, choices=PROPERTIES, help=f"{USUAL}")
    add("--bases", nargs="+", default=BASES, choices=BASES, help=f"{BASES}")
    add("--rows", type=int, default=800, help="at most [800]")
    add("--out", default="cell_columns.csv")
    args = parser.parse_args(argv)
    require_positive(parser, args, "rows")
    return args


class Problem:
    """Rows of a property with their columns.

    Parameters
    ----------
    name : str
        Of the property.
    base : {"control", "recipe"}
    args : Namespace
    """

    def __init__(self, name: str, base: str, args: argparse.Namespace) -> None:
        property_ = PROPERTIES[name]
        table = read_labelled(
            Path(args.data) / property_.file, [property_.column], property_.max_sites
        )
        known = np.isfinite(property_.targets(table)) & (table["formula_split"] != "test")
        table = table[known].sample(frac=1.0, random_state=0).iloc[: args.rows]
        self.base, self.structures = base, pd.Series(structures_of(table))
        self.y, self.offset = property_.targets(table), LOGARITHM.get(name)
        self.formulas = table["formula_reduced"].to_numpy()
        self.resamples = resample_formulas(self.formulas)
        self.keep = Path(args.work) / f"{name}-{len(table)}"
        if base == "control":
            blocks = [self._kept(b, OWN_BLOCKS[b]) for b in CONTROL]
            self.everything, self.n_tree = np.hstack(blocks), sum(b.shape[1] for b in blocks)
        else:
            model = UnateRegressor(on_error="nan", device="cpu", progress=False)
            self.n_tree = model._recipe().n_tree_columns()
            self.everything = self._kept(
                "recipe", lambda s: model.featurize(s).iloc[:, 1:].to_numpy(np.float32)
            )
        started = time.process_time()
        self.cell = CellStats().transform(self.structures)
        self.seconds = time.process_time() - started

    def judge(self, columns: str, reference: Errors) -> dict[str, Any]:
        """Errors with some columns, and how they change against those without."""
        if columns == "none":
            return self._row(0, 0.0, reference, reference)
        if columns in CANDIDATES:
            started = time.process_time()
            added = candidate_columns(columns, self.structures)
            seconds = time.process_time() - started
        else:
            names = CellStats().feature_labels()
            added = self.cell[:, [any(part in n for part in GROUPS[columns]) for n in names]]
            seconds = self.seconds
        return self._row(added.shape[1], seconds, self.errors(added), reference)

    def errors(self, added: Matrix | None) -> Errors:
        """Of every row by models that have not seen its formula."""
        new = np.zeros((len(self.y), 0), np.float32) if added is None else added
        trees = np.hstack([self.everything[:, : self.n_tree], new])
        everything = np.hstack([self.everything, new])
        y = self.y if self.offset is None else np.log(self.y + self.offset)
        none = np.array([], dtype=np.int64)
        found = {head: np.zeros(len(y)) for head in HEADS}
        folds = GroupKFold(N_FOLDS).split(trees, groups=self.formulas)
        boosted = lightgbm_head("plain", colsample_bytree=0.3, **FEW_BINS)
        for seed, (train, out) in enumerate(folds):
            rows = Rows(y, train, out, none, self.formulas, seed=seed)
            ours = {"lightgbm": boosted(trees, rows)[0]}
            choice = WIDTHS[self.base], PENALTY
            ours["kernel_ridge"] = fit_kernel_ridge(everything, rows, choice).unseen
            ours["mean"] = (ours["lightgbm"] + ours["kernel_ridge"]) / 2
            for head, values in ours.items():
                if self.offset is not None:
                    values = np.exp(values) - self.offset
                found[head][out] = np.abs(values - self.y[out])
        return found

    def _row(self, n: int, seconds: float, errors: Errors, reference: Errors) -> dict[str, Any]:
        row: dict[str, Any] = {"n_rows": len(self.y), "n_columns": n}
        for head in HEADS:
            row[f"{head}_error"] = float(f"{errors[head].mean():.5g}")
            change = bootstrap_change(errors[head], reference[head], *self.resamples)
            for part, value in zip(("pct", "low", "high"), change, strict=True):
                row[f"{head}_{part}"] = round(value, 2)
        return row | {"cpu_ms_per_crystal": round(1000 * seconds / len(self.y), 2)}

    def _kept(self, name: str, compute: Callable[[pd.Series], Matrix]) -> Matrix:
        path = self.keep / f"{name}.npy"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            with fresh_file(path) as fresh, fresh.open("wb") as file:
                np.save(file, compute(self.structures))
        columns: Matrix = np.load(path)
        return columns


if __name__ == "__main__":
    run_script(main)
