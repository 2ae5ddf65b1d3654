"""Columns of a table → rows with a crystal, an identifier and what they carry along."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from matminer_unate.cif.reading import Reading
from matminer_unate.errors import InputError, StructureError
from matminer_unate.io.ase_files import FRAME, from_frame
from matminer_unate.io.input_rows import InputRow, Source, path_text
from matminer_unate.io.parsing import attempt, from_arrays, from_cell
from matminer_unate.io.tables import STRUCTURE_COLUMNS, Record, Table, cast, plain, plain_text

if TYPE_CHECKING:
    import pyarrow as pa
    from pymatgen.core import Structure

ARRAY_COLUMNS = ("lattice", "frac_coords", "species")
"""The three columns that together are a structure."""

ID_COLUMNS = (
    "id", "material_id", "identifier", "mp_id", "mpid", "task_id", "jid", "entry_id"
)  # fmt: skip
"""Names that the identifier of a row is looked for under, in this order."""

_INDEX_COLUMNS = ("", "__index_level_0__", "Unnamed: 0")
"""What pandas calls an index without a name in CSV and Parquet."""

_MARKS = ("@module", "@class", "@version")
"""What dicts of pymatgen say of the class that wrote them."""


def table_source(table: Table, column: str | None, site_tolerance: float) -> Source:
    """Find the structures, identifiers and other columns of a table.

    Raises
    ------
    InputError
        There is no column of structures, or two columns have the same name.
    """
    structure = (FRAME,) if FRAME in table.names else _structure_columns(table, column)
    identifier = _identifier_column(table.names)
    carried, left_behind = carried_columns(table, structure, identifier)
    wanted = dict.fromkeys(
        [*structure, *([identifier] if identifier is not None else []), *carried]
    )
    return Source(
        table.path,
        partial(table.records, list(wanted)),
        RowParser(path_text(table.path), structure, identifier, carried, site_tolerance),
        table.n_rows,
        (table.path,),
        table.by_range,
        carried,
        table.short_integers,
        left_behind=left_behind,
    )


def carried_columns(
    table: Table, structure: Sequence[str], identifier: str | None
) -> tuple[dict[str, pa.DataType], tuple[str, ...]]:
    """The other columns of scalars with their types, and the names of those that stay behind.

    Parameters
    ----------
    table : Table
    structure : sequence of str
        The columns of structures.
    identifier : str or None
        The column of identifiers.
    """
    # ``id`` is a column of the output already.
    used = {*structure, *_INDEX_COLUMNS, *_MARKS, "id"}
    others = [name for name in table.names if name not in used]
    # Lists and texts of structures stay behind.
    carried = {
        name: table.types[name]
        for name in others
        if name in table.types and not (name in ARRAY_COLUMNS or _may_be_structures(table, name))
    }
    lost = [name for name in others if name not in carried]
    if "id" in table.names and "id" not in (identifier, *structure):
        lost.append("id")
    return carried, tuple(lost)


def _may_be_structures(table: Table, name: str) -> bool:
    """Whether a column has the name of structures, and not numbers in it (``atoms``)."""
    import pyarrow as pa

    kind = table.types.get(name)
    texts = kind is None or kind in (pa.string(), pa.binary(), pa.null())
    return name.lower() in STRUCTURE_COLUMNS and (texts or isinstance(kind, pa.BaseExtensionType))


@dataclass(frozen=True)
class RowParser:
    """Record of a table → its row, alone in a list.

    Attributes
    ----------
    path : str
    structure : tuple of str
        The column of structures, or the three of arrays.
    identifier : str or None
        The column of identifiers.
    carried : dict of str to pyarrow.DataType
    site_tolerance : float, Å
    """

    path: str
    structure: tuple[str, ...]
    identifier: str | None
    carried: dict[str, Any]
    site_tolerance: float

    def __call__(self, n: int, labelled: Record) -> list[InputRow]:
        label, record = labelled
        is_frame = FRAME in self.structure
        own, place = f"{self.path}#{n}", f"{self.path}, {'frame' if is_frame else 'row'} {n}"
        if is_frame:
            # The label of a frame is its path and id.
            own, place, label = label or own, label or place, None
        if isinstance(record, StructureError):
            return [InputRow(label or own, place, None, record)]
        named = label if self.identifier is None else plain_text(record.get(self.identifier))
        parsed = attempt(self._parse, *(plain(record.get(name)) for name in self.structure))
        known = named is not None and named != ""
        return [
            InputRow(
                str(named) if known else own,
                f"{place} ({named})" if known else place,
                parsed.structure,
                parsed.error,
                {name: cast(record.get(name), kind) for name, kind in self.carried.items()},
                parsed.notes,
                parsed.doubts,
            )
        ]

    def _parse(self, *cells: Any) -> Structure | Reading:
        if len(self.structure) > 1:
            return from_arrays(*cells)
        if FRAME in self.structure:
            return from_frame(*cells)
        (cell,) = cells
        return from_cell(cell, self.site_tolerance)


def _structure_columns(table: Table, column: str | None) -> tuple[str, ...]:
    """The column that holds the structures, or the three that do together."""
    names = table.names
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise InputError(f"{table.path} has more than one column {twice[0]!r}; rename them")
    if not table.n_rows:
        raise InputError(f"{table.path} has no rows; write it again")
    arrays = set(ARRAY_COLUMNS) <= set(names)
    if column is not None and not (arrays and column in ARRAY_COLUMNS):
        if column not in names:
            raise InputError(f"{table.path} has no column {column!r}; it has {_listing(names)}")
        return (column,)
    texts = [name for name in names if _may_be_structures(table, name)]
    known = _first(STRUCTURE_COLUMNS, texts) if column is None else None
    if known is not None:
        return (known,)
    if arrays:
        return ARRAY_COLUMNS
    raise InputError(
        f"{table.path} has no column of structures ({', '.join(STRUCTURE_COLUMNS)}, or "
        f"{', '.join(ARRAY_COLUMNS)} together); it has {_listing(names)}; name one with --column"
    )


def _identifier_column(names: Sequence[str]) -> str | None:
    index = next((name for name in names if name in _INDEX_COLUMNS), None)
    known = _first(ID_COLUMNS, names)
    return index if known is None else known


def _first(known: Sequence[str], names: Sequence[str]) -> str | None:
    """The first of the known names that is there, as it is written there."""
    by_lower = {name.lower(): name for name in reversed(names)}
    return next((by_lower[name] for name in known if name in by_lower), None)


def _listing(names: Sequence[str]) -> str:
    more = ", …" if len(names) > 12 else ""
    return ", ".join(map(repr, names[:12])) + more if names else "none"
