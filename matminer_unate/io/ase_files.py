"""Files of ASE → tables of frames: extended XYZ, databases and trajectories, one frame at a time.

ASE's own readers build the atoms. They are given one frame each, so that a damaged one is an error
in its place. No pickle is read: trajectories of ASE before 2014 are refused.
"""

from __future__ import annotations

import importlib
import json
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matminer_unate.errors import InputError, StructureError
from matminer_unate.io.cut_numbers import ends_in_short_number
from matminer_unate.io.input_rows import ALL, Ranges, selected
from matminer_unate.io.objects import from_ase
from matminer_unate.io.tables import Record, Table, open_text, text_errors, typed_table

if TYPE_CHECKING:
    from pymatgen.core import Structure


ASE_SUFFIXES = (".xyz", ".extxyz", ".db", ".traj")

FRAME = "frame of ASE"
"""Column of what builds the atoms of a frame."""

_RESULTS = ("energy", "free_energy", "magmom")
"""What ASE keeps apart from the other values of a frame."""

_ULM = (b"- of Ulm", b"AFFormat")
"""How trajectories begin, now and before 2016."""

_PLAIN = "species:S:1:pos:R:3"
"""Columns of a frame whose header names none."""

_COUNT = re.compile(r"\s*[0-9]+\s*")


def open_ase(path: Path) -> Table:
    """Look at all frames of a file of ASE: how many, and which values they carry.

    Parameters
    ----------
    path : Path
        Extended XYZ (``.xyz``, ``.extxyz``, also gzipped), an ASE database (``.db``) or an ASE
        trajectory (``.traj``).

    Returns
    -------
    Table
        Its column :data:`FRAME` holds what :func:`from_frame` reads; the others are the values in
        ``atoms.info``, the key-value pairs, and energies.

    Raises
    ------
    InputError
        The file is of another format, damaged as a whole, or empty.
    ImportError
        ASE is not installed.
    """
    kind = next(s.lower() for s in reversed(path.suffixes) if s.lower() in ASE_SUFFIXES)
    if path.suffix.lower() == ".gz" and kind in (".db", ".traj"):
        raise InputError(f"{path} is packed; unpack it first (gunzip)")
    _ase("ase.io", path)
    read = {".db": _database, ".traj": _trajectory}.get(kind, _xyz)
    return _table(path, partial(read, path))


def open_ase_json(path: Path, content: dict[str, Any]) -> Table:
    """Look at an ASE database in JSON, as :func:`open_ase`.

    Parameters
    ----------
    path : Path
    content : dict
        What the file holds, parsed.
    """
    _ase("ase.io", path)
    return _table(path, partial(_json_database, path, content))


def is_ase_json(content: Any) -> bool:
    """Whether this is what an ASE database in JSON holds."""
    return isinstance(content, dict) and {"ids", "nextid"} <= content.keys()


def from_frame(build: Callable[[], Any]) -> Structure:
    """Structure of the atoms that ``build`` gives.

    Raises
    ------
    StructureError
        They are not periodic in three directions.
    """
    atoms = build()
    if not all(atoms.pbc):
        along = ", ".join(axis for axis, yes in zip("abc", atoms.pbc, strict=True) if yes)
        raise StructureError(
            f"the frame is periodic along {along or 'no direction'}{' only' if along else ''}; a "
            "crystal needs all three (atoms.pbc = True, with the cell set, before it is written)"
        )
    structure: Structure = from_ase(atoms)
    return structure


Records = Callable[[Ranges], Iterator[tuple[int, Record]]]


def _table(path: Path, records: Records) -> Table:
    try:
        table = typed_table(path, records, [FRAME])
        _, (_, first) = next(records(ALL), (0, (None, None)))
    except (InputError, ImportError):
        raise
    except Exception as e:  # ASE's readers fail in their own ways
        raise InputError(f"{path} is damaged or not of this format ({e}); write it again") from e
    if first is None:
        raise InputError(f"{path} holds no frames; write it again")
    if all(isinstance(record, StructureError) for _, (_, record) in records(ALL)):
        raise InputError(f"{path} is damaged or not of this format ({first}); write it again")
    return table


def _scalars(values: dict[str, Any]) -> dict[str, Any]:
    """NumPy's numbers and arrays as Python's numbers and lists."""
    return {
        str(key): value.tolist() if hasattr(value, "tolist") else value
        for key, value in values.items()
    }


# -- extended XYZ ---------------------------------------------------------------------------------


def _xyz(path: Path, ranges: Ranges) -> Iterator[tuple[int, Record]]:
    with text_errors(path), open_text(path) as file:
        for n, (number, frame, whole) in selected(_xyz_frames(file), ranges):
            record = _xyz_record(path, number, frame) if whole else _not_whole(number, frame)
            yield n, (None, record)


def _xyz_record(path: Path, number: int, frame: list[str]) -> dict[str, Any] | StructureError:
    try:
        header = _ase("ase.io.extxyz", path).key_val_str_to_dict(frame[1])
    except Exception as e:
        return StructureError(f"line {number + 1} is no header of a frame ({_said(e)})")
    if "Lattice" not in header:
        return {FRAME: partial(_no_cell, number)}
    values = {k: v for k, v in header.items() if k not in ("Lattice", "Properties", "pbc")}
    if _is_cut(str(header.get("Properties", _PLAIN)), frame):
        return {FRAME: partial(_cut, number), **_scalars(values)}
    text = "".join(line if line.endswith("\n") else f"{line}\n" for line in frame)
    return {FRAME: partial(_xyz_atoms, text), **_scalars(values)}


