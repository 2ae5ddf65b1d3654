"""Files, folders and tables → pymatgen Structures, each failure with its row."""

from __future__ import annotations

import gzip
import json
import os
import re
import stat
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path, PurePath
from typing import Any

from matminer_unate.cif.reading import SITE_TOLERANCE, crystal_blocks, read_crystal
from matminer_unate.errors import InputError, StructureError
from matminer_unate.io.archives import Member, is_archive, open_archive
from matminer_unate.io.ase_files import ASE_SUFFIXES, is_ase_json, open_ase, open_ase_json
from matminer_unate.io.data_sets import open_data_set
from matminer_unate.io.databases import is_database, open_database
from matminer_unate.io.input_rows import InputRow, Source, path_text, selected
from matminer_unate.io.json_tables import open_json, open_json_lines
from matminer_unate.io.parsing import Parsed, attempt, decode, from_cell
from matminer_unate.io.poscar import from_poscar
from matminer_unate.io.structure_dicts import from_dict
from matminer_unate.io.table_rows import table_source
from matminer_unate.io.tables import DAMAGED_GZIP, Table, open_csv, open_parquet

_UNFINISHED = re.compile(r"_manifest-\d+-of-\d+\.jsonl")
"""A file beside the parts of a run of the command line that has not ended."""

_PARQUET, _CSV, _JSON_LINES = (".parquet", ".pq"), (".csv", ".tsv"), (".jsonl", ".ndjson")

_STRUCTURES = (".cif", ".mcif", ".vasp", ".poscar", ".contcar", ".json")

