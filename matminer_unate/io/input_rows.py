"""One crystal of the input with its place, and one input with all of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matminer_unate.errors import StructureError

if TYPE_CHECKING:
    import pyarrow as pa
    from pymatgen.core import Structure


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

    Attributes
    ----------
    path : Path
    rows : callable
        Starts reading: an iterator of :class:`InputRow`.
    n_rows : int
        Rows to expect (files, for a folder); for progress only.
    carried : dict of str to pyarrow.DataType
        The columns of a table that its rows carry.
    skipped : tuple of Path
        Files of a folder that are no structure files.
    left_behind : tuple of str
        Columns of a table that are not carried: lists, dicts, and further columns of structures.
    """

    path: Path
    rows: Callable[[], Iterator[InputRow]]
    n_rows: int
    carried: dict[str, pa.DataType] = field(default_factory=dict)
    skipped: tuple[Path, ...] = ()
    left_behind: tuple[str, ...] = ()


def path_text(path: Path) -> str:
    """A path as text that can be encoded."""
    # A file name need not be UTF-8, but a column of names must be.
    return os.fsencode(path).decode("utf-8", errors="replace")