def _is_cut(properties: str, frame: list[str]) -> bool:
    """Whether the file may end inside of the last coordinate; other numbers may be behind them."""
    if properties.split(":")[-3:-2] != ["pos"]:
        return False
    numbers = [number for line in frame[2:] for number in line.split()[-3:]]
    return bool(numbers) and ends_in_short_number(frame[-1], numbers)


def _xyz_atoms(text: str) -> Any:
    return importlib.import_module("ase.io").read(StringIO(text), format="extxyz")


def _xyz_frames(lines: Iterator[str]) -> Iterator[tuple[int, list[str], bool]]:
    """First line's number, lines, and whether they are as many as they should be.

    ASE looks for the next frame by the number of atoms of this one, and so loses all that follow
    one that is cut short. A line with nothing but a number is no atom: the next frame begins there.
    """
    start, frame, expected = 0, [""], 0
    inside = False
    for number, line in enumerate(lines, start=1):
        is_count = _COUNT.fullmatch(line) is not None
        if inside and is_count and (not expected or len(frame) > 1):
            yield start, frame, False
            inside = False
        if not inside:
            if line.strip():
                inside, start, frame = True, number, [line]
                expected = int(line) + 2 if is_count else 0
        elif expected:
            frame.append(line)
        if inside and len(frame) == expected:
            yield start, frame, True
            inside = False
    if inside:
        yield start, frame, False


def _not_whole(number: int, frame: list[str]) -> StructureError:
    if _COUNT.fullmatch(frame[0]):
        return StructureError(
            f"the frame that begins in line {number} has {max(0, len(frame) - 2)} of "
            f"{frame[0].strip()} atoms; it was cut short, write it again"
        )
    return StructureError(
        f"line {number} should be the number of atoms of a frame, but is {frame[0].strip()[:60]!r}"
    )


def _cut(number: int) -> None:
    raise StructureError(
        f"the frame that begins in line {number} ends in a coordinate without a line end, and the "
        "others are longer: it may be cut; write it again, or end its last line if it is whole"
    )


def _no_cell(number: int) -> None:
    raise StructureError(
        f"the frame that begins in line {number} has no cell, so it is not periodic; write it as "
        'extended XYZ, with Lattice="…" in its second line'
    )


# -- databases ------------------------------------------------------------------------------------


def _database(path: Path, ranges: Ranges) -> Iterator[tuple[int, Record]]:
    identifiers = _identifiers(path)
    with _ase("ase.db", path).connect(path, type="db") as database:
        for n, identifier in selected(identifiers, ranges):
            yield n, _row_record(path, identifier, partial(database.get, id=identifier))


def _identifiers(path: Path) -> list[int]:
    # Looked at without ASE, which would make its tables in any other SQLite file.
    with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
        return [one for (one,) in database.execute("SELECT id FROM systems ORDER BY id")]


def _json_database(
    path: Path, content: dict[str, Any], ranges: Ranges
) -> Iterator[tuple[int, Record]]:
    for n, identifier in selected(content["ids"], ranges):
        yield n, _row_record(path, identifier, partial(_json_row, content, identifier))


def _json_row(content: dict[str, Any], identifier: int) -> Any:
    # Each row by itself, so that a damaged one is an error in its place.
    values = importlib.import_module("ase.io.jsonio").decode(json.dumps(content[str(identifier)]))
    return importlib.import_module("ase.db.row").AtomsRow({**values, "id": identifier})


def _row_record(path: Path, identifier: int, read: Callable[[], Any]) -> Record:
    label = f"{path}#{identifier}"
    try:
        row = read()
        values = {**row.key_value_pairs, **{k: row.get(k) for k in _RESULTS if k in row}}
    except Exception as e:
        return label, StructureError(f"row {identifier} of the database is damaged ({_said(e)})")
    return label, {FRAME: row.toatoms, **_scalars(values)}


# -- trajectories ---------------------------------------------------------------------------------


def _trajectory(path: Path, ranges: Ranges) -> Iterator[tuple[int, Record]]:
    with path.open("rb") as file:
        if not file.read(8).startswith(_ULM):
            raise InputError(
                f"{path} is no trajectory of ASE, or of ASE before 2014 (a pickle, which is not "
                "read because it can run any program); write it again with a newer ASE"
            )
    with _ase("ase.io.trajectory", path).TrajectoryReader(path) as frames:
        for n, _ in selected(range(len(frames)), ranges):
            try:
                atoms = frames[n]
            except Exception as e:
                error = StructureError(f"frame {n} of the trajectory is damaged ({_said(e)})")
                yield n, (None, error)
                continue
            results = atoms.calc.results if atoms.calc is not None else {}
            values = {**atoms.info, **{k: results[k] for k in _RESULTS if k in results}}
            yield n, (None, {FRAME: partial(_same, atoms), **_scalars(values)})


def _same(atoms: Any) -> Any:
    return atoms


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _ase(module: str, path: Path) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as e:
        raise ImportError(f'{path} needs ase ({e}): pip install "matminer_unate[ase]"') from e
