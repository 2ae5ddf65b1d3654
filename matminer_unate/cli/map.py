"""``unate map``: the crystals of a corpus on an interactive page."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matminer_unate.cli.embedding import (
    add_embedding_options,
    check_out,
    embed_rows,
    open_corpus,
)
from matminer_unate.cli.options import input_path
from matminer_unate.errors import InputError, StructureError

if TYPE_CHECKING:
    from matminer_unate.io.input_rows import InputRow

_LAYOUTS = ("pca", "umap")


def add_map(commands: Any) -> None:
    """Add the command to those of a parser."""
    parser = commands.add_parser(
        "map",
        help="draw the crystals of a corpus on an interactive page",
        description=(
            "Place crystals by their embeddings on a page of one HTML file, which needs no\n"
            "network: hover for formula and space group, colour by any column of the table, find\n"
            "formulas and elements, draw a lasso and save what is in it as CSV."
        ),
        epilog=(
            "examples:\n"
            "  unate map corpus.parquet --color band_gap_ev --out map.html\n"
            "  unate map my_cifs/ --out map.html"
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("input", nargs="+", type=input_path, metavar="CORPUS", help="any input of unate featurize")
    add("--out", type=Path, required=True, metavar="FILE.html", help="page to write")
    add("--color", metavar="NAME", help="column shown first (default: the first one of numbers)")
    add(
        "--layout",
        choices=_LAYOUTS,
        default="pca",
        help="pca shows distances as they are, umap (pip install umap-learn) groups (default: pca)",
    )
    add("--title", metavar="TEXT", help="of the page (default: the name of the input)")
    add_embedding_options(parser, "print nothing but errors")


def draw_map(args: argparse.Namespace) -> Callable[[], int]:
    """Place the crystals, and write the page.

    Parameters
    ----------
    args : Namespace
        Of the command line, and ``progress`` (CommandProgress).

    Returns
    -------
    callable
        Tells of what was done, after the progress has gone; returns how many rows failed.
    """
    from matminer_unate.cli.report import print_report
    from matminer_unate.engine.report import RowReport
    from matminer_unate.io.whole_files import fresh_file
    from matminer_unate.maps.corpus_map import CorpusMap

    if args.out.suffix != ".html":
        raise InputError(f"{args.out}: the page must end in .html")
    check_out(args.out, "--out", args.overwrite)
    if args.layout == "umap" and find_spec("umap") is None:
        raise InputError("--layout umap needs umap-learn: pip install umap-learn")
    report, sources = RowReport(), open_corpus(args.input, args)
    known = {name for source in sources for name in source.carried}
    if args.color is not None and args.color not in known | {"formula", "space group", "id"}:
        names = ", ".join(sorted(known)) or "none"
        raise InputError(f"the input has no column {args.color!r}; its columns are: {names}")
    corpus = CorpusMap(args.weights, args.device, args.disorder)

    def place(rows: list[InputRow]) -> dict[int, StructureError]:
        structures, ids = [row.structure for row in rows], [row.identifier for row in rows]
        return corpus.add(structures, ids, [row.carried for row in rows])

    embed_rows(sources, args, report, place)
    args.progress.stage("drawing")
    titles = (path.name if isinstance(path, Path) else path for path in args.input)
    problem = None
    try:
        page = corpus.html(args.color, args.layout, args.title or f"Map of {', '.join(titles)}")
    except InputError as e:  # as of too few crystals, whose reasons are told before
        problem = e
    else:
        with fresh_file(args.out) as part:
            part.write_text(page, encoding="utf-8")

    def finish() -> int:
        print_report(report, [], sources, args)
        if problem is not None:
            raise problem
        if not args.quiet:
            print(f"{len(corpus.rows):,} crystals on a map: {args.out}")
        return report.n_failed

    return finish
