"""Do columns agree between processors, and where coordinates differ by rounding?

    python training/agreement.py --data data/mp_mtcgcnn.parquet --out training/results/agreement.csv

All columns of ``UnateRegressor`` for real crystals, once as usual and again in fresh processes with
the kernels that OpenBLAS and torch take on other processors, and with every atom moved by 10⁻⁹ Å.
Differences are told in units of a column's standard deviation over the crystals.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_info

from benchmarks.labelled_tables import structures_of
from harness.command import run_script, script_parser
from harness.result_tables import write_table
from matminer_unate import UnateRegressor

KERNELS: dict[str, dict[str, str]] = {
    "usual": {},
    "Haswell": {"OPENBLAS_CORETYPE": "Haswell"},
    "SkylakeX": {"OPENBLAS_CORETYPE": "SkylakeX"},
    "Nehalem": {"OPENBLAS_CORETYPE": "Nehalem"},
    "Nehalem, torch without AVX": {
        "OPENBLAS_CORETYPE": "Nehalem",
        "ATEN_CPU_CAPABILITY": "default",
        "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
    },
}
MOVE = 1e-9
"""Å."""
SAME, FAR = 1e-3, 0.05
"""Standard deviations of a column: what counts as the same value, and as another one."""


def main(argv: list[str] | None = None) -> None:
    args = parse_arguments(argv)
    if args.columns:
        write_columns(args)
        return
    with tempfile.TemporaryDirectory() as folder:
        found: dict[tuple[str, bool], pd.DataFrame] = {}
        for kernels in KERNELS:
            for moved in (False, True):
                file = Path(folder) / f"{len(found)}.parquet"
                if compute(args, kernels, moved, file):
                    found[kernels, moved] = pd.read_parquet(file)
                else:
                    print(f"{kernels}: this processor has no such kernels", flush=True)
    usual = found.pop(("usual", False))
    table = pd.DataFrame([compare(usual, columns, *key) for key, columns in found.items()])
    print(table.to_string(index=False))
    write_table(table, args.out, f"{len(usual)} crystals of at most {args.max_sites} sites, seed 0")


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = script_parser(__doc__)
    parser.add_argument("--data", required=True, help="parquet file of structures")
    parser.add_argument("--rows", type=int, default=1000, help="crystals [1000]")
    parser.add_argument("--max-sites", type=int, default=20, help="of a cell [20]")
    parser.add_argument("--out", default="agreement.csv")
    parser.add_argument("--columns", help=argparse.SUPPRESS)  # what a process of its own writes
    parser.add_argument("--moved", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def compute(args: argparse.Namespace, kernels: str, moved: bool, file: Path) -> bool:
    """Write the columns in a process of its own; whether it has the kernels that were asked for."""
    command = [sys.executable, __file__, "--data", args.data, "--rows", str(args.rows)]
    command += ["--max-sites", str(args.max_sites), "--columns", str(file)]
    command += ["--moved"] if moved else []
    done = subprocess.run(command, env={**os.environ, **KERNELS[kernels]}, check=False)
    if done.returncode > 0:
        raise SystemExit(done.returncode)
    # Killed by a signal: an instruction this processor lacks.
    return done.returncode == 0 and file.is_file()


def write_columns(args: argparse.Namespace) -> None:
    """All columns of the crystals, unless BLAS has other kernels than were asked for."""
    wanted = os.environ.get("OPENBLAS_CORETYPE")
    if wanted not in (None, *(library.get("architecture") for library in threadpool_info())):
        return
    table = pd.read_parquet(args.data)
    table = table[table["n_sites"] <= args.max_sites].sample(args.rows, random_state=0)
    structures = structures_of(table)
    if args.moved:
        random = np.random.default_rng(0)
        for structure in structures:
            for site in structure:
                direction = random.normal(size=3)
                site.coords += MOVE * direction / np.linalg.norm(direction)
    columns = UnateRegressor(on_error="nan").featurize(structures)
    columns.drop(columns="formula").astype(np.float64).to_parquet(args.columns)


def compare(
    usual: pd.DataFrame, other: pd.DataFrame, kernels: str, moved: bool
) -> dict[str, object]:
    """How far columns are from the usual ones, and which is the worst."""
    spread = usual.std().to_numpy()
    kept = spread > 0
    apart = np.abs(other.to_numpy() - usual.to_numpy())[:, kept] / spread[kept]
    missing = usual.isna().to_numpy()[:, kept] != other.isna().to_numpy()[:, kept]
    apart = np.where(missing, np.inf, np.nan_to_num(apart, nan=0.0))
    row, column = np.unravel_index(apart.argmax(), apart.shape)
    return {
        "kernels": kernels,
        "atoms_moved_angstrom": MOVE if moved else 0.0,
        "values": apart.size,
        "same_share": float((apart <= SAME).mean()),
        "n_far": int((apart > FAR).sum()),
        "largest": float(apart.max()),
        "largest_row": int(row),
        "largest_column": usual.columns[kept][column],
        "quantile_0.999": float(np.quantile(apart, 0.999)),
    }


if __name__ == "__main__":
    run_script(main)
