"""What ``unate similar`` and ``unate map`` share: options, and the embedding of their inputs."""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

from matminer_unate.cli.options import add_column, add_device, add_disorder, add_weights
from matminer_unate.errors import InputError, StructureError, UnateWarning
from matminer_unate.network.weights import DEFAULT_WEIGHTS

if TYPE_CHECKING:
    from matminer_unate.engine.report import RowReport
    from matminer_unate.io.input_rows import InputRow, Source

_ROWS_AT_ONCE = 1_000

Take = Callable[[list["InputRow"]], Mapping[int, StructureError]]
"""Takes rows with structures; returns the errors of those that are unusable, by number."""


def add_embedding_options(
    parser: argparse.ArgumentParser, quiet: str, average: bool = False, of_index: bool = False
) -> None:
    """Add the options of input and weights.

    Parameters
    ----------
    parser : ArgumentParser
    quiet : str
        What that option does.
    average : bool
        Whether disordered crystals can be embedded by the occupancies of their sites.
    of_index : bool
        Whether a saved index may name the weights; the default is None then.
    """
    parser.set_defaults(errors=None)
    add_column(parser)
    if of_index:
        add_weights(parser, None, f"{DEFAULT_WEIGHTS}, or those of a saved index")
    else:
        add_weights(parser)
    add_device(parser)
    add = parser.add_argument
    add("--accept-doubtful", action="store_true", help="take crystals that contradict their CIFs")
    add_disorder(parser, average=average)
    add("--overwrite", action="store_true", help="replace what exists already")
    add("--quiet", action="store_true", help=quiet)


def check_out(path: Path | None, option: str, overwrite: bool) -> None:
    """Raise InputError if a file cannot be made, or is there and not to be replaced."""
    if path is not None and not path.absolute().parent.is_dir():
        raise InputError(f"{option} {path}: the folder it is in does not exist; create it first")
    if path is not None and path.exists() and not overwrite:
        raise InputError(f"{option} {path} exists already; name another or pass --overwrite")


def open_corpus(paths: Sequence[str | Path], args: argparse.Namespace) -> list[Source]:
    """The inputs, looked at."""
    from matminer_unate.io.readers import open_inputs

    args.progress.stage("looking at the input")
    return open_inputs(list(paths), args.column, accept_doubtful=args.accept_doubtful)


def embed_rows(
    sources: Sequence[Source], args: argparse.Namespace, report: RowReport, take: Take
) -> None:
    """Have all rows taken, a thousand at a time, and tell what became of them."""
    args.progress.stage("embedding", sum(source.n_rows for source in sources))
    rows = chain.from_iterable(source.rows() for source in sources)
    while some := list(islice(rows, _ROWS_AT_ONCE)):
        good = list(_readable(some, report))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UnateWarning)
            failed = take(good)
        for number, error in failed.items():
            report.failed(good[number], error)
        report.warned(good, [str(warning.message) for warning in caught])
        report.n_good += len(good) - len(failed)
        args.progress.update(len(some))


def _readable(rows: list[InputRow], report: RowReport) -> Iterator[InputRow]:
    for row in rows:
        if row.structure is None:
            report.failed(row, row.error or InputError("it could not be read"))
        else:
            report.remark(row)
            yield row
