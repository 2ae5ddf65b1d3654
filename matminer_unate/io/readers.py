"""Files, folders and tables → pymatgen Structures, each failure with its row."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matminer_unate.cif.reading import SITE_TOLERANCE, Reading, crystal_blocks, read_crystal
from matminer_unate.errors import InputError, StructureError
from matminer_unate.io.ase_files import (
    ASE_SUFFIXES,
    FRAME,
    from_frame,
    is_ase_json,
    open_ase,
    open_ase_json,
)
from matminer_unate.io.json_tables import open_json, open_json_lines
from matminer_unate.io.parsing import Parsed, attempt, decode, from_arrays, from_cell, from_poscar
from matminer_unate.io.structure_dicts import from_dict
from matminer_unate.io.tables import (
    STRUCTURE_COLUMNS,
    Table,
    cast,
    open_csv,
    open_parquet,
    plain,
    plain_text,
)

if TYPE_CHECKING:
    import pyarrow as pa
    from pymatgen.core import Structure


ARRAY_COLUMNS = ("lattice", "frac_coords", "species")
"""The three columns that together are a structure."""

ID_COLUMNS = ("id", "material_id", "identifier", "mp_id", "task_id", "jid", "entry_id")
"""Names that the identifier of a row is looked for under, in this order."""

_INDEX_COLUMNS = ("", "__index_level_0__", "Unnamed: 0")
"""What pandas calls an index without a name in CSV and Parquet."""

_MARKS = ("@module", "@class", "@version")
"""What dicts of pymatgen say of the class that wrote them."""

_PARQUET, _CSV, _JSON_LINES = (".parquet", ".pq"), (".csv", ".tsv"), (".jsonl", ".ndjson")

_STRUCTURES = (".cif", ".mcif", ".vasp", ".poscar", ".contcar", ".json")

_READABLE = (
    "CIF (.cif, .mcif), POSCAR (POSCAR*, CONTCAR*, .vasp, .poscar), pymatgen JSON (.json), a "
    "table (.parquet, .csv, .tsv, .json, .jsonl) or frames of ASE (.extxyz, .xyz, .db, .traj)"
)


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
    columns : dict of str to pyarrow.DataType
        Carried columns of a table.
    skipped : tuple of Path
        Files of a folder that are no structure files.
    left_behind : tuple of str
        Columns of a table that are not carried: lists, dicts, and further columns of structures.
    """

    path: Path
    rows: Callable[[], Iterator[InputRow]]
    n_rows: int
    columns: dict[str, pa.DataType] = field(default_factory=dict)
    skipped: tuple[Path, ...] = ()
    left_behind: tuple[str, ...] = ()


def iter_inputs(
    paths: Iterable[str | Path],
    column: str | None = None,
    *,
    accept_doubtful: bool = False,
    site_tolerance: float = SITE_TOLERANCE,
) -> Iterator[InputRow]:
    """Read crystals from files, folders and tables, one at a time.

    Parameters
    ----------
    paths : iterable of path
        Structure files, folders of them (with their subfolders, sorted), and tables.
    column : str, optional
        The column of structures in tables; by default it is found by its name.
    accept_doubtful : bool
        Take crystals that may be others than the file means, e.g. without the hydrogens that its
        formula has, with ``doubts`` in their rows; by default these rows have an error.
    site_tolerance : float, Å
        Of CIFs: images of an atom under symmetry that are nearer than this are one atom on a
        special position with rounded coordinates.

    Returns
    -------
    iterator of InputRow
        In the order of the input; a crystal that cannot be read is a row with an error.

    Raises
    ------
    InputError
        A path is missing or no readable input at all, or the tolerance is not from 0 to 1 Å. All
        paths are looked at before the first row is read.
    """
    sources = open_inputs(
        paths, column, accept_doubtful=accept_doubtful, site_tolerance=site_tolerance
    )
    return chain.from_iterable(source.rows() for source in sources)


