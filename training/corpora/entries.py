"""Tables, folders and files ↔ crystals, each failure with its place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from corpora.crystal import Crystal
from matminer_unate.crystals.structures import crystal_arrays
from matminer_unate.errors import InputError, StructureError
from matminer_unate.io.databases import is_database, open_database
from matminer_unate.io.input_rows import InputRow
from matminer_unate.io.readers import open_inputs
from matminer_unate.io.table_rows import ARRAY_COLUMNS

ROWS = 10_000
"""Rows of a table that are in memory at once."""

Entry = tuple[str, Crystal | StructureError]
"""Where in a source a crystal is, in words, and the crystal or why there is none."""


def open_source(source: str, accept_doubtful: bool = False) -> tuple[Iterator[Entry], int]:
    """The entries of a source, and how many there are."""
    if is_database(source):
        database = open_database(source)
        return (_entry(source, row) for row in database.rows()), database.n_rows
    if not source.strip():
        raise InputError("a source without a name; check the quotes and variables of the command")
    path = Path(source)
    if path.suffix.lower() in (".parquet", ".pq") and path.is_file():
        names = _array_columns(path)
        if names:
            return _array_entries(source, path, names), pq.read_metadata(path).num_rows
    opened = open_inputs([path], accept_doubtful=accept_doubtful)
    rows = (row for one in opened for row in one.rows())
    return (_entry(source, row) for row in rows), sum(one.n_rows for one in opened)


def write_corpus(path: Path, crystals: Sequence[Crystal]) -> None:
    """Write crystals as the Parquet table that is read fastest."""
    columns = {
        "material_id": [c.identifier for c in crystals],
        "lattice": [c.lattice.ravel() for c in crystals],
        "frac_coords": [c.frac_coords.ravel() for c in crystals],
        "species": [c.atomic_numbers.astype(np.int16) for c in crystals],
        "formula_reduced": [c.formula for c in crystals],
        "spacegroup_number": [c.spacegroup_number for c in crystals],
    }
    pd.DataFrame(columns).to_parquet(path)


def _entry(source: str, row: InputRow) -> Entry:
    try:
        if row.error is not None:
            raise row.error
        arrays = crystal_arrays(row.structure)
    except StructureError as e:
        return row.place, e
    known = _known_spacegroup(row.carried.get("spacegroup_number"))
    return row.place, Crystal(*arrays, _unique(source, row.identifier), known)


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


def _array_entries(source: str, path: Path, names: list[str]) -> Iterator[Entry]:
    """From a table of numbers, of which some rows are in memory at once."""
    for k, (lattice, coords, species, name, spacegroup) in enumerate(_array_rows(path, names)):
        own = f"{Path(source)}#{k}" if pd.isna(name) else str(name)
        place = f"{Path(source)}, row {k} ({own})"
        try:
            numbers = np.asarray(species, dtype=np.int64)
            if len(numbers) and not 1 <= numbers.min() <= numbers.max() <= 118:
                raise ValueError("a species is no atomic number")
            cell = np.reshape(lattice, (3, 3)).astype(np.float64)
            positions = np.reshape(coords, (len(numbers), 3)).astype(np.float64)
        except (TypeError, ValueError) as e:
            yield place, StructureError(f"lattice, frac_coords and species do not fit ({e})")
            continue
        known = _known_spacegroup(spacegroup)
        yield place, Crystal(cell, positions, numbers, _unique(source, own), known)


def _array_rows(path: Path, names: list[str]) -> Iterator[tuple[Any, ...]]:
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(ROWS, columns=names):
            table = batch.to_pandas()
            nothing = pd.Series([None] * len(table), dtype=object)
            columns = [table[name] for name in ARRAY_COLUMNS]
            columns += [table.get(name, nothing) for name in ("material_id", "spacegroup_number")]
            yield from zip(*columns, strict=True)


def _unique(source: str, identifier: str) -> str:
    """The ids 0, 1, 2, … of two tables are not the same crystals."""
    return f"{source}#{identifier}" if identifier.isdigit() else identifier


def _known_spacegroup(value: Any) -> int:
    try:
        number = int(value)
    except (TypeError, ValueError):
        return 0
    return number if 1 <= number <= 230 else 0
