"""What happened to rows: how many are good, which failed and why, what is to be noted."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from matminer_unate.featurizers.rows import NOTED, RowNotes, counted
from matminer_unate.io.input_rows import InputRow

SHOWN_FAILURES = 20

_ROW = re.compile(r"\brow (\d+)( \(index [^)]*\))?")
_COUNTED = re.compile(r"(\d+) (?:of \d+ )?(row(?:s|\(s\)) .*?)(?:; the first is (.*))?", re.DOTALL)

Listed = tuple[str, str, str, str]
"""A row of the table of errors: id, place, status, reason."""


@dataclass
class RowReport:
    """What happened to some rows; of all of them the counts, and the first failures.

    Attributes
    ----------
    n_good, n_failed : int
    shown : list of (place, reason)
        The first :data:`SHOWN_FAILURES` that failed.
    remarks : dict of str to (int, str)
        By status, doubtful or remark: how many rows, and the first of them.
    notes : dict of str to dict
        By the name of the featurizer, what its ``RowNotes`` note: how many rows, and the first of
        them; and the atomic numbers of unknown species.
    warnings : dict of str to (int, str or None)
        Of a model: what was said of how many rows, and the first of them.
    listed : list of Listed
        Rows that failed or that there is a remark on, for the table of errors.
    """

    n_good: int = 0
    n_failed: int = 0
    shown: list[tuple[str, str]] = field(default_factory=list)
    remarks: dict[str, tuple[int, str]] = field(default_factory=dict)
    notes: dict[str, dict[str, Any]] = field(default_factory=dict)
    warnings: dict[str, tuple[int, str | None]] = field(default_factory=dict)
    listed: list[Listed] = field(default_factory=list)

    def remark(self, row: InputRow) -> None:
        """How a row was read that gets its columns."""
        if not (row.doubts or row.notes):
            return
        status = "doubtful" if row.doubts else "remark"
        reason = "; ".join((*row.doubts, *row.notes))
        count, first = self.remarks.get(status, (0, f"{row.place}: {reason}"))
        self.remarks[status] = (count + 1, first)
        self.listed.append((row.identifier, row.place, status, reason))

    def failed(self, row: InputRow, error: Exception) -> None:
        """A row that gets no columns."""
        self.n_failed += 1
        reason = " ".join(str(error).split())
        if len(self.shown) < SHOWN_FAILURES:
            self.shown.append((row.place, reason))
        self.listed.append((row.identifier, row.place, "failed", reason))

    def noted(self, featurizer: str, notes: RowNotes, rows: Sequence[InputRow]) -> None:
        """What a featurizer notes of some rows."""
        found: dict[str, Any] = {
            what: (len(some), rows[some[0]].place) for what, some in notes.rows.items() if some
        }
        if found:
            species = frozenset[int]().union(*notes.unknown.values())
            self._add_notes(featurizer, {"species": sorted(species), **found})

    def note_texts(self, featurizer: str, notes: RowNotes) -> list[str]:
        """What is to be said of all rows; ``notes`` are such as the featurizer takes."""
        found = self.notes.get(featurizer, {})
        return [
            counted(n, first, notes.about(what, found["species"]))
            for what in NOTED
            if what in found
            for n, first in [found[what]]
        ]

    def list_notes(self, row: InputRow, texts: Sequence[str]) -> None:
        """A row with columns that something is to be said of, for the table of errors."""
        if texts:
            self.listed.append((row.identifier, row.place, "remark", "; ".join(texts)))

    def warned(self, rows: Sequence[InputRow], texts: Sequence[str]) -> None:
        """What a model said while it worked on these rows."""
        for text in texts:
            # A model numbers the rows of its own chunk, and counts them.
            named = _ROW.sub(lambda found: _place(rows, found), text)
            parts = _COUNTED.fullmatch(named)
            count, what, first = parts.groups() if parts else (0, named, None)
            self._add_warning(what, int(count), first)

    def add(self, later: RowReport) -> None:
        """Count the rows in that come after these; without ``listed``."""
        self.n_good += later.n_good
        self.n_failed += later.n_failed
        self.shown = (self.shown + later.shown)[:SHOWN_FAILURES]
        for status, (count, first) in later.remarks.items():
            before, first_before = self.remarks.get(status, (0, first))
            self.remarks[status] = (before + count, first_before)
        for featurizer, counts in later.notes.items():
            self._add_notes(featurizer, counts)
        for what, (number, place) in later.warnings.items():
            self._add_warning(what, number, place)

    def as_json(self) -> dict[str, Any]:
        """All but ``listed``, and nothing that is empty."""
        return {key: value for key, value in asdict(self).items() if value and key != "listed"}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Self:
        """What :meth:`as_json` gave."""
        found = cls(**content)
        found.shown = [(place, reason) for place, reason in found.shown]
        return found

    def _add_notes(self, featurizer: str, found: dict[str, Any]) -> None:
        before = self.notes.setdefault(featurizer, {"species": []})
        before["species"] = sorted({*before["species"], *found["species"]})
        for what in NOTED:
            if what in found:
                count, first = found[what]
                n_before, first_before = before.get(what, (0, first))
                before[what] = (n_before + count, first_before)

    def _add_warning(self, what: str, count: int, first: str | None) -> None:
        before, first_before = self.warnings.get(what, (0, first))
        self.warnings[what] = (before + count, first_before)


def _place(rows: Sequence[InputRow], found: re.Match[str]) -> str:
    row = int(found[1])
    return rows[row].place if row < len(rows) else found[0]
