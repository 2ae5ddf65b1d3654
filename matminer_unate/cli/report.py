"""What the command line tells of rows: failures, doubts, what was left out."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from matminer_unate.engine.report import SHOWN_FAILURES, RowReport
from matminer_unate.io.input_rows import Source

_REMARKS = {
    "doubtful": "warning: {n} row(s) were taken as asked, but may be other crystals than their "
    "files mean; the first is {first} ({cure})",
    "remark": "note: there are remarks on how {n} row(s) were read; the first is {first} ({cure})",
}
"""By status of a row in the file of errors."""

_SAME = "the same"
"""In place of the reason of the row before."""


def say(text: str) -> None:
    """Print a line on stderr."""
    print(f"unate: {text}", file=sys.stderr)


def print_report(
    report: RowReport, notes: Sequence[str], sources: Sequence[Source], args: argparse.Namespace
) -> None:
    """Tell of warnings and failures, on stderr.

    Parameters
    ----------
    report : RowReport
    notes : sequence of str
        What is to be said of rows that got their columns all the same.
    sources : sequence of Source
    args : Namespace
        With ``quiet`` and ``errors``.
    """
    if not args.quiet:
        for text in notes:
            say(f"warning: {text}")
        _print_remarks(report, args)
        _print_warnings(report)
        for source in sources:
            _print_left(source)
    if not report.n_failed:
        return
    say(f"{report.n_failed:,} of {report.n_failed + report.n_good:,} rows failed:")
    width, before = min(48, max(len(place) for place, _ in report.shown)), ""
    for place, reason in report.shown:
        same = reason == before and len(reason) > len(_SAME)
        print(f"  {place:<{width}}  {_SAME if same else reason}", file=sys.stderr)
        before = reason
    more = report.n_failed - len(report.shown)
    if more:
        cure = "" if args.errors else f" ({_cure(args)})"
        print(f"  … and {more:,} more{cure}", file=sys.stderr)
    if args.errors:
        print(f"  all of them: {args.errors}", file=sys.stderr)


def _cure(args: argparse.Namespace) -> str:
    shard = getattr(args, "shard", None)
    command = "--errors" if shard is None or shard.n == 1 else "unate merge --errors"
    return f"{command} FILE.csv writes all of them"


def _print_remarks(report: RowReport, args: argparse.Namespace) -> None:
    cure = f"all: {args.errors}" if args.errors else _cure(args)
    for status, text in _REMARKS.items():
        count, place = report.remarks.get(status, (0, ""))
        if count:
            say(text.format(n=f"{count:,}", first=place, cure=cure))


def _print_warnings(report: RowReport) -> None:
    found = list(report.warnings.items())
    for text, (n, first) in found[:SHOWN_FAILURES]:
        where = f"; the first is {first}" if first else ""
        say(f"warning: {f'{n:,} ' if n else ''}{text}{where}")
    if len(found) > SHOWN_FAILURES:
        say(f"… and {len(found) - SHOWN_FAILURES:,} more warnings of the model")


def _print_left(source: Source) -> None:
    """What of an input is not in the output."""
    if source.left_behind:
        say(
            f"note: {len(source.left_behind):,} column(s) of {source.path} are lists, dicts or "
            "other structures and are not in the output: "
            f"{_some(list(map(repr, source.left_behind)), 8)}"
        )
    if source.skipped:
        say(
            f"note: {len(source.skipped):,} other file(s) in {source.path} were not read: "
            f"{_some([path.name for path in source.skipped], 3)}"
        )


def _some(names: Sequence[str], n: int) -> str:
    return ", ".join(names[:n]) + (", …" if len(names) > n else "")
