"""Files, folders and tables → pymatgen Structures, each failure with its row."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path

from matminer_unate.cif.reading import SITE_TOLERANCE, crystal_blocks, read_crystal
from matminer_unate.errors import InputError, StructureError
from matminer_unate.io.ase_files import ASE_SUFFIXES, is_ase_json, open_ase, open_ase_json
from matminer_unate.io.input_rows import InputRow, Source, path_text
from matminer_unate.io.json_tables import open_json, open_json_lines
from matminer_unate.io.parsing import Parsed, attempt, decode, from_cell, from_poscar
from matminer_unate.io.structure_dicts import from_dict
from matminer_unate.io.table_rows import table_source
from matminer_unate.io.tables import open_csv, open_parquet

_PARQUET, _CSV, _JSON_LINES = (".parquet", ".pq"), (".csv", ".tsv"), (".jsonl", ".ndjson")

_STRUCTURES = (".cif", ".mcif", ".vasp", ".poscar", ".contcar", ".json")

_READABLE = (
    "CIF (.cif, .mcif), POSCAR (POSCAR*, CONTCAR*, .vasp, .poscar), pymatgen JSON (.json), a "
    "table (.parquet, .csv, .tsv, .json, .jsonl) or frames of ASE (.extxyz, .xyz, .db, .traj)"
)


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
        return table_source(open_parquet(path), column, site_tolerance)
    if suffix in _CSV:
        return table_source(open_csv(path), column, site_tolerance)
    if suffix in _JSON_LINES:
        return table_source(open_json_lines(path), column, site_tolerance)
    if suffix in ASE_SUFFIXES:
        return table_source(open_ase(path), column, site_tolerance)
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
    name = path_text(path)
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


def _json(path: Path, column: str | None, site_tolerance: float) -> Source:
    """JSON is a structure, structures, a table, or JSON lines."""
    try:
        content = json.loads(_text(path))
    except json.JSONDecodeError as e:
        if e.msg != "Extra data":
            return _file(path, site_tolerance)
        return table_source(open_json_lines(path), column, site_tolerance)
    except (StructureError, RecursionError):
        # Said again with its row, so that one damaged file does not stop the others.
        return _file(path, site_tolerance)
    table = open_json(path, content, column)
    if is_ase_json(content):
        table = open_ase_json(path, content)
    if table is None:
        return _file(path, site_tolerance)
    return table_source(table, column, site_tolerance)
