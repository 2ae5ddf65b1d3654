"""``unate similar``: the crystals of a corpus that are most like some, or that are there twice."""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable
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
from matminer_unate.network.weights import DEFAULT_WEIGHTS

if TYPE_CHECKING:
    import pandas as pd

    from matminer_unate.engine.report import RowReport
    from matminer_unate.familiarity.index import UnateIndex
    from matminer_unate.io.input_rows import InputRow, Source

_SHOWN = 50


def add_similar(commands: Any) -> None:
    """Add the command to those of a parser."""
    parser = commands.add_parser(
        "similar",
        usage="unate similar [QUERY ...] --in CORPUS [CORPUS ...] [options]",
        help="find the crystals of a corpus that are most like some",
        description=(
            "Find the crystals of a corpus whose site embeddings are most like those of the\n"
            "queries (UnateIndex), or, with --duplicates, the crystals that are in it twice.\n"
            "QUERY and CORPUS are any input of unate featurize; the corpus may also be an index\n"
            "that --save has written."
        ),
        epilog=(
            "examples:\n"
            "  unate similar query.cif --in corpus.parquet -k 10\n"
            "  unate similar my_cifs/ --in corpus.parquet --out nearest.csv\n"
            "  unate similar --in corpus.parquet --save corpus_index/\n"
            "  unate similar query.cif --in corpus_index/\n"
            "  unate similar --in corpus.parquet --duplicates --out twice.csv"
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "input",
        nargs="*",
        type=input_path,
        metavar="QUERY",
        help="crystals to compare with the corpus",
    )
    add(
        "--in",
        dest="corpus",
        nargs="+",
        required=True,
        type=input_path,
        metavar="CORPUS",
        help="crystals to search, or a saved index of them",
    )
    add("-k", type=int, default=10, metavar="N", help="neighbours of each query (default: 10)")
    add(
        "--duplicates",
        action="store_true",
        help="list crystals of the corpus that are the same as an earlier one",
    )
    add(
        "--distance",
        type=float,
        metavar="D",
        help="of the same formula and no farther apart are the same crystal (default: as "
        "UnateIndex.duplicates)",
    )
    add("--out", type=Path, metavar="FILE", help="write to this .csv or .parquet, not the screen")
    add("--save", type=Path, metavar="FOLDER", help="keep the index of the corpus")
    add_embedding_options(
        parser, "print nothing but the result and errors", average=True, of_index=True
    )


def similar(args: argparse.Namespace) -> Callable[[], int]:
    """Search, or look for duplicates; what is returned prints the result.

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
    from matminer_unate.familiarity.index import UnateIndex

    _check(args)
    report = RowReport()
    options = {"device": args.device, "on_error": "nan", "disorder": args.disorder}
    sources: list[Source] = []
    if len(args.corpus) == 1 and (Path(args.corpus[0]) / "rows.json").is_file():
        index = UnateIndex.load(args.corpus[0], args.weights, **options)
    else:
        index = UnateIndex((), None, args.weights or DEFAULT_WEIGHTS, **options)
        sources += _fill(index, args.corpus, args, report)
    found, problem = None, "" if any(index.formulas) else "the corpus has no usable crystal"
    if args.save is not None and not problem:
        index.save(args.save)
    if args.duplicates and not problem:
        found = _duplicates(index, args.distance)
    elif args.input and not problem:
        asked = UnateIndex((), None, index.weights, **options)
        sources += _fill(asked, args.input, args, report)
        if any(asked.formulas):
            found = _neighbours(index, asked, args.k)
        else:
            problem = "no query is a usable crystal"

    def finish() -> int:
        print_report(report, [], sources, args)
        if problem:
            raise InputError(problem)
        if found is not None:
            _give(found, args)
        if args.save is not None and not args.quiet:
            print(f"{len(index):,} crystals: {args.save}")
        return report.n_failed

    return finish


def _check(args: argparse.Namespace) -> None:
    if args.duplicates and args.input:
        raise InputError("--duplicates looks within --in; give no queries beside it")
    if not (args.input or args.duplicates or args.save):
        raise InputError("nothing to do; give queries, before --in, or --duplicates or --save")
    if args.out is not None and args.out.suffix not in (".csv", ".parquet"):
        raise InputError(f"{args.out}: the table must end in .csv or .parquet")
    if args.k < 1:
        raise InputError(f"-k is a whole number from 1 on, got {args.k}")
    if args.distance is not None and not args.distance >= 0:
        raise InputError(f"--distance must be 0 or more, got {args.distance}")
    check_out(args.out, "--out", args.overwrite)
    check_out(args.save, "--save", args.overwrite)


def _fill(
    index: UnateIndex, paths: list[str | Path], args: argparse.Namespace, report: RowReport
) -> list[Source]:
    """Put crystals into an index."""

    def take(rows: list[InputRow]) -> dict[int, StructureError]:
        before = len(index)
        warnings.filterwarnings("ignore", message=r"\d+ of \d+ rows could not be encoded")
        index.add([row.structure for row in rows], [row.identifier for row in rows])
        fresh = range(before, len(index))
        return {row - before: index.errors[row] for row in fresh if row in index.errors}

    sources = open_corpus(paths, args)
    embed_rows(sources, args, report, take)
    return sources


def _neighbours(index: UnateIndex, asked: UnateIndex, k: int) -> pd.DataFrame:
    """Of all queries, with the ids of these in place of their numbers."""
    found = index.query_embeddings(asked.embeddings, k)
    found["query"] = [asked.ids[row] for row in found["query"]]
    return found


def _duplicates(index: UnateIndex, distance: float | None) -> pd.DataFrame:
    """Rows that repeat an earlier one."""
    import numpy as np
    import pandas as pd

    first = index.duplicates() if distance is None else index.duplicates(distance)
    rows = np.flatnonzero(first != np.arange(len(index)))
    apart = index.embeddings[rows].astype(np.float64) - index.embeddings[first[rows]]
    return pd.DataFrame(
        {
            "row": rows,
            "id": [index.ids[row] for row in rows],
            "formula": [index.formulas[row] for row in rows],
            "same_as_row": first[rows],
            "same_as_id": [index.ids[row] for row in first[rows]],
            "distance": np.linalg.norm(apart, axis=1),
        }
    )


def _give(found: pd.DataFrame, args: argparse.Namespace) -> None:
    if args.out is None:
        shown = found.head(_SHOWN * args.k) if args.input else found.head(_SHOWN)
        if len(shown):
            print(shown.to_string(index=False, float_format="{:.4f}".format))
        if len(shown) < len(found):
            print(f"… and {len(found) - len(shown):,} more (--out FILE.csv writes all of them)")
    else:
        from matminer_unate.io.whole_files import fresh_file

        with fresh_file(args.out) as part:
            if args.out.suffix == ".csv":
                found.to_csv(part, index=False)
            else:
                found.to_parquet(part, index=False)
    if not args.quiet:
        what = "duplicates" if args.duplicates else "neighbours"
        print(f"{len(found):,} {what}" + (f": {args.out}" if args.out else ""))
