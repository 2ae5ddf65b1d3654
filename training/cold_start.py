"""How long does ``unate predict`` take from the prompt to the file, for a few crystals?

    python training/cold_start.py --data mp20_val_test.parquet \\
        --out training/results/cold_start.csv

A ``UnateRegressor`` is fitted to band gaps of ``--labels`` crystals and saved. Then the command
predicts one CIF, and a folder of ``--cifs``, each time in a fresh process, ``--rounds`` times in
turn with processes that do nothing but import what it imports. All files are in the disk cache
after a first round, which is not counted. The crystals have up to 20 sites and are none of those
fitted to. Times are medians, by the clock and of the CPU.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.labelled_tables import structures_of
from harness.command import run_script, script_parser
from harness.result_tables import write_table

IMPORTS = "torch, matminer_unate.cli.commands, matminer_unate.regressors.unate_regressor"
"""What ``unate predict`` imports for such a model."""


def main() -> None:
    args = parse_arguments()
    with tempfile.TemporaryDirectory() as folder:
        commands = prepare(args, Path(folder))
        taken: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
        for number in range(args.rounds + 1):
            for name, command in commands.items():
                found = run(command)
                if number:
                    taken[name].append(found)
    rows: list[dict[str, Any]] = []
    for name, seconds in taken.items():
        wall, cpu = np.median(seconds, axis=0)
        rows.append({"what": name, "seconds": wall, "cpu_seconds": cpu})
        rows[-1] |= {"least_seconds": min(seconds)[0], "rounds": args.rounds}
    table = pd.DataFrame(rows).round(2)
    print(table.to_string(index=False))
    cores = len(os.sched_getaffinity(0))
    write_table(table, args.out, f"{args.labels} labels, seed 0, on {cores} cores")


def parse_arguments() -> argparse.Namespace:
    parser = script_parser(__doc__)
    parser.add_argument("--data", required=True, help="parquet file of structures and gaps")
    parser.add_argument("--labels", type=int, default=200, help="of the model [200]")
    parser.add_argument("--cifs", type=int, default=50, help="[50]")
    parser.add_argument("--rounds", type=int, default=5, help="[5]")
    parser.add_argument("--out", default="cold_start.csv", help="[cold_start.csv]")
    return parser.parse_args()


def prepare(args: argparse.Namespace, folder: Path) -> dict[str, list[str]]:
    """Save the model and the CIFs; the commands that are timed."""
    from matminer_unate import UnateRegressor

    columns = ["lattice", "species", "frac_coords", "n_sites", "band_gap_ev"]
    table = pd.read_parquet(args.data, columns=columns).dropna()
    some = table[table["n_sites"] <= 20].sample(args.labels + args.cifs, random_state=0)
    structures = structures_of(some)
    model = UnateRegressor(random_state=0, progress=False)
    model.fit(structures[: args.labels], some["band_gap_ev"].to_numpy()[: args.labels])
    model.save(folder / "model")
    (folder / "cifs").mkdir()
    for k, structure in enumerate(structures[args.labels :]):
        structure.to(str(folder / "cifs" / f"{k}.cif"))
    unate = [sys.executable, "-m", "matminer_unate", "predict", str(folder / "model")]
    options = ["--out", str(folder / "out.csv"), "--overwrite", "--quiet"]
    return {
        "import torch": [sys.executable, "-c", "import torch"],
        "imports": [sys.executable, "-c", f"import {IMPORTS}"],
        "unate predict, 1 CIF": [*unate, str(folder / "cifs" / "0.cif"), *options],
        f"unate predict, {args.cifs} CIFs": [*unate, str(folder / "cifs"), *options],
    }


def run(command: list[str]) -> tuple[float, float]:
    """Seconds of a fresh process, by the clock and of the CPU."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    run_script(main)