_READABLE = (
    "CIF (.cif, .mcif), POSCAR (POSCAR*, CONTCAR*, .vasp, .poscar), pymatgen JSON (.json), an "
    "archive of these (.tar, .tar.gz, .zip), a table (.parquet, .csv, .tsv, .json, .jsonl) or "
    "frames of ASE (.extxyz, .xyz, .db, .traj)"
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
        Structure files, folders of them (with their subfolders, also linked ones, sorted), archives
        of them, tables, folders of Parquet files (whose subfolders may be named ``key=value``),
        patterns of these, as ``parts/*.parquet``, and databases by name
        (:mod:`~matminer_unate.io.databases`).
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
        A path is missing or no readable input at all, a subfolder cannot be read, or the tolerance
        is not from 0 to 1 Å. All paths are looked at before the first row is read.
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
    max_sites: int | None = None,
) -> list[Source]:
    """Find out what each path is and which columns it has, as for :func:`iter_inputs`.

    Of crystals with more than ``max_sites``, the rows have an error.
    """
    if not 0 <= site_tolerance <= 1:
        raise InputError(f"site_tolerance is {site_tolerance}; give a distance from 0 to 1 Å")
    sources = [
        source
        for path in paths
        for one in ([str(path)] if is_database(str(path)) else _expanded(Path(path)))
        for source in _open(one, column, site_tolerance)
    ]
    limits = RowLimits(accept_doubtful, max_sites)
    return [replace(source, parse=partial(limits.parsed, source.parse)) for source in sources]


def _expanded(path: Path) -> list[Path]:
    """The path, or what a pattern such as ``parts/*.parquet`` stands for."""
    if path.exists() or not set("*?[") & set(str(path)):
        return [path]
    found = sorted(Path(path.anchor).glob(str(path.relative_to(path.anchor))))
    if not found:
        raise InputError(f"{path}: nothing is so named; check the pattern")
    return found


@dataclass(frozen=True)
class RowLimits:
    """Which crystals are taken.

    Attributes
    ----------
    accept_doubtful : bool
    max_sites : int or None
    """

    accept_doubtful: bool
    max_sites: int | None

    def parsed(
        self, parse: Callable[[int, Any], list[InputRow]], n: int, item: Any
    ) -> list[InputRow]:
        """The rows of an item; those of crystals that are not taken have an error."""
        return [self._limited(row) for row in parse(n, item)]

    def _limited(self, row: InputRow) -> InputRow:
        error = None
        if row.doubts and not self.accept_doubtful:
            error = StructureError(
                f"{'; '.join(row.doubts)}; or take it as it is with --accept-doubtful "
                "(accept_doubtful=True in Python)"
            )
            row = replace(row, doubts=())
        n_sites = 0 if row.structure is None else len(row.structure)
        if error is None and self.max_sites is not None and n_sites > self.max_sites:
            error = StructureError(
                f"{n_sites:,} sites, which take some {n_sites * 25e-6:.1f} GB of memory; give a "
                f"higher --max-sites than {self.max_sites:,}, or a smaller cell"
            )
        return row if error is None else replace(row, structure=None, error=error)


def _open(path: str | Path, column: str | None, site_tolerance: float) -> list[Source]:
    if isinstance(path, str) and is_database(path):
        return [open_database(path)]
    path = Path(path)
    if path.is_dir():
        return _folder(path, column, site_tolerance)
    if not path.is_file():
        raise InputError(f"{path}: no such file or folder; check the path")
    table = _table(path, column)
    if table is not None:
        return [table_source(table, column, site_tolerance)]
    if is_archive(path):
        return [_archive(path, site_tolerance)]
    if _is_structure_file(path):
        return [_files(path, [path], site_tolerance)]
    raise InputError(f"{path}: a file of this name is none that can be read; expected {_READABLE}")


def _table(path: Path, column: str | None) -> Table | None:
    """The table that a file holds; None where it is of another kind."""
    suffix = _suffix(path)
    if suffix in _PARQUET:
        return open_parquet(path)
    if suffix in _CSV:
        return open_csv(path)
    if suffix in _JSON_LINES:
        return open_json_lines(path)
    if suffix in ASE_SUFFIXES:
        return open_ase(path)
    return _json(path, column) if suffix == ".json" else None


# -- files and folders ----------------------------------------------------------------------------


def _suffix(path: PurePath) -> str:
    return PurePath(path.name.lower().removesuffix(".gz")).suffix


def _is_structure_file(path: PurePath) -> bool:
    return _suffix(path) in _STRUCTURES or path.name.startswith(("POSCAR", "CONTCAR"))


def _files(
    path: Path,
    files: Sequence[Path],
    site_tolerance: float,
    skipped: tuple[Path, ...] = (),
    lost: Collection[Path] = (),
) -> Source:
    parse = partial(_file_rows, site_tolerance)
    fetch = partial(selected, files)
    there = tuple(file for file in files if file not in lost)
    return Source(path, fetch, parse, len(files), there, skipped=skipped)


def _archive(path: Path, site_tolerance: float) -> Source:
    n_members, skipped, fetch = open_archive(path, _is_structure_file)
    parse = partial(_member_rows, site_tolerance)
    return Source(path, fetch, parse, n_members, (path,), skipped=skipped)


def _folder(folder: Path, column: str | None, site_tolerance: float) -> list[Source]:
    files, lost = _files_below(folder)
    # Names with _ in front are remarks on a data set of Parquet files: _SUCCESS, _delta_log/0.json.
    remarks = {path for path in files if "/_" in f"/{path.relative_to(folder).as_posix()}"}
    found = [
        path
        for path in files
        if _is_structure_file(path) and not (path in remarks and _suffix(path) == ".json")
    ]
    if found:
        skipped = tuple(path for path in files if not _is_structure_file(path))
        return [_files(folder, found, site_tolerance, skipped, lost)]
    # Parts of a run that is not finished are not read, above all by this run when it goes on.
    unfinished = {path.parent for path in remarks if _UNFINISHED.fullmatch(path.name)}
    parts = [
        path
        for path in files
        if _suffix(path) in _PARQUET and path not in remarks and path.parent not in unfinished
    ]
    if parts:
        tables = open_data_set(folder, parts)
        return [table_source(table, column, site_tolerance) for table in tables]
    known = (*_CSV, *_JSON_LINES, *ASE_SUFFIXES)
    others = [path for path in files if _suffix(path) in known or is_archive(path)]
    raise InputError(
        f"{folder}: the folder holds no structure files (.cif, .vasp, .poscar, .json, POSCAR*, "
        f"CONTCAR*)" + (f"; pass its tables by name, e.g. {others[0]}" if others else "")
    )


def _files_below(folder: Path) -> tuple[list[Path], set[Path]]:
    """All files of a folder, sorted, with those of folders that are links, each folder once.

    Hidden ones are left out: macOS puts a ._x.cif beside every x.cif it copies.

    Returns
    -------
    files : list of Path
    lost : set of Path
        Those among them that cannot even be looked at, as links to nothing.

    Raises
    ------
    InputError
        A folder in it cannot be read.
    """
    found: list[Path] = []
    seen: set[Path] = set()
    waiting = [folder]
    while waiting:
        # Links come last, so that files are named by the folder that they are in, if it is here.
        links: list[Path] = []
        walks = (os.walk(path, onerror=_folder_not_read) for path in waiting)
        for place, folders, names in chain.from_iterable(walks):
            here, real = Path(place), Path(place).resolve()
            if real in seen:
                folders.clear()
                continue
            seen.add(real)
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            paths = [here / name for name in folders]
            # A link to a folder that it is in is a circle.
            links += [
                path
                for path in paths
                if path.is_symlink() and not real.is_relative_to(path.resolve())
            ]
            found += [here / name for name in names if not name.startswith(".")]
        waiting = links
    lost: set[Path] = set()
    files = sorted(path for path in found if _is_file(path, lost))
    return files, lost


def _is_file(path: Path, lost: set[Path]) -> bool:
    """Whether it is a file, or may be: what cannot be looked at is noted as lost."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:
        lost.add(path)
        return True


def _folder_not_read(error: OSError) -> None:
    raise InputError(
        f"{error.filename}: the folder could not be read ({error.strerror}), and so not what is in "
        "it; make it readable, or name the files and folders beside it one by one"
    ) from error


def _file_rows(site_tolerance: float, n: int, path: Path) -> list[InputRow]:
    try:
        content: bytes | StructureError = path.read_bytes()
    except OSError as e:
        content = StructureError(f"the file could not be opened ({e})")
    return _member_rows(site_tolerance, n, (path_text(path), content))


def _member_rows(site_tolerance: float, n: int, member: Member) -> list[InputRow]:
    name, content = member
    try:
        if isinstance(content, StructureError):
            raise content
        parsed = _parse(PurePath(name), content, site_tolerance)
    except StructureError as e:
        parsed = [Parsed(None, e)]
    rows = []
    for k, one in enumerate(parsed):
        identifier = name if len(parsed) == 1 else f"{name}#{k}"
        rows.append(
            InputRow(
                identifier, identifier, one.structure, one.error, notes=one.notes, doubts=one.doubts
            )
        )
    return rows


def _parse(name: PurePath, content: bytes, site_tolerance: float) -> list[Parsed]:
    text = _decoded(name, content)
    if _suffix(name) == ".json":
        try:
            parsed = json.loads(text)
        except (json.JSONDecodeError, RecursionError) as e:
            raise StructureError(f"no readable JSON ({e}); export it again") from e
        items = parsed if isinstance(parsed, list) else [parsed]
        if not items:
            raise StructureError("the JSON list is empty; export it again")
        return [attempt(from_cell if isinstance(i, str) else from_dict, i) for i in items]
    if _suffix(name) in (".cif", ".mcif"):
        return [attempt(read_crystal, block, site_tolerance) for block in crystal_blocks(text)]
    return [attempt(from_poscar, text)]


def _decoded(name: PurePath, content: bytes) -> str:
    try:
        return decode(gzip.decompress(content) if name.suffix.lower() == ".gz" else content)
    except DAMAGED_GZIP as e:
        raise StructureError(f"the file could not be opened ({e})") from e


def _json(path: Path, column: str | None) -> Table | None:
    """JSON is a structure, structures (both: None), a table, or JSON lines."""
    try:
        content = json.loads(_decoded(path, path.read_bytes()))
    except json.JSONDecodeError as e:
        return open_json_lines(path) if e.msg == "Extra data" else None
    except (StructureError, RecursionError, OSError):
        # Said again with its row, so that one damaged file does not stop the others.
        return None
    return (
        open_ase_json(path, content) if is_ase_json(content) else open_json(path, content, column)
    )
