"""What the command line tells of rows: progress, failures, doubts."""

from __future__ import annotations

import argparse
import csv
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from matminer_unate.featurizers.rows import RowNotes
from matminer_unate.io.input_rows import InputRow, Source
from matminer_unate.io.writing import fresh_file

SHOWN_FAILURES = 20

_ROW = re.compile(r"\brow (\d+)( \(index [^)]*\))?")
_COUNTED = re.compile(r"(\d+) (?:of \d+ )?(row(?:s|\(s\)) .*?)(?:; the first is (.*))?", re.DOTALL)
_REMARKS = {
    "doubtful": "warning: {n} row(s) were taken as asked, but may be other crystals than their "
    "files mean; the first is {first} ({cure})",
    "remark": "note: there are remarks on how {n} row(s) were read; the first is {first} ({cure})",
}
"""By status of a row in the file of errors."""


def say(text: str) -> None:
    """Print a line on stderr."""
    print(f"unate: {text}", file=sys.stderr)


@contextmanager
def failure_file(path: Path | None) -> Iterator[Any]:
    """A csv.writer for the rows that failed or that there is a remark on, or None."""
    if path is None:
        yield None
        return
    with fresh_file(path) as part, part.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "place", "status", "reason"])
        yield writer


def _place(rows: list[InputRow], found: re.Match[str]) -> str:
    row = int(found[1])
    return rows[row].place if row < len(rows) else found[0]


@dataclass
class Report:
    """What happened to the rows; the counts of all, but only the first few failures."""

    n_failed: int = 0
    shown: list[tuple[str, str]] = field(default_factory=list)
    notes: dict[str, RowNotes] = field(default_factory=dict)
    """By the name of the featurizer."""
    model_notes: dict[str, tuple[int, str | None]] = field(default_factory=dict)
    remarks: dict[str, tuple[int, str]] = field(default_factory=dict)
    """By status, doubtful or remark: how many rows, and the first of them."""
    failures: Any = None
    bar: Any = None

    def remark(self, row: InputRow) -> None:
        """How a row was read that gets its columns."""
        if not (row.doubts or row.notes):
            return
        status = "doubtful" if row.doubts else "remark"
        reason = "; ".join((*row.doubts, *row.notes))
        count, first = self.remarks.get(status, (0, f"{row.place}: {reason}"))
        self.remarks[status] = (count + 1, first)
        self._write(row, status, reason)

    def noted(self, featurizer: str, notes: RowNotes) -> None:
        """What a featurizer counted in some of the rows."""
        if featurizer in self.notes:
            self.notes[featurizer].add(notes)
        else:
            self.notes[featurizer] = notes

    def warned(self, rows: list[InputRow], texts: list[str]) -> None:
        """What a model said while it predicted these rows."""
        for text in texts:
            # A model numbers the rows of its own chunk, and counts them.
            named = _ROW.sub(lambda found: _place(rows, found), text)
            counted = _COUNTED.fullmatch(named)
            count, what, first = counted.groups() if counted else (0, named, None)
            before, first_before = self.model_notes.get(what, (0, first))
            self.model_notes[what] = before + int(count), first_before

    def failed(self, row: InputRow, error: Exception) -> None:
        self.n_failed += 1
        reason = " ".join(str(error).split())
        if len(self.shown) < SHOWN_FAILURES:
            self.shown.append((row.place, reason))
        self._write(row, "failed", reason)
        self.bar.update()

    def _write(self, row: InputRow, status: str, reason: str) -> None:
        if self.failures is not None:
            self.failures.writerow([row.identifier, row.place, status, reason])

    def print(self, sources: Sequence[Source], n_good: int, args: argparse.Namespace) -> None:
        """Tell of warnings and failures, on stderr."""
        if not args.quiet:
            self._print_notes(sources, args)
        if not self.n_failed:
            return
        say(f"{self.n_failed:,} of {self.n_failed + n_good:,} rows failed:")
        width = min(48, max(len(place) for place, _ in self.shown))
        for place, reason in self.shown:
            print(f"  {place:<{width}}  {reason}", file=sys.stderr)
        more = self.n_failed - len(self.shown)
        if more:
            cure = "" if args.errors else " (--errors FILE.csv writes all of them)"
            print(f"  … and {more:,} more{cure}", file=sys.stderr)
        if args.errors:
            print(f"  all of them: {args.errors}", file=sys.stderr)

    def _print_notes(self, sources: Sequence[Source], args: argparse.Namespace) -> None:
        for name, notes in self.notes.items():
            prefix = f"{name}: " if len(self.notes) > 1 else ""
            for text in notes.texts():
                say(f"warning: {prefix}{text}")
        cure = f"all: {args.errors}" if args.errors else "--errors FILE.csv writes all of them"
        for status, text in _REMARKS.items():
            count, place = self.remarks.get(status, (0, ""))
            if count:
                say(text.format(n=f"{count:,}", first=place, cure=cure))
        self._print_model_notes()
        for source in sources:
            _print_left(source)

    def _print_model_notes(self) -> None:
        notes = list(self.model_notes.items())
        for text, (n, first) in notes[:SHOWN_FAILURES]:
            where = f"; the first is {first}" if first else ""
            say(f"warning: {f'{n:,} ' if n else ''}{text}{where}")
        if len(notes) > SHOWN_FAILURES:
            say(f"… and {len(notes) - SHOWN_FAILURES:,} more warnings of the model")


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
