"""Tables, folders and files → lattice, coordinates and species, each failure with its place."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from matminer_unate.crystals.structures import CrystalArrays, crystal_arrays
from matminer_unate.errors import InputError, StructureError
from matminer_unate.io.databases import is_database, read_database
from matminer_unate.io.input_rows import InputRow
from matminer_unate.io.readers import open_inputs
from matminer_unate.io.table_rows import ARRAY_COLUMNS


@dataclass(frozen=True)
class Entry:
    """One crystal of a source as it came."""

    place: str
    identifier: str
    crystal: CrystalArrays | StructureError
    spacegroup: int | None


def open_source(source: str) -> tuple[Iterator[Entry], int | None]:
    """The entries of a source, and how many there are, if that is known."""
    if is_database(source):
        return map(_entry, read_database(source)), None
    if not source.strip():
        raise InputError("a source without a name; check the quotes and variables of the command")
    path = Path(source)
    if path.suffix.lower() in (".parquet", ".pq") and path.is_file():
        names = _array_columns(path)
        if names:
            table = pd.read_parquet(path, columns=names)
            return _array_entries(path, table), len(table)
    (opened,) = open_inputs([path])
    return map(_entry, opened.rows()), opened.n_rows


def _entry(row: InputRow) -> Entry:
    crystal: CrystalArrays | StructureError
    try:
        crystal = row.error or crystal_arrays(row.structure)
    except StructureError as e:
        crystal = e
    known = _known_spacegroup(row.carried.get("spacegroup_number"))
    return Entry(row.place, row.identifier, crystal, known)


def _array_columns(path: Path) -> list[str]:
    """The columns to read of a table of numbers, which needs no structures; else none."""
    try:
        schema = pq.read_schema(path)
    except (pa.ArrowException, OSError):
        return []  # whoever reads it next says why
    for name in ARRAY_COLUMNS:
        kind = schema.field(name).type if schema.names.count(name) == 1 else pa.null()
        if not pa.types.is_list(kind) or not pa.types.is_primitive(kind.value_type):
            return []
    return [*ARRAY_COLUMNS, *({"material_id", "spacegroup_number"} & set(schema.names))]


def _array_entries(path: Path, table: pd.DataFrame) -> Iterator[Entry]:
    n = len(table)
    names = table.get("material_id", pd.Series([None] * n, dtype=object))
    spacegroups = table.get("spacegroup_number", pd.Series([None] * n, dtype=object))
    columns = (table[name] for name in ARRAY_COLUMNS)
    for k, (lattice, coords, species, name, spacegroup) in enumerate(
        zip(*columns, names, spacegroups, strict=True)
    ):
        crystal: CrystalArrays | StructureError
        try:
            numbers = np.asarray(species, dtype=np.int64)
            if len(numbers) and not 1 <= numbers.min() <= numbers.max() <= 118:
                raise ValueError("a species is no atomic number")
            crystal = (
                np.reshape(lattice, (3, 3)).astype(np.float64),
                np.reshape(coords, (len(numbers), 3)).astype(np.float64),
                numbers,
            )
        except (TypeError, ValueError) as e:
            crystal = StructureError(f"lattice, frac_coords and species do not fit ({e})")
        own = f"{path}#{k}" if pd.isna(name) else str(name)
        yield Entry(f"{path}, row {k} ({own})", own, crystal, _known_spacegroup(spacegroup))


def _known_spacegroup(value: Any) -> int | None:
    try:
        number = int(value)
    except (TypeError, ValueError):
        return None
    return number if 1 <= number <= 230 else None
