"""Files, data sets and databases → crystals: read, filtered and deduplicated.

A source is a table (Parquet, CSV, JSON), a folder or file of CIF, POSCAR or pymatgen JSON, or one
of ``matminer_unate/io/databases.py``. A database is read once into a table, which pretraining then
reads in seconds, and the same every time:

    python training/sources.py --data mp:is_stable=true --max-sites 40 --out mp_stable.parquet
"""

from __future__ import annotations

import argparse
from pathlib import Path

from corpora.entries import write_corpus
from corpora.reading import read_with_report
from harness.command import run_script


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", nargs="+", required=True, help="sources")
    parser.add_argument("--out", type=Path, required=True, help="Parquet file to write")
    parser.add_argument("--max-sites", type=int, default=1_000, help="largest cell [1000]")
    parser.add_argument("--exclude-formulas", help="file of formulas to leave out")
    parser.add_argument(
        "--accept-doubtful",
        action="store_true",
        help="take crystals that may be others than their file means, instead of leaving them out",
    )
    args = parser.parse_args(argv)
    # Now, and not after hours of reading.
    if args.out.is_dir():
        parser.error(f"--out {args.out} is a folder; name a file")
    if args.out.suffix not in (".parquet", ".pq"):
        parser.error(f"--out {args.out}: the table is Parquet; name it .parquet")
    args.out.parent.mkdir(parents=True, exist_ok=True)
    crystals, report = read_with_report(
        args.data,
        args.max_sites,
        None,
        exclude_formulas=args.exclude_formulas,
        accept_doubtful=args.accept_doubtful,
    )
    write_corpus(args.out, crystals)
    print(f"{args.out}: {report}")


if __name__ == "__main__":
    run_script(main)