def open_inputs(
    paths: Iterable[str | Path],
    column: str | None = None,
    *,
    accept_doubtful: bool = False,
    site_tolerance: float = SITE_TOLERANCE,
) -> list[Source]:
    """Find out what each path is and which columns it has, as for :func:`iter_inputs`."""
    if not 0 <= site_tolerance <= 1:
        raise InputError(f"site_tolerance is {site_tolerance}; give a distance from 0 to 1 Å")
    sources = [_open(Path(path), column, site_tolerance) for path in paths]
    if accept_doubtful:
        return sources
    return [replace(source, rows=partial(_certain_rows, source.rows)) for source in sources]


def _certain_rows(rows: Callable[[], Iterator[InputRow]]) -> Iterator[InputRow]:
    """Make doubtful crystals errors."""
    for row in rows():
        if row.doubts:
            error = StructureError(
                f"{'; '.join(row.doubts)}; or take it as it is with --accept-doubtful "
                "(accept_doubtful=True in Python)"
            )
            row = replace(row, structure=None, error=error, doubts=())
        yield row


def _open(path: Path, column: str | None, site_tolerance: float) -> Source:
    if path.is_dir():
        return _folder(path, site_tolerance)
    if not path.is_file():
        raise InputError(f"{path}: no such file or folder; check the path")
    suffix = _suffix(path)
    if suffix in _PARQUET:
        return _table(open_parquet(path), column, site_tolerance)
    if suffix in _CSV:
        return _table(open_csv(path), column, site_tolerance)
    if suffix in _JSON_LINES:
        return _table(open_json_lines(path), column, site_tolerance)
    if suffix in ASE_SUFFIXES:
        return _table(open_ase(path), column, site_tolerance)
    if suffix == ".json":
        return _json(path, column, site_tolerance)
    if _is_structure_file(path):
        return _file(path, site_tolerance)
    raise InputError(f"{path}: a file of this name is none that can be read; expected {_READABLE}")


# -- files and folders ----------------------------------------------------------------------------


def _suffix(path: Path) -> str:
    return Path(path.name.lower().removesuffix(".gz")).suffix


def _is_structure_file(path: Path) -> bool:
    return _suffix(path) in _STRUCTURES or path.name.startswith(("POSCAR", "CONTCAR"))


def _file(path: Path, site_tolerance: float) -> Source:
    return Source(path, partial(_file_rows, path, site_tolerance), n_rows=1)


