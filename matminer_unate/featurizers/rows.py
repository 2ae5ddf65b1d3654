"""Structures → table of columns: each row encoded once, each failure kept with its row."""

from __future__ import annotations

import hashlib
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from matminer_unate.crystals.graph import RadiusGraph
from matminer_unate.errors import StructureError, UnateError, warn_user


@dataclass(frozen=True)
class PreparedCrystal:
    """A checked crystal, ready for the network.

    Attributes
    ----------
    graph : RadiusGraph
        Species unknown to the weights are 0 in it.
    unknown : frozenset of int
        Their atomic numbers.
    """

    graph: RadiusGraph
    unknown: frozenset[int]


Prepared = TypeVar("Prepared", bound=PreparedCrystal)

Computed = tuple[list[int], NDArray[np.float32]]
"""Rows with their columns."""

ALONE = ("the structure",)
"""Index of a crystal that was given alone: no row is named for it."""


@dataclass(kw_only=True)
class RowNotes:
    """What a caller should know of rows that got their columns all the same, counted.

    Attributes
    ----------
    unknown : set of int
        Atomic numbers of which too little is known.
    rows_unknown, rows_isolated : int
        Rows that hold such species, and rows that hold isolated atoms (see ``RadiusGraph``).
    first_unknown, first_isolated : int or None
        The first row of each, where rows were told.
    """

    unknown: set[int] = field(default_factory=set)
    rows_unknown: int = 0
    rows_isolated: int = 0
    first_unknown: int | None = None
    first_isolated: int | None = None

    def read(self, prepared: PreparedCrystal, row: int | None = None) -> None:
        """Count one crystal in."""
        if prepared.unknown:
            self.unknown |= prepared.unknown
            self.first_unknown = self.first_unknown if self.rows_unknown else row
            self.rows_unknown += 1
        if prepared.graph.n_isolated:
            self.first_isolated = self.first_isolated if self.rows_isolated else row
            self.rows_isolated += 1

    def about_unknown(self, symbols: str) -> str:
        """What became of the species that are unknown, after ``n row(s) hold``."""
        raise NotImplementedError

    def about_isolated(self) -> str:
        """What became of the atoms without neighbours, after ``n row(s) hold``."""
        raise NotImplementedError

    def texts(self, index: Sequence[Any] | None = None) -> list[str]:
        """One sentence for each thing to be said; with the first row where rows were told."""
        from pymatgen.core import Element

        symbols = ", ".join(Element.from_Z(z).symbol for z in sorted(self.unknown))
        found = [
            (self.rows_unknown, self.first_unknown, lambda: self.about_unknown(symbols)),
            (self.rows_isolated, self.first_isolated, self.about_isolated),
        ]
        return [_counted(n, row, about(), index) for n, row, about in found if n]


@dataclass
class Columns:
    """The columns of many crystals.

    Attributes
    ----------
    values : (n_rows, n_columns) float32
        NaN in rows that failed.
    errors : dict of int to Exception
        By row.
    notes : RowNotes
    index : sequence or None
        Labels of the rows, for messages.
    """

    values: NDArray[np.float32]
    errors: dict[int, Exception]
    notes: RowNotes
    index: Sequence[Any] | None

    def tracebacks(self) -> list[Any]:
        """One a row: the formatted exception, or NaN."""
        return [
            "".join(traceback.format_exception(self.errors[row])) if row in self.errors else np.nan
            for row in range(len(self.values))
        ]

    def warn(self, mention_errors: bool) -> None:
        """Say once what the caller should know, with counts."""
        if self.errors and mention_errors:
            row, error = next(iter(self.errors.items()))
            warn_user(
                f"the structure could not be encoded and its columns are NaN: {error}"
                if self.index is ALONE
                else f"{len(self.errors)} of {len(self.values)} rows could not be encoded and are "
                f"NaN; the first is {row_name(row, self.index)}: {error}"
            )
        for text in self.notes.texts(self.index):
            warn_user(text)


def fill_columns(
    structures: Sequence[Any],
    prepare_row: Callable[[Any], Prepared],
    compute: Callable[[Iterator[tuple[int, Prepared]]], Iterator[Computed]],
    width: int,
    notes: RowNotes,
    ignore_errors: bool,
    index: Sequence[Any] | None = None,
    progress: Callable[[int], Any] = lambda n: None,
    key: Callable[[Prepared], bytes] = lambda crystal: graph_digest(crystal.graph),
) -> Columns:
    """Columns of many crystals by any method; equal crystals are computed once.

    Parameters
    ----------
    structures : sequence
        One crystal a row, of whatever kind.
    prepare_row : callable
        Checks one of them; raises StructureError.
    compute : callable
        Takes (row, prepared crystal) as its batches need them, and gives rows with their columns,
        (len(rows), width).
    width : int
        Number of columns.
    notes : RowNotes
        Is told of each row that is prepared.
    ignore_errors, index, progress
        As for :func:`compute_columns`.
    key : callable
        The same bytes for crystals that get the same columns.

    Raises
    ------
    StructureError
        A structure is unusable and errors are not ignored.
    """
    values = np.full((len(structures), width), np.nan, np.float32)
    errors: dict[int, Exception] = {}
    repeats: dict[int, int] = {}

    def crystals() -> Iterator[tuple[int, Prepared]]:
        first_row: dict[bytes, int] = {}
        for row, structure in enumerate(structures):
            try:
                prepared = prepare_row(structure)
            except StructureError as e:
                if not ignore_errors:
                    where = "" if index is ALONE else f"{row_name(row, index)}: "
                    raise StructureError(f"{where}{e}") from e
                errors[row] = e
                progress(1)
                continue
            notes.read(prepared, row)
            first = first_row.setdefault(key(prepared), row)
            if first == row:
                yield row, prepared
            else:
                repeats[row] = first
                progress(1)

    for rows, columns in compute(crystals()):
        values[rows] = columns
        progress(len(rows))
    for row, first in repeats.items():
        values[row] = values[first]
    not_finite = np.flatnonzero(~np.isfinite(values).all(axis=1))
    lost = [int(row) for row in not_finite if int(row) not in errors]
    if lost:
        raise UnateError(f"rows {lost[:5]} were encoded to non-finite values; please report this")
    return Columns(values, errors, notes, index)


def graph_digest(graph: RadiusGraph) -> bytes:
    """The same bytes for graphs that no invariant of theirs can tell apart."""
    digest = hashlib.blake2b(digest_size=16)
    for part in (graph.atomic_numbers, graph.edge_index, graph.edge_vector):
        digest.update(part.tobytes())
    return digest.digest()


def row_name(row: int, index: Sequence[Any] | None) -> str:
    """``row 2``, or ``row 2 (index 'NaCl')``."""
    return f"row {row}" + ("" if index is None else f" (index {_plain(index[row])!r})")


def _plain(label: Any) -> Any:
    """A label as people write it: ``2`` and not ``np.int64(2)``."""
    if isinstance(label, tuple):
        return tuple(_plain(part) for part in label)
    return label.item() if isinstance(label, np.generic) else label


def _counted(n: int, row: int | None, about: str, index: Sequence[Any] | None) -> str:
    if index is ALONE:
        return f"the structure holds {about}"
    first = "" if row is None else f"; the first is {row_name(row, index)}"
    return f"{n} row(s) hold {about}{first}"
