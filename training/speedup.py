"""How much faster than a former version? The same calls of both, in turn, on one machine.

    git worktree add ../before d0ec161
    python training/speedup.py --before ../before --data data/mp_mtcgcnn.parquet \\
        --out training/results/speedup.csv

``TightBindingStats`` and ``UnateRegressor.featurize`` on small and on large cells: the first call
of a process, imports and the reading of structures apart, and later ones. Every case runs in fresh
processes, both versions in turn; medians over the rounds. Threads are as users have them. Of many
crystals, later calls find the worker processes that former ones have started.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pandas as pd

from benchmarks.labelled_tables import structures_of
from harness import timed_calls
from harness.command import run_script, script_parser
from harness.result_tables import write_table

CASES = {
    "TightBindingStats, at most 20 sites": ("TightBindingStats", 1, 20, 200),
    "TightBindingStats, 50 to 100 sites": ("TightBindingStats", 50, 100, 40),
    "UnateRegressor.featurize, at most 20 sites": ("UnateRegressor", 1, 20, 200),
    "UnateRegressor.featurize, 50 to 100 sites": ("UnateRegressor", 50, 100, 40),
    "TightBindingStats, at most 20 sites, 1,000 crystals": ("TightBindingStats", 1, 20, 1_000),
    "UnateRegressor.featurize, at most 20 sites, 1,000 crystals": ("UnateRegressor", 1, 20, 1_000),
    "UnateRegressor.featurize, 50 to 100 sites, 200 crystals": ("UnateRegressor", 50, 100, 200),
}
"""Class, sites of a cell from and to, and crystals."""


def main() -> None:
    args = parse_arguments()
    here = Path(__file__).resolve().parents[1]
    table = pd.read_parquet(args.data)
    rows = []
    for name in args.only or CASES:
        kind, low, high, n = CASES[name]
        some = table[table["n_sites"].between(low, high)].sample(n, random_state=0)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "structures.json"
            path.write_text(json.dumps([structure.as_dict() for structure in structures_of(some)]))
            for _ in range(args.rounds):
                for version, checkout in (("before", args.before), ("now", here)):
                    found = in_a_fresh_process(kind, path, Path(checkout))
                    case = {"case": name, "version": version}
                    rows += [case | {"call": call} | times for call, times in found]
                    print(rows[-1], flush=True)
    summary = summarise(pd.DataFrame(rows))
    print(summary.to_string(index=False))
    write_table(summary, args.out, f"medians over {args.rounds} rounds, default threads, seed 0")


def parse_arguments() -> argparse.Namespace:
    parser = script_parser(__doc__)
    parser.add_argument("--before", required=True, help="checkout of the former version")
    parser.add_argument("--data", required=True, help="parquet file of structures")
    parser.add_argument("--rounds", type=int, default=3, help="[3]")
    parser.add_argument("--only", nargs="+", choices=CASES, help="cases [all]")
    parser.add_argument("--out", default="speedup.csv", help="[speedup.csv]")
    args = parser.parse_args()
    if not Path(args.before).is_dir():
        parser.error("--before names the folder of a checkout")
    return args


def in_a_fresh_process(
    kind: str, structures: Path, checkout: Path
) -> list[tuple[str, dict[str, float]]]:
    """Times of the first call and of later ones, with the package of a checkout."""
    done = subprocess.run(
        [sys.executable, timed_calls.__file__, kind, structures],
        env={**os.environ, "PYTHONPATH": str(checkout.resolve())},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found: dict[str, dict[str, float]] = json.loads(done.stdout.splitlines()[-1])
    return list(found.items())


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
