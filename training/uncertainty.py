"""Do the error bars of ``UnateRegressor`` hold? Coverage of its intervals on unseen formulas.

    python training/uncertainty.py --data data/ --out training/results/uncertainty.csv

For each property, numbers of labels and random training subsets: fits on rows of the ``train``
formulas, and counts how many of the ``test`` rows lie in the intervals for 50, 80 and 90 %. An
interval that is as wide for all rows would do that too, so the table has the coverage among the
tenths of the rows with the smallest and the largest error bars as well, the rank correlation of
error and error bar, and the coverage of normal intervals of 1.282 and 1.645 standard deviations.
Where a property has fewer labels than asked for, all of them are taken, once.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from benchmarks.columns.regressors import Rows
from benchmarks.columns.subsets import ALL, n_train, property_rows
from benchmarks.labelled_tables import read_labelled, structures_of
from benchmarks.properties import PROPERTIES, Property, require_numbers
from harness.command import run_script, script_parser
from harness.result_tables import write_table
from matminer_unate import UnateRegressor

NUMBERS = tuple(name for name, property_ in PROPERTIES.items() if not property_.classes)
COVERAGES = {"50": 0.5, "80": 0.8, "90": 0.9}
NORMAL = {"80": 1.282, "90": 1.645}
"""Standard deviations of a normal distribution."""


def main(argv: list[str] | None = None) -> None:
    args = parse_arguments(argv)
    found = []
    for crystals in dict.fromkeys(PROPERTIES[name].crystals for name in args.properties):
        names = [name for name in args.properties if PROPERTIES[name].crystals == crystals]
        table, columns = featurized(args, [PROPERTIES[name] for name in names])
        for name in names:
            for n in args.labels:
                for rows in subsets_of(PROPERTIES[name], table, n, args.subsets):
                    result = {"property": name, "labels": len(rows.train), "subset": rows.seed}
                    result |= measure(columns, rows, PROPERTIES[name])
                    print(" ".join(f"{k}={_short(v)}" for k, v in result.items()), flush=True)
                    found.append(result)
    note = f"subset seeds 0-{args.subsets - 1}, coverage on test formulas"
    write_table(pd.DataFrame(found).round(4), args.out, note)


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = script_parser(__doc__)
    parser.add_argument("--data", required=True, help="folder of the parquet files")
    parser.add_argument(
        "--properties", nargs="+", default=NUMBERS, choices=PROPERTIES, help="[all but classes]"
    )
    parser.add_argument("--labels", nargs="+", type=int, default=(250, 2000), help="[250 2000]")
    parser.add_argument("--subsets", type=int, default=3, help="random training subsets [3]")
    parser.add_argument("--test-rows", type=int, default=3000, help="at most [3000]")
    parser.add_argument("--out", default="uncertainty.csv")
    args = parser.parse_args(argv)
    require_numbers(args.properties)
    return args


def featurized(
    args: argparse.Namespace, properties: list[Property]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows that are needed for properties of the same crystals, and their columns."""
    file, columns = properties[0].file, [p.column for p in properties]
    table = read_labelled(Path(args.data) / file, columns, properties[0].max_sites)
    table = table.reset_index(drop=True)
    used = [
        np.concatenate([rows.train, _some(rows.test, args.test_rows)])
        for p in properties
        for rows in subsets_of(p, table, max(args.labels), args.subsets)
    ]
    some = table.iloc[np.unique(np.concatenate(used))]
    started = time.perf_counter()
    found = UnateRegressor().featurize(pd.Series(structures_of(some), index=some.index))
    print(f"{file}: {len(some)} crystals, {time.perf_counter() - started:.0f} s", flush=True)
    # Rows that no subset draws stay without columns, so that positions are those of the table.
    return table, found.reindex(table.index)


def subsets_of(property_: Property, table: pd.DataFrame, n: int, at_most: int) -> list[Rows]:
    """Random subsets of so many labels, or all labels where there are no more."""
    wanted = n if n < n_train(property_, table) else ALL
    return property_rows(property_, table, wanted)[:at_most]


def measure(columns: pd.DataFrame, rows: Rows, property_: Property) -> dict[str, Any]:
    """Fit on the training rows, and judge the error bars on the test rows that have columns."""
    test = rows.test[columns["formula"].iloc[rows.test].notna()]
    y = rows.y[test]
    started = time.perf_counter()
    model = UnateRegressor(minimum=None if np.isinf(property_.minimum) else property_.minimum)
    model.fit(columns.iloc[rows.train], rows.y[rows.train])
    seconds = time.perf_counter() - started
    predicted, std = model.predict(columns.iloc[test], return_std=True)
    errors = np.abs(predicted - y)
    result = {
        "n_test": len(test),
        "test_mae": errors.mean(),
        "held_out_mae": model.held_out_error_,
        "mae_of_the_mean": np.abs(y - rows.y[rows.train].mean()).mean(),
        "mean_std": std.mean(),
        "rank_correlation": spearmanr(errors, std).statistic if np.ptp(std) > 0 else np.nan,
    }
    order = np.argsort(std, kind="stable")
    tenth = len(order) // 10
    for name, coverage in COVERAGES.items():
        ends = model.predict_interval(columns.iloc[test], coverage)
        # Predictions are cut off at the minimum, as targets are; rounding must not decide.
        inside = (ends[:, 0] - 1e-9 <= y) & (y <= ends[:, 1] + 1e-9)
        result |= {
            f"coverage_{name}": inside.mean(),
            f"coverage_{name}_surest_tenth": inside[order[:tenth]].mean(),
            f"coverage_{name}_least_sure_tenth": inside[order[-tenth:]].mean(),
        }
    for name, width in NORMAL.items():
        result[f"normal_{name}"] = (errors <= width * std).mean()
    return result | {"fit_s": seconds}


def _some(rows: np.ndarray, n: int) -> np.ndarray:
    return np.random.default_rng(0).permutation(rows)[:n]


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    run_script(main)
