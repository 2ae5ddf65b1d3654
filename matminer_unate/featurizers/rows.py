"""Structures → table of columns: each row encoded once, each failure kept with its row."""

from __future__ import annotations

import hashlib
import traceback
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from matminer_unate.crystals.graph import RadiusGraph
from matminer_unate.crystals.ordering import Resolution
from matminer_unate.errors import StructureError, row_name, warn_user


@dataclass(frozen=True)
class PreparedCrystal:
    """A checked crystal, ready to be described.

    Attributes
    ----------
    graph : RadiusGraph
    unknown : frozenset of int
        Atomic numbers of species of which too little is known.
    resolution : str
        What was done to a disordered crystal, as of
        :class:`~matminer_unate.crystals.checked.CheckedCrystal`.
    """

    graph: RadiusGraph
    unknown: frozenset[int]
    resolution: Resolution = field(default="", kw_only=True)

    def key(self) -> bytes:
        """The same for crystals that get the same columns."""
        return self.graph.digest


@dataclass(frozen=True)
class PlacedCrystal(PreparedCrystal):
    """A checked crystal with its graph and the places of its atoms.

    Attributes
    ----------
    lattice : (3, 3) float64, Å
    frac_coords : (n_sites, 3) float64
    """

    lattice: NDArray[np.float64]
    frac_coords: NDArray[np.float64]

    def key(self) -> bytes:
        """The same for crystals in the same cell."""
        digest = hashlib.blake2b(digest_size=16)
        for part in (self.lattice, self.frac_coords, self.graph.atomic_numbers):
            digest.update(part.tobytes())
        return digest.digest()


Noted = Literal["unknown", "isolated", "ordered", "averaged", "without_states"]
NOTED: tuple[Noted, ...] = get_args(Noted)
"""What :class:`RowNotes` note of rows."""

Prepared = TypeVar("Prepared", bound=PreparedCrystal)

Read = TypeVar("Read")

Computed = tuple[list[int], NDArray[np.float32]]
"""Rows with their columns."""

ALONE = ("the structure",)
"""Index of a crystal that was given alone: no row is named for it."""


