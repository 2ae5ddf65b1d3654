"""How much memory and time does a fit of UnateRegressor need, and what did a former version need?

    git worktree add ../before 0623ee7
    python training/large_fits.py --data data/mp_mtcgcnn.parquet --before ../before \\
        --out training/results/large_fits.csv

The columns of ``--crystals`` real crystals of the training rows are computed once (``--columns``
keeps them). Larger tables are made from them: every row is a random point between a real row and
one of another formula, its band gap likewise, and its formula is new. Each fit has a process of its
own, of one thread. ``rows_mb`` is the memory of that process before the fit, with the table in it,
``fit_mb`` and ``predict_mb`` the largest memory of fit and prediction. A fit that needs more than
``--limit`` gigabytes ends, and has no time.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.labelled_tables import structures_of
from harness.command import run_script, script_parser
from harness.result_tables import GrowingTable
from matminer_unate import UnateRegressor

TARGET = "band_gap_ev"
STEP = 5_000
"""Rows that are made at once."""


def main() -> None:
    args = parse_arguments()
    if args.measure:
        print(json.dumps(measure(Path(args.columns), args.measure, args.limit)))
        return
    checkouts = {"now": str(Path(__file__).resolve().parents[1])}
    checkouts |= {"before": args.before} if args.before else {}
    note = f"limit {args.limit:g} GB, 1 thread, seed 0"
    results = GrowingTable(args.out, ["version", "rows"], note)
    with tempfile.TemporaryDirectory() as scratch:
        columns = Path(args.columns or Path(scratch) / "columns.parquet")
        if not columns.exists():
            real_columns(args.data, args.crystals).to_parquet(columns)
        for n_rows in args.rows:
            for version, checkout in checkouts.items():
                if (version, n_rows) not in results.known:
                    found = in_a_fresh_process(args, columns, n_rows, checkout)
                    results.add({"version": version, "rows": n_rows} | found)
                    print(results.table.iloc[-1].to_dict(), flush=True)


def parse_arguments() -> argparse.Namespace:
    parser = script_parser(__doc__)
    parser.add_argument("--data", required=True, help="parquet file of labelled crystals")
    parser.add_argument("--before", help="checkout of a former version")
    parser.add_argument("--crystals", type=int, default=1_000, help="real ones [1000]")
    parser.add_argument("--columns", help="parquet file of their columns, made if need be")
    parser.add_argument(
        "--rows", type=int, nargs="+", default=[4_000, 16_000, 50_000, 100_000], help="of the fits"
    )
    parser.add_argument("--limit", type=float, default=12.0, help="GB of memory [12]")
    parser.add_argument("--out", default="large_fits.csv", help="rows that are there are kept")
    parser.add_argument("--measure", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


def real_columns(data: str, n: int) -> pd.DataFrame:
    """Columns and targets of some crystals; rows that lack a column are kept."""
    table = pd.read_parquet(data)
    table = table[(table["formula_split"] == "train") & table[TARGET].notna()].sample(
        n, random_state=0
    )
    model = UnateRegressor(on_error="nan", progress=False)
    columns = model.featurize(structures_of(table))
    return columns.assign(**{TARGET: table[TARGET].to_numpy()}).dropna(subset="formula")


def in_a_fresh_process(
    args: argparse.Namespace, columns: Path, n_rows: int, checkout: str
) -> dict[str, Any]:
    """What :func:`measure` finds with the package of a checkout."""
    paths = Path(checkout).resolve(), Path(__file__).parent
    one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    options = ["--columns", str(columns), "--measure", str(n_rows), "--limit", str(args.limit)]
    done = subprocess.run(
        [sys.executable, __file__, "--data", args.data, *options],
        env={**os.environ, **one, "PYTHONPATH": os.pathsep.join(map(str, paths))},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(columns: Path, n_rows: int, limit: float) -> dict[str, Any]:
    """Memory (MB) and seconds of a fit to so many rows, and of their prediction."""
    warnings.simplefilter("ignore")
    table, y = made_rows(pd.read_parquet(columns), n_rows)
    start, hardest = memory_mb("VmRSS"), int(limit * 2**30)
    resource.setrlimit(resource.RLIMIT_DATA, (hardest, hardest))
    model = UnateRegressor(progress=False)
    cpu, wall = time.process_time(), time.perf_counter()
    try:
        model.fit(table, y)
    except MemoryError:
        return {"rows_mb": start, "fit_mb": f"above {limit:g} GB"}
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    of_fit, began = memory_mb("VmHWM"), time.process_time()
    Path("/proc/self/clear_refs").write_text("5")  # the largest memory counts from here on
    model.predict(table)
    return {
        "rows_mb": start,
        "fit_mb": of_fit,
        "fit_cpu_s": round(cpu, 1),
        "fit_wall_s": round(wall, 1),
        "predict_mb": memory_mb("VmHWM"),
        "predict_cpu_s": round(time.process_time() - began, 1),
        "held_out_error": round(float(model.held_out_error_), 5),
    }


def memory_mb(kind: str) -> int:
    """Resident memory of this process: VmRSS now, VmHWM the largest so far."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(kind)) // 1024


def made_rows(real: pd.DataFrame, n_rows: int) -> tuple[pd.DataFrame, NDArray[np.float64]]:
    """A table of so many rows between real ones, and their targets."""
    rng = np.random.default_rng(0)
    names = [name for name in real.columns if name not in ("formula", TARGET)]
    values, gaps = real[names].to_numpy(np.float32), real[TARGET].to_numpy(np.float64)
    table, y = np.empty((n_rows, len(names)), np.float32), np.empty(n_rows)
    for start in range(0, n_rows, STEP):
        n = min(STEP, n_rows - start)
        one, other = rng.integers(len(real), size=(2, n))
        share = rng.uniform(0, 0.5, n).astype(np.float32)
        moved = values[one] + share[:, None] * (values[other] - values[one])
        # What the other crystal lacks does not take it from this one.
        table[start : start + n] = np.where(np.isnan(moved), values[one], moved)
        y[start : start + n] = gaps[one] + share * (gaps[other] - gaps[one])
    frame = pd.DataFrame(table, columns=names)
    formulas = np.array([f"row {k // 2}" for k in range(n_rows)], dtype=object)
    frame.insert(0, "formula", formulas)
    return frame, y


if __name__ == "__main__":
    run_script(main)
