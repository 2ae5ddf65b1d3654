"""How much faster than a former version? The same calls of both, in turn, on one machine.

    git worktree add ../before 6e3bd2b
    python training/speedup.py --before ../before --data data/mp_mtcgcnn.parquet \\
        --out training/results/speedup.csv

``TightBindingStats`` and ``UnateRegressor.featurize`` on small and on large cells: the first call
of a process, imports and the reading of structures apart, and later ones. Every case runs in fresh
processes, both versions in turn; medians over the rounds. Threads are as users have them.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.labelled_tables import structures_of
from harness.command import run_script, script_parser
from harness.result_tables import write_table

CASES = {
    "TightBindingStats, at most 20 sites": ("TightBindingStats", 1, 20, 200),
    "TightBindingStats, 50 to 100 sites": ("TightBindingStats", 50, 100, 40),
    "UnateRegressor.featurize, at most 20 sites": ("UnateRegressor", 1, 20, 200),
    "UnateRegressor.featurize, 50 to 100 sites": ("UnateRegressor", 50, 100, 40),
}
"""Class, sites of a cell from and to, and crystals."""


def main() -> None:
    args = parse_arguments()
    if args.measure:
        print(json.dumps(measure(args.measure, args.data)))
        return
    here = Path(__file__).resolve().parents[1]
    rows = []
    for name in args.only or CASES:
        for _ in range(args.rounds):
            for version, checkout in (("before", args.before), ("now", here)):
                found = in_a_fresh_process(name, args.data, Path(checkout))
                rows += [{"case": name, "call": call, "version": version} | t for call, t in found]
                print(rows[-1], flush=True)
    summary = summarise(pd.DataFrame(rows))
    print(summary.to_string(index=False))
    write_table(summary, args.out, f"medians over {args.rounds} rounds, default threads, seed 0")


def parse_arguments() -> argparse.Namespace:
    parser = script_parser(__doc__)
    parser.add_argument("--before", help="checkout of the former version")
    parser.add_argument("--data", required=True, help="parquet file of structures")
    parser.add_argument("--rounds", type=int, default=3, help="[3]")
    parser.add_argument("--only", nargs="+", choices=CASES, help="cases [all]")
    parser.add_argument("--out", default="speedup.csv", help="[speedup.csv]")
    parser.add_argument("--measure", choices=CASES, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if not args.measure and not (args.before and Path(args.before).is_dir()):
        parser.error("--before names the folder of a checkout")
    return args


def in_a_fresh_process(name: str, data: str, checkout: Path) -> list[tuple[str, dict[str, float]]]:
    """What :func:`measure` finds with the package of a checkout."""
    paths = checkout.resolve(), Path(__file__).parent
    done = subprocess.run(
        [sys.executable, __file__, "--data", data, "--measure", name],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found: dict[str, dict[str, float]] = json.loads(done.stdout.splitlines()[-1])
    return list(found.items())


def measure(name: str, data: str) -> dict[str, dict[str, float]]:
    """Milliseconds a crystal of the first call and of the best of three later ones."""
    warnings.simplefilter("ignore")
    import matminer_unate

    kind, low, high, rows = CASES[name]
    table = pd.read_parquet(data)
    table = table[table["n_sites"].between(low, high)].sample(rows, random_state=0)
    structures = structures_of(table)
    estimator: Any = getattr(matminer_unate, kind)(on_error="nan")
    call = estimator.featurize if kind == "UnateRegressor" else estimator.transform
    times = []
    for _ in range(4):
        cpu, wall = time.process_time(), time.perf_counter()
        call(structures)
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        times.append({"cpu_ms": 1e3 * cpu / rows, "wall_ms": 1e3 * wall / rows})
    return {"first": times[0], "later": min(times[1:], key=lambda t: t["wall_ms"])}


def summarise(rows: pd.DataFrame) -> pd.DataFrame:
    """Both versions side by side, with the ratio of their times."""
    medians = rows.groupby(["case", "call", "version"], sort=False).median().unstack()
    result = medians.copy()
    result.columns = [f"{quantity}_{version}" for quantity, version in medians.columns]
    for quantity in ("cpu", "wall"):
        before, now = result[f"{quantity}_ms_before"], result[f"{quantity}_ms_now"]
        result[f"{quantity}_ratio"] = before / now
    return result.round(3).reset_index()


if __name__ == "__main__":
    run_script(main)
