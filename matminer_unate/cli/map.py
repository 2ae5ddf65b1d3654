"""``unate map``: the crystals of a corpus on an interactive page."""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matminer_unate.errors import InputError, UnateWarning
from matminer_unate.network.weights import DEFAULT_WEIGHTS

if TYPE_CHECKING:
    from matminer_unate.engine.report import RowReport
    from matminer_unate.io.input_rows import InputRow
    from matminer_unate.maps.corpus_map import CorpusMap

_ROWS_AT_ONCE = 1_000
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
    parser.set_defaults(errors=None)
    add = parser.add_argument
    add("input", nargs="+", type=Path, metavar="CORPUS", help="any input of unate featurize")
    add("--out", type=Path, required=True, metavar="FILE.html", help="page to write")
    add("--color", metavar="NAME", help="column shown first (default: the first one of numbers)")
    add(
        "--layout",
        choices=_LAYOUTS,
        default="pca",
        help="pca shows distances as they are, umap (pip install umap-learn) groups (default: pca)",
    )
    add("--title", metavar="TEXT", help="of the page (default: the name of the input)")
    add("--column", metavar="NAME", help="column of structures (default: found by its name)")
    add(
        "--weights",
        default=DEFAULT_WEIGHTS,
        metavar="NAME|FOLDER",
        help=f"weights that come with the package, or a folder (default: {DEFAULT_WEIGHTS})",
    )
    add("--device", default="auto", help="auto, cpu, cuda or cuda:<n> (default: auto)")
    add("--accept-doubtful", action="store_true", help="take crystals that contradict their CIFs")
    add("--overwrite", action="store_true", help="replace --out if it exists")
    add("--quiet", action="store_true", help="print nothing but errors")


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
    from matminer_unate.io.readers import open_inputs
    from matminer_unate.io.writing import fresh_file
    from matminer_unate.maps.corpus_map import CorpusMap

    if args.out.suffix != ".html":
        raise InputError(f"{args.out}: the page must end in .html")
    if args.out.exists() and not args.overwrite:
        raise InputError(f"{args.out} exists already; name another file or pass --overwrite")
    bar, report = args.progress, RowReport()
    bar.stage("looking at the input")
    sources = open_inputs(args.input, args.column, accept_doubtful=args.accept_doubtful)
    known = {name for source in sources for name in source.carried}
    if args.color is not None and args.color not in known | {"formula", "space group", "id"}:
        names = ", ".join(sorted(known)) or "none"
        raise InputError(f"the input has no column {args.color!r}; its columns are: {names}")
    corpus = CorpusMap(args.weights, args.device)
    bar.stage("embedding", sum(source.n_rows for source in sources))
    rows = chain.from_iterable(source.rows() for source in sources)
    while some := list(islice(rows, _ROWS_AT_ONCE)):
        _place(corpus, some, report)
        bar.update(len(some))
    bar.stage("drawing")
    title = args.title or f"Map of {', '.join(path.name for path in args.input)}"
    page = corpus.html(args.color, args.layout, title)
    with fresh_file(args.out) as part:
        part.write_text(page, encoding="utf-8")

    def finish() -> int:
        print_report(report, [], sources, args)
        if not args.quiet:
            print(f"{len(corpus.rows):,} crystals on a map: {args.out}")
        return report.n_failed

    return finish


def _place(corpus: CorpusMap, rows: list[InputRow], report: RowReport) -> None:
    good = []
    for row in rows:
        if row.structure is None:
            report.failed(row, row.error or InputError("it could not be read"))
        else:
            report.remark(row)
            good.append(row)
    if not good:
        return
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UnateWarning)
        failed = corpus.add(
            [row.structure for row in good],
            [row.identifier for row in good],
            [row.carried for row in good],
        )
    for number, error in failed.items():
        report.failed(good[number], error)
    report.warned(good, [str(warning.message) for warning in caught])
    report.n_good += len(good) - len(failed)