@dataclass(kw_only=True)
class RowNotes:
    """What a caller should know of rows that got their columns all the same.

    Attributes
    ----------
    rows : dict of str to list of int
        Rows that hold species of which too little is known, isolated atoms (see ``RadiusGraph``),
        and sites of mixed or partial occupancy, which were ordered or averaged; of the ordered,
        those without oxidation states that balance.
    unknown : dict of int to frozenset of int
        By row, the atomic numbers of such species.
    """

    rows: dict[Noted, list[int]] = field(default_factory=lambda: {what: [] for what in NOTED})
    unknown: dict[int, frozenset[int]] = field(default_factory=dict)

    def read(self, prepared: PreparedCrystal, row: int) -> None:
        """Note what there is of one crystal."""
        if prepared.unknown:
            self.unknown[row] = prepared.unknown
        holds: dict[Noted, bool] = {
            "unknown": bool(prepared.unknown),
            "isolated": prepared.graph.n_isolated > 0,
            "ordered": prepared.resolution not in ("", "average"),
            "averaged": prepared.resolution == "average",
            "without_states": prepared.resolution == "electronegativities",
        }
        for what, so in holds.items():
            if so:
                self.rows[what].append(row)

    def add(self, other: RowNotes, rows: Sequence[int]) -> None:
        """Take in what is known of a part of the rows; ``rows`` are their places."""
        self.unknown |= {rows[row]: species for row, species in other.unknown.items()}
        for what, some in other.rows.items():
            self.rows[what] += [rows[row] for row in some]

    def keep_only(self, what: Noted) -> None:
        """Forget all but one thing."""
        self.rows = {other: self.rows[other] if other == what else [] for other in NOTED}

    def by_row(self) -> dict[int, list[str]]:
        """What is to be said of each row that there is something to be said of."""
        found: dict[int, list[str]] = {}
        for what, rows in self.rows.items():
            for row in rows:
                about = self.about(what, self.unknown.get(row, ()))
                found.setdefault(row, []).append(f"it holds {about}")
        return found

    def about(self, what: Noted, species: Collection[int]) -> str:
        """What became of rows, after ``n row(s) hold``; ``species`` are those that are unknown."""
        if what == "unknown":
            from pymatgen.core import Element

            return self.about_unknown(", ".join(Element.from_Z(z).symbol for z in sorted(species)))
        if what == "isolated":
            return self.about_isolated()
        if what == "without_states":
            return "such sites and no oxidation states that balance; electronegativities order them"
        if what == "averaged":
            return "sites of mixed or partial occupancy; their elements count with their shares"
        return (
            "sites of mixed or partial occupancy; an ordered cell of low electrostatic energy "
            "stands for them"
        )

    def about_unknown(self, symbols: str) -> str:
        """What became of the species that are unknown, after ``n row(s) hold``."""
        raise NotImplementedError

    def about_isolated(self) -> str:
        """What became of the atoms without neighbours, after ``n row(s) hold``."""
        raise NotImplementedError

    def texts(self, index: Sequence[Any] | None = None) -> list[str]:
        """One sentence for each thing to be said, with the first row."""
        species = frozenset[int]().union(*self.unknown.values())
        found = []
        for what, rows in self.rows.items():
            if rows and index is ALONE:
                found.append(f"the structure holds {self.about(what, species)}")
            elif rows:
                name = row_name(rows[0], index)
                found.append(counted(len(rows), name, self.about(what, species)))
        return found


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
    ignore_errors : bool
        Keep the errors by row instead of raising the first.
    noun : str
        What an entry is called in messages.
    """

    values: NDArray[np.float32]
    errors: dict[int, StructureError]
    notes: RowNotes
    index: Sequence[Any] | None
    ignore_errors: bool
    noun: str = "structure"

    def fail(self, row: int, error: StructureError) -> None:
        """Keep the error of a row, or raise it with the name of the row."""
        if not self.ignore_errors:
            where = "" if self.index is ALONE else f"{row_name(row, self.index)}: "
            raise StructureError(f"{where}{error}") from error
        self.errors[row] = error

    @classmethod
    def empty(
        cls,
        shape: tuple[int, int],
        notes: RowNotes,
        index: Sequence[Any] | None = None,
        ignore_errors: bool = True,
    ) -> Columns:
        """NaN in every row, and none of them failed."""
        return cls(np.full(shape, np.nan, np.float32), {}, notes, index, ignore_errors)

    def take(self, part: Columns, rows: Sequence[int]) -> None:
        """Put in what was computed of some rows elsewhere; ``rows`` are their places here."""
        self.values[list(rows)] = part.values
        for row, error in part.errors.items():
            self.fail(rows[row], error)
        self.notes.add(part.notes, rows)

    def fill(
        self,
        crystals: Iterator[tuple[int, Prepared]],
        describe: Callable[[Iterator[tuple[int, Prepared]]], Iterator[Computed]],
        progress: Callable[[int], Any],
    ) -> None:
        """Take the columns of prepared crystals; equal ones are described once."""
        repeats: dict[int, int] = {}

        def distinct() -> Iterator[tuple[int, Prepared]]:
            first_row: dict[bytes, int] = {}
            for row, crystal in crystals:
                self.notes.read(crystal, row)
                first = first_row.setdefault(crystal.key(), row)
                if first == row:
                    yield row, crystal
                else:
                    repeats[row] = first
                    progress(1)

        for rows, columns in describe(distinct()):
            self.values[rows] = columns
            progress(len(rows))
        for row, first in repeats.items():
            self.values[row] = self.values[first]
        for row in np.flatnonzero(~np.isfinite(self.values).all(axis=1)).tolist():
            if row not in self.errors:
                self.fail(row, StructureError("its columns are not finite; please report this"))
                self.values[row] = np.nan

    def tracebacks(self) -> list[Any]:
        """One a row: the formatted exception, or NaN."""
        return [
            "".join(traceback.format_exception(self.errors[row])) if row in self.errors else np.nan
            for row in range(len(self.values))
        ]

    def warn(self, mention_errors: bool, outcome: str = "are NaN") -> None:
        """Say once what the caller should know, with counts."""
        if self.errors and mention_errors:
            row = min(self.errors)
            error = self.errors[row]
            warn_user(
                f"the {self.noun} could not be encoded and its columns are NaN: {error}"
                if self.index is ALONE
                else f"{len(self.errors)} of {len(self.values)} rows could not be encoded and "
                f"{outcome}; the first is {row_name(row, self.index)}: {error}"
            )
        for text in self.notes.texts(self.index):
            warn_user(text)


def prepare_rows(
    structures: Iterable[Any],
    prepare: Callable[[Any], Read],
    failed: Callable[[int, StructureError], Any],
) -> Iterator[tuple[int, Read]]:
    """Prepare crystals one after another, as they are asked for.

    Parameters
    ----------
    structures : iterable
        One crystal a row, of whatever kind; a StructureError in place of one that could not be
        read.
    prepare : callable
        Checks one of them; raises StructureError.
    failed : callable
        Is told the row and the error of each that cannot be prepared; it may raise.

    Yields
    ------
    row : int
    prepared
    """
    for row, structure in enumerate(structures):
        try:
            if isinstance(structure, StructureError):
                raise structure
            prepared = prepare(structure)
        except StructureError as e:
            failed(row, e)
        else:
            yield row, prepared


def counted(n: int, first: str, about: str) -> str:
    """What is said of some rows; ``first`` names the first of them."""
    return f"{n} row(s) hold {about}; the first is {first}"
