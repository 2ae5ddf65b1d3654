"""Weights and crystals → site embeddings (Parquet) and one embedding an element (CSV).

    python training/embedding_tables.py --weights mp_v3 --data mp_mtcgcnn.parquet --part train \\
        --out tables

writes ``site_embeddings.parquet`` (one row a site: ``identifier``, ``site``, ``atomic_number``,
``z_000`` …) and ``element_embeddings.csv`` (one row an element: ``atomic_number``, ``symbol``,
``n_sites``, ``own_share``, ``z_000`` …). Both come from clean crystals and the network in
evaluation mode.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.embeddings.element_means import ENOUGH_SITES, element_frame
from benchmarks.embeddings.site_tables import export_sites
from corpora.reading import read_with_report
from harness.command import run_script, script_parser
from harness.result_tables import write_table
from matminer_unate.network.weights import DEFAULT_WEIGHTS, weights_config

SITES_FILE, ELEMENTS_FILE = "site_embeddings.parquet", "element_embeddings.csv"


def main(argv: list[str] | None = None) -> None:
    args = parse_arguments(argv)
    crystals, _ = read_with_report(args.data, args.max_sites, args.part)
    folder = Path(args.out)
    folder.mkdir(parents=True, exist_ok=True)
    means = export_sites(crystals, args.weights, None if args.no_sites else folder / SITES_FILE)
    note = (
        f"{len(crystals)} crystals, {means.count.sum()} sites; mean over the sites of an element; "
        f"below {ENOUGH_SITES} sites own_share of it and the rest the mean of its group; "
        f"variance within elements {means.within_share():.4f}"
    )
    table = element_frame(means, weights_config(args.weights))
    write_table(table, str(folder / ELEMENTS_FILE), note)


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = script_parser(__doc__)
    parser.add_argument("--weights", default=DEFAULT_WEIGHTS, help=f"[{DEFAULT_WEIGHTS}]")
    parser.add_argument("--data", nargs="+", required=True, help="parquet files or folders of CIFs")
    parser.add_argument("--part", choices=["train", "val", "test"], help="of the formulas [all]")
    parser.add_argument("--max-sites", type=int, default=60, help="sites a cell at most [60]")
    parser.add_argument("--no-sites", action="store_true", help="write the element table only")
    parser.add_argument("--out", default="embeddings", help="folder [embeddings]")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run_script(main)
