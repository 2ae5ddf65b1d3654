"""Does ``target="auto"`` pay, and does ``UnateRegressor`` know its errors?

    python training/targets.py --data data/ --work runs/targets --out training/results/targets.csv
    python training/targets.py --data data/ --network --labels 600 --properties gap \\
        bulk_modulus_gpa piezoelectric_c_per_m2 exfoliation formation_energy \\
        --out training/results/targets_network.csv

For each property, in the unit that people have it in, numbers of labels and random subsets of the
``train`` formulas: the mean absolute error on rows of the ``val`` formulas with
``target="identity"`` and with ``"auto"``, what ``held_out_error_`` said it would be, which
transformation most folds chose, how many of the rows lie in the intervals for 50, 80 and 90 %, and
in those for 90 % among the tenth of the rows with the widest ones.

With ``--network``, the error of ``UnateFineTuneRegressor`` with one member, on one subset, which
transformation ``"auto"`` chose, and what ``validation_error_`` said. Where it chose the identity,
both rows are of one fit.

The columns of the crystals lie in ``--work``, and finished rows in ``--out``: a stopped run goes on
with the same command.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.columns.regressors import Rows
from benchmarks.columns.subsets import parts_of, property_rows
from benchmarks.labelled_tables import read_labelled, structures_of
from benchmarks.properties import ELASTIC, PROPERTIES, Property
from harness.command import require_positive, run_script, script_parser
from harness.result_tables import GrowingTable
from matminer_unate import UnateFineTuneRegressor, UnateRegressor

IN_THEIR_UNITS = {
    "bulk_modulus_gpa": Property(ELASTIC, "bulk_modulus_vrh_gpa", "bulk modulus (GPa)", "GPa"),
    "shear_modulus_gpa": Property(ELASTIC, "shear_modulus_vrh_gpa", "shear modulus (GPa)", "GPa"),
    "piezoelectric_c_per_m2": Property(
        "mp_piezoelectric.parquet",
        "piezo_eij_max_c_per_m2",
        "piezoelectric maximum (C/m²)",
        "C/m²",
    ),
}
CASES = {n: p for n, p in PROPERTIES.items() if not p.classes} | IN_THEIR_UNITS
COVERAGES = (0.5, 0.8, 0.9)
VAL_ROWS = 700
"""At most."""


def main(argv: list[str] | None = None) -> None:
    args = parse_arguments(argv)
    note = "subset seeds from 0, all else on val formulas; CPU seconds of one thread"
    if args.network:
        keys = "property", "labels", "subset", "target"
        measure_networks(args, GrowingTable(args.out, keys, note))
        return
    table = GrowingTable(args.out, ("property", "labels", "subset"), note)
    columns: dict[str, pd.DataFrame] = {}
    problems: dict[tuple[str, int], list[Rows]] = {}
    for crystals in dict.fromkeys(CASES[name].crystals for name in args.properties):
        names = [name for name in args.properties if CASES[name].crystals == crystals]
        labelled, own = read_problems(args, names)
        columns[crystals] = featurized(args, crystals, labelled, own)
        problems |= own
    cases = [(name, n, rows) for (name, n), subsets in problems.items() for rows in subsets]
    # The quick ones of all properties first.
    for name, n, rows in sorted(cases, key=lambda case: case[1] * (1 + case[2].seed)):
        if (name, n, rows.seed) not in table.known:
            found = measure(columns[CASES[name].crystals], rows)
            table.add({"property": name, "labels": n, **found})
    done = table.table
    print(
        f"{len(done)} data sets: error {100 * done['change'].mean():+.2f} % on average, held-out "
        f"error over that on val {done['held_out_over_val'].mean():.3f}"
    )


def measure_networks(args: argparse.Namespace, table: GrowingTable) -> None:
    """Rows of ``table`` for the first subset of each property and number of labels."""
    for name in args.properties:
        crystals, problems = read_problems(args, [name])
        for (_, n), subsets in problems.items():
            key = {"property": name, "labels": n, "subset": subsets[0].seed}
            if (name, n, subsets[0].seed, "auto") not in table.known:
                table.add(key | measure_network(crystals, subsets[0], "auto"))
            auto = table.table.query("property == @name and labels == @n").iloc[0]
            if (name, n, subsets[0].seed, "identity") not in table.known:
                same = auto["transform"] == "identity"
                found = dict(auto) if same else measure_network(crystals, subsets[0], "identity")
                table.add({**found, **key, "target": "identity"})
    errors = table.table.pivot_table("mae", ["property", "labels"], "target")
    print((errors["auto"] / errors["identity"] - 1).round(4).to_string())


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = script_parser(__doc__)
    parser.add_argument("--data", required=True, help="folder of the parquet files")
    parser.add_argument("--network", action="store_true", help="of UnateFineTuneRegressor")
    parser.add_argument("--work", default="runs/targets", help="[runs/targets]")
    parser.add_argument("--properties", nargs="+", default=list(CASES), choices=CASES)
    parser.add_argument("--labels", nargs="+", type=int, default=(250, 600, 2000))
    parser.add_argument("--out", default="targets.csv")
    args = parser.parse_args(argv)
    for n in args.labels:
        require_positive(parser, argparse.Namespace(labels=n), "labels")
    return args


def n_subsets(n_labels: int) -> int:
    """Small subsets scatter more."""
    return 3 if n_labels < 500 else 2 if n_labels < 1000 else 1


def read_problems(
    args: argparse.Namespace, names: list[str]
) -> tuple[pd.DataFrame, dict[tuple[str, int], list[Rows]]]:
    """The crystals of some properties, and rows of them by property and number of labels."""
    first, columns = CASES[names[0]], sorted({CASES[name].column for name in names})
    table = read_labelled(Path(args.data) / first.file, columns, first.max_sites)
    table = table.reset_index(drop=True)
    problems = {
        (name, n): property_rows(CASES[name], table, n)[: n_subsets(n)]
        for name in names
        for n in args.labels
        if n <= len(parts_of(CASES[name], table)[0])
    }
    return table, problems


def val_rows(rows: Rows) -> np.ndarray:
    return np.random.default_rng(0).permutation(rows.val)[:VAL_ROWS]


def featurized(
    args: argparse.Namespace,
    crystals: str,
    table: pd.DataFrame,
    problems: dict[tuple[str, int], list[Rows]],
) -> pd.DataFrame:
    """Columns of the rows that are needed; empty for the others, so that positions are kept."""
    path = Path(args.work) / f"{crystals}.parquet"
    every = [rows for subsets in problems.values() for rows in subsets]
    wanted = np.unique(np.concatenate([np.append(r.train, val_rows(r)) for r in every]))
    known = pd.read_parquet(path) if path.exists() else pd.DataFrame()
    missing = table.iloc[np.setdiff1d(wanted, known.index)]
    if len(missing):
        print(f"{crystals}: {len(missing)} crystals", flush=True)
        structures = pd.Series(structures_of(missing), index=missing.index)
        known = pd.concat([known, UnateRegressor(device="cpu").featurize(structures)])
        path.parent.mkdir(parents=True, exist_ok=True)
        known.to_parquet(path)
    return known.reindex(table.index)


def measure(columns: pd.DataFrame, rows: Rows) -> dict[str, Any]:
    """Fit both ways on the training rows, and judge on val."""
    val = val_rows(rows)
    y = rows.y[val]
    found: dict[str, Any] = {"subset": rows.seed, "n_val": len(val)}
    for target in ("identity", "auto"):
        started = time.process_time()
        model = UnateRegressor(target=target, random_state=rows.seed, device="cpu", progress=False)
        model.fit(columns.iloc[rows.train], rows.y[rows.train])
        seconds = time.process_time() - started
        error = np.abs(model.predict(columns.iloc[val]) - y).mean()
        found |= {
            f"mae_{target}": error,
            f"held_out_{target}": model.held_out_error_,
            f"fit_s_{target}": seconds,
        }
    found["change"] = found["mae_auto"] / found["mae_identity"] - 1
    found["held_out_over_val"] = found["held_out_auto"] / found["mae_auto"]
    found["most_folds_chose"] = model.transforms_.idxmax()
    for coverage in COVERAGES:
        ends = model.predict_interval(columns.iloc[val], coverage)
        # Predictions are cut off at the minimum, as targets are; rounding must not decide.
        inside = (ends[:, 0] - 1e-9 <= y) & (y <= ends[:, 1] + 1e-9)
        found[f"coverage_{100 * coverage:.0f}"] = inside.mean()
    widest = np.argsort(np.ptp(ends, axis=1), kind="stable")[-(len(val) // 10) :]
    found["coverage_90_widest_tenth"] = inside[widest].mean()
    return {k: float(f"{v:.5g}") if isinstance(v, float) else v for k, v in found.items()}


def measure_network(table: pd.DataFrame, rows: Rows, target: Any) -> dict[str, Any]:
    """Fine-tune on the training rows, and judge on val."""
    val = val_rows(rows)
    structures = pd.Series(structures_of(table.iloc[np.append(rows.train, val)]))
    learned, judged = structures[: len(rows.train)], structures[len(rows.train) :]
    model = UnateFineTuneRegressor(
        target=target, n_members=1, random_state=rows.seed, device="cpu", progress=False
    )
    started = time.process_time()
    model.fit(learned, rows.y[rows.train])
    seconds = time.process_time() - started
    error = np.abs(model.predict(judged) - rows.y[val]).mean()
    figures = {"mae": error, "validation_error": model.validation_error_, "fit_s": seconds}
    return {
        "target": target,
        "transform": model.transforms_[0],
        "n_val": len(val),
        **{name: float(f"{value:.5g}") for name, value in figures.items()},
    }


if __name__ == "__main__":
    run_script(main)
