"""Files, data sets and databases → crystals: read, filtered and deduplicated.

A source is a table (Parquet, CSV, JSON), a folder or file of CIF, POSCAR or pymatgen JSON, or one
of ``matminer_unate/io/databases.py``. A database is read once into a table, which pretraining then
reads in seconds, and the same every time:

    python training/sources.py --data mp:is_stable=true --max-sites 40 --out mp_stable.parquet
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from corpora.crystal import Crystal
from corpora.reading import read_with_report
from harness.command import run_script

# -- command --------------------------------------------------------------------------------------


def write_table(path: Path, crystals: Sequence[Crystal]) -> None:
    """Write crystals as the Parquet table that is read fastest."""
    columns = {
        "material_id": [c.identifier for c in crystals],
        "lattice": [c.lattice.ravel() for c in crystals],
        "frac_coords": [c.frac_coords.ravel() for c in crystals],
        "species": [c.atomic_numbers.astype(np.int16) for c in crystals],
        "formula_reduced": [c.formula for c in crystals],
        "spacegroup_number": [c.spacegroup_number for c in crystals],
    }
    pd.DataFrame(columns).to_parquet(path)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", nargs="+", required=True, help="sources")
    parser.add_argument("--out", type=Path, required=True, help="Parquet file to write")
    parser.add_argument("--max-sites", type=int, default=1_000, help="largest cell [1000]")
    parser.add_argument("--exclude-formulas", help="file of formulas to leave out")
    args = parser.parse_args(argv)
    # Now, and not after hours of reading.
    if args.out.is_dir():
        parser.error(f"--out {args.out} is a folder; name a file")
    args.out.parent.mkdir(parents=True, exist_ok=True)
    crystals, report = read_with_report(
        args.data, args.max_sites, None, exclude_formulas=args.exclude_formulas
    )
    write_table(args.out, crystals)
    print(f"{args.out}: {report}")


if __name__ == "__main__":
    run_script(main)