def _folder(folder: Path, site_tolerance: float) -> Source:
    # Hidden files are left out: macOS puts a ._x.cif beside every x.cif it copies.
    files = sorted(
        path
        for path in folder.rglob("*")
        if path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
    found = [path for path in files if _is_structure_file(path)]
    skipped = tuple(path for path in files if not _is_structure_file(path))
    if not found:
        known = (*_PARQUET, *_CSV, *_JSON_LINES, *ASE_SUFFIXES)
        tables = [path for path in skipped if _suffix(path) in known]
        raise InputError(
            f"{folder}: the folder holds no structure files (.cif, .vasp, .poscar, .json, POSCAR*, "
            f"CONTCAR*)" + (f"; pass its tables by name, e.g. {tables[0]}" if tables else "")
        )
    rows = partial(_folder_rows, found, site_tolerance)
    return Source(folder, rows, n_rows=len(found), skipped=skipped)


def _folder_rows(files: Sequence[Path], site_tolerance: float) -> Iterator[InputRow]:
    return chain.from_iterable(_file_rows(path, site_tolerance) for path in files)


def _file_rows(path: Path, site_tolerance: float) -> Iterator[InputRow]:
    name = _name(path)
    try:
        parsed = _parse_file(path, site_tolerance)
    except StructureError as e:
        parsed = [Parsed(None, e)]
    for n, one in enumerate(parsed):
        identifier = name if len(parsed) == 1 else f"{name}#{n}"
        yield InputRow(
            identifier, identifier, one.structure, one.error, notes=one.notes, doubts=one.doubts
        )


def _parse_file(path: Path, site_tolerance: float) -> list[Parsed]:
    text = _text(path)
    if _suffix(path) == ".json":
        try:
            content = json.loads(text)
        except (json.JSONDecodeError, RecursionError) as e:
            raise StructureError(f"no readable JSON ({e}); export it again") from e
        items = content if isinstance(content, list) else [content]
        if not items:
            raise StructureError("the JSON list is empty; export it again")
        return [attempt(from_cell if isinstance(i, str) else from_dict, i) for i in items]
    if _suffix(path) in (".cif", ".mcif"):
        return [attempt(read_crystal, block, site_tolerance) for block in crystal_blocks(text)]
    return [attempt(from_poscar, text)]


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
        return decode(gzip.decompress(content) if path.suffix.lower() == ".gz" else content)
    except (OSError, EOFError) as e:
        raise StructureError(f"the file could not be opened ({e})") from e


def _name(path: Path) -> str:
    # A file name need not be UTF-8, but a column of names must be.
    return os.fsencode(path).decode("utf-8", errors="replace")


# -- tables ---------------------------------------------------------------------------------------


def _json(path: Path, column: str | None, site_tolerance: float) -> Source:
    """JSON is a structure, structures, a table, or JSON lines."""
    try:
        content = json.loads(_text(path))
    except json.JSONDecodeError as e:
        if e.msg != "Extra data":
            return _file(path, site_tolerance)
        return _table(open_json_lines(path), column, site_tolerance)
    except (StructureError, RecursionError):
        # Said again with its row, so that one damaged file does not stop the others.
        return _file(path, site_tolerance)
    table = open_json(path, content, column)
    if is_ase_json(content):
        table = open_ase_json(path, content)
    if table is None:
        return _file(path, site_tolerance)
    return _table(table, column, site_tolerance)


def _table(table: Table, column: str | None, site_tolerance: float) -> Source:
    structure = (FRAME,) if FRAME in table.names else _structure_columns(table, column)
    identifier = _identifier_column(table.names)
    # ``id`` is a column of the output already.
    used = {*structure, *_INDEX_COLUMNS, *_MARKS, "id"}
    others = [name for name in table.names if name not in used]
    # Lists and texts of structures stay behind.
    carried = {
        name: table.types[name]
        for name in others
        if name in table.types and not (name in ARRAY_COLUMNS or _may_be_structures(table, name))
    }
    rows = partial(_table_rows, table, structure, identifier, carried, site_tolerance)
    left = tuple(name for name in others if name not in carried)
    return Source(table.path, rows, table.n_rows, carried, left_behind=left)


def _may_be_structures(table: Table, name: str) -> bool:
    """Whether a column has the name of structures, and not numbers in it (``atoms``)."""
    import pyarrow as pa

    kind = table.types.get(name)
    texts = kind is None or kind in (pa.string(), pa.binary(), pa.null())
    return name.lower() in STRUCTURE_COLUMNS and (texts or isinstance(kind, pa.BaseExtensionType))


def _table_rows(
    table: Table,
    structure: tuple[str, ...],
    identifier: str | None,
    carried: dict[str, Any],
    site_tolerance: float,
) -> Iterator[InputRow]:
    path = _name(table.path)
    one_cell = partial(from_cell, site_tolerance=site_tolerance)
    parse: Callable[..., Structure | Reading] = one_cell if len(structure) == 1 else from_arrays
    if structure == (FRAME,):
        parse = from_frame
    wanted = dict.fromkeys(
        [*structure, *([identifier] if identifier is not None else []), *carried]
    )
    for n, (label, record) in enumerate(table.records(list(wanted))):
        own, place = f"{path}#{n}", f"{path}, {'frame' if FRAME in structure else 'row'} {n}"
        if FRAME in structure:
            # The label of a frame is its path and id.
            own, place, label = label or own, label or place, None
        if isinstance(record, StructureError):
            yield InputRow(label or own, place, None, record)
            continue
        named = label if identifier is None else plain_text(record.get(identifier))
        parsed = attempt(parse, *(plain(record.get(name)) for name in structure))
        known = named is not None and named != ""
        yield InputRow(
            str(named) if known else own,
            f"{place} ({named})" if known else place,
            parsed.structure,
            parsed.error,
            {name: cast(record.get(name), kind) for name, kind in carried.items()},
            parsed.notes,
            parsed.doubts,
        )


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
