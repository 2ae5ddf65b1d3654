"""One crystal of the input with its place, and one input with all of them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from matminer_unate.errors import StructureError

if TYPE_CHECKING:
    import pyarrow as pa
    from pymatgen.core import Structure

Thing = TypeVar("Thing")

Ranges = Sequence[range]
"""Numbers of items, ascending and without overlap."""

ALL: Ranges = (range(sys.maxsize),)


@dataclass(frozen=True)
class InputRow:
    """One crystal of the input, or why it could not be read.

    Attributes
    ----------
    identifier : str
        Path of a file (``path#n`` for the n-th of several crystals in it), or the id of a table
        row (``path#row`` where the table has none). Numbers start at 0.
    place : str
        Where it is, for people.
    structure : Structure or None
    error : StructureError or None
        Set where ``structure`` is None.
    carried : dict of str to scalar
        The other columns of a table row.
    notes : tuple of str
        Harmless remarks on how it was read.
    doubts : tuple of str
        Reasons why the structure may be another than that of the input; only where doubtful
        structures were asked for.
    """

    identifier: str
    place: str
    structure: Structure | None
    error: StructureError | None = None
    carried: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Source:
    """One input that has been looked at; its crystals are read when they are asked for.

    It is a sequence of items: rows of a table, files of a folder, members of an archive or frames.
    Fetching an item is cheap, and parsing it is not, so that what was done before, or is for
    another process, is passed over quickly.

    Attributes
    ----------
    path : Path or str
        File or folder; text of a database.
    fetch : callable
        Starts reading the items of some ranges: an iterator of their numbers and contents, which
        can be pickled.
    parse : callable
        Number and content of an item → its rows, a list of :class:`InputRow`: one, but for files
        of several crystals. Can be pickled.
    n_rows : int
        How many items there are.
    files : tuple of Path
        What is read, but for items that are not there, as links to nothing.
    by_range : bool
        Whether a range in the middle is fetched without reading all that is before it.
    carried : dict of str to pyarrow.DataType
        The columns of a table that its rows carry.
    short_integers : frozenset of str
        Those of whole numbers up to 2**53 only, which are exact as floats too.
    skipped : tuple of Path
        Files of a folder or archive that are no structure files.
    left_behind : tuple of str
        Columns of a table that are not carried: lists, dicts, and further columns of structures.
    digest : str
        Of a database: SHA-256 of what tells its entries and their states apart.
    """

    path: Path | str
    fetch: Callable[[Ranges], Iterator[tuple[int, Any]]]
    parse: Callable[[int, Any], list[InputRow]]
    n_rows: int
    files: tuple[Path, ...]
    by_range: bool = False
    carried: dict[str, pa.DataType] = field(default_factory=dict)
    short_integers: frozenset[str] = frozenset()
    skipped: tuple[Path, ...] = ()
    left_behind: tuple[str, ...] = ()
    digest: str = ""

    def rows(self) -> Iterator[InputRow]:
        """All rows, in their order."""
        for number, content in self.fetch(ALL):
            yield from self.parse(number, content)


def selected(things: Iterable[Thing], ranges: Ranges) -> Iterator[tuple[int, Thing]]:
    """The things whose numbers are in the ranges; nothing after the last of them is drawn."""
    following = iter(ranges)
    current = next(following, None)
    if current is None:
        return
    for number, thing in enumerate(things):
        if number < current.start:
            continue
        yield number, thing
        while number + 1 >= current.stop:
            current = next(following, None)
            if current is None:
                return


def within(ranges: Ranges, start: int, stop: int) -> list[range]:
    """The parts of the ranges from start to before stop."""
    clipped = (range(max(r.start, start), min(r.stop, stop)) for r in ranges)
    return [one for one in clipped if one]


def path_text(path: Path) -> str:
    """A path as text that can be encoded."""
    # A file name need not be UTF-8, but a column of names must be.
    return os.fsencode(path).decode("utf-8", errors="replace")
