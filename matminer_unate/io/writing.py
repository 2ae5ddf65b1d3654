"""Input rows → Parquet files of their features → one table; a chunk is in memory at once."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from matminer_unate.errors import InputError
from matminer_unate.io.input_rows import InputRow, Source
from matminer_unate.io.tables import plain_text

CHUNK_ROWS = 1_000
"""Rows that are written at once: a row group of a part."""

LEAST_GROUP_BYTES = 8 * 2**20
"""Of a row group of the whole table, but the last."""

KEPT_BYTES = 1_800
"""What the Parquet writer keeps for each column of each row group until the file is closed: half of
it from the group on, as much again while the end of the file is written (measured, pyarrow 26)."""


def carried_types(sources: Iterable[Source]) -> dict[str, pa.DataType]:
    """One type for each carried column of all inputs; text where they disagree.

    Numbers of several types become the type that holds them all, as whole numbers beside floats
    become floats. They become text where digits would be lost or a number would have no room:
    whole numbers of 64 bits beside floats, and unsigned ones of 64 bits beside signed ones, unless
    the inputs are known to have none above 2**53 (CSV and JSON are read for it, Parquet says so
    in its statistics); and decimals beside other numbers.

    CSV has no bytes, and no kinds beyond Arrow's own: :func:`table_schema` makes them text there.
    """
    found: dict[str, list[_Kind]] = {}
    for source in sources:
        for name, kind in source.carried.items():
            kinds, one = found.setdefault(name, []), (kind, name in source.short_integers)
            if one not in kinds:
                kinds.append(one)
    return {name: _joined(kinds) for name, kinds in found.items()}


_Kind = tuple[pa.DataType, bool]
"""A type, and whether it is of whole numbers that are exact as floats too."""


def _joined(kinds: Sequence[_Kind]) -> pa.DataType:
    schemas = [pa.schema([("x", kind)]) for kind in dict.fromkeys(kind for kind, _ in kinds)]
    if _disagree(kinds):
        return pa.string()
    try:
        joined = pa.unify_schemas(schemas, promote_options="permissive").field("x").type
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.string()
    return pa.string() if pa.types.is_null(joined) else joined


def _disagree(kinds: Sequence[_Kind]) -> bool:
    """Whether Arrow's common type of numbers could lose digits, or be too small for some."""
    types = [kind for kind, _ in kinds]
    long = {kind for kind, is_short in kinds if not is_short} & {pa.int64(), pa.uint64()}
    floats, signed, integers, decimals = (
        any(map(is_so, types))
        for is_so in (
            pa.types.is_floating,
            pa.types.is_signed_integer,
            pa.types.is_integer,
            pa.types.is_decimal,
        )
    )
    return (
        (bool(long) and floats)
        or (pa.uint64() in long and signed)
        or (decimals and (floats or integers))
    )


def table_schema(
    carried: dict[str, pa.DataType],
    labels: Sequence[str],
    suffix: str,
    metadata: dict[str, str],
) -> pa.Schema:
    """The columns of a table: ``id``, the carried columns and the features.

    Parameters
    ----------
    carried : dict of str to pyarrow.DataType
    labels : sequence of str
        Names of the feature columns.
    suffix : {".parquet", ".csv"}
        Of the table; what CSV has no kind for is text.
    metadata : dict of str to str
        Kept in the schema of a Parquet file.
    """
    if suffix == ".csv":
        carried = {name: _csv_type(kind) for name, kind in carried.items()}
    features = [(label, pa.float32()) for label in labels]
    return pa.schema([("id", pa.string()), *carried.items(), *features], metadata=metadata)


class PartWriter:
    """Writes rows to a Parquet file, chunk by chunk.

    The file is made with the first chunk, so there is none where no row is good.

    Parameters
    ----------
    path : Path
    schema : pyarrow.Schema
        Of :func:`table_schema`.
    """

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.n_rows = 0
        self._path, self._schema = path, schema
        self._rows: list[InputRow] = []
        self._columns: list[NDArray[np.float32]] = []
        self._writer: pq.ParquetWriter | None = None

    def __enter__(self) -> PartWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self._flush()
        if self._writer is not None:
            # Where the disk is full, closing fails as well, and says less.
            with nullcontext() if kind is None else suppress(OSError):
                self._writer.close()

    def add(self, rows: list[InputRow], columns: NDArray[np.float32]) -> None:
        """Take rows with their features, (len(rows), n_features)."""
        self._rows += rows
        self._columns.append(columns)
        if len(self._rows) >= CHUNK_ROWS:
            self._flush()

    def _flush(self) -> None:
        if not self._rows:
            return
        if self._writer is None:
            self._writer = open_parquet_writer(self._path, self._schema)
        columns = np.concatenate(self._columns).T.copy()
        arrays = [pa.array([row.identifier for row in self._rows], pa.string())]
        carried = list(self._schema)[1 : len(self._schema) - len(columns)]
        arrays += [self._carried(field) for field in carried]
        arrays += [pa.array(column) for column in columns]
        self._writer.write_batch(pa.record_batch(arrays, schema=self._schema))
        self.n_rows += len(self._rows)
        self._rows, self._columns = [], []

    def _carried(self, field: pa.Field) -> pa.Array:
        try:
            return _array([row.carried.get(field.name) for row in self._rows], field.type)
        except (pa.ArrowException, OverflowError) as e:
            raise InputError(
                f"the column {field.name!r} holds what has no room in {field.type} ({e}), which "
                "is the type of all inputs together; make it text in each of them, or leave it out"
            ) from e


def open_parquet_writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    """A writer of tables of :func:`table_schema`."""
    # Features hardly ever repeat; a dictionary of them would only be thrown away again.
    words = [field.name for field in schema if pa.types.is_string(field.type)]
    return pq.ParquetWriter(path, schema, use_dictionary=words)


def join_tables(
    tables: Iterable[pa.Table], path: Path, suffix: str, schema: pa.Schema, n_bytes: int
) -> None:
    """Write tables of one schema below each other.

    Parameters
    ----------
    tables : iterable of pyarrow.Table
        Drawn from as they are written; one row group is in memory at once.
    path : Path
        It may end otherwise than in the suffix.
    suffix : {".parquet", ".csv"}
    schema : pyarrow.Schema
    n_bytes : int
        About the size of all tables, which row groups are the larger for; see
        :func:`group_bytes`.
    """
    if suffix == ".csv":
        schema = schema.remove_metadata()
        with pc.CSVWriter(path, schema) as csv:
            for table in tables:
                csv.write_table(table.replace_schema_metadata())
        return
    gathered: list[pa.Table] = []
    wanted = group_bytes(n_bytes, len(schema))
    with open_parquet_writer(path, schema) as parquet:

        def write_group() -> None:
            group = pa.concat_tables(gathered)
            parquet.write_table(group, row_group_size=len(group))
            gathered.clear()

        for table in tables:
            gathered.append(table)
            if sum(one.nbytes for one in gathered) >= wanted:
                write_group()
        if gathered:
            write_group()


def group_bytes(n_bytes: int, n_columns: int) -> int:
    """Size of the row groups with which a table of ``n_bytes`` is joined in the least memory.

    In memory are one group and what the writer keeps of all groups before it, of which larger
    groups leave less: g + KEPT_BYTES · n_columns · n_bytes / g is least where both are the same.
    """
    return max(LEAST_GROUP_BYTES, math.isqrt(KEPT_BYTES * n_columns * n_bytes))


def _csv_type(kind: pa.DataType) -> pa.DataType:
    no_text = pa.types.is_binary(kind) or pa.types.is_fixed_size_binary(kind)
    return pa.string() if no_text or isinstance(kind, pa.BaseExtensionType) else kind


def _array(values: list[Any], kind: pa.DataType) -> pa.Array:
    if pa.types.is_string(kind):
        return pa.array([plain_text(value) for value in values], kind)
    if isinstance(kind, pa.BaseExtensionType):
        stored = [None if value is None else value.value for value in values]
        storage = kind.storage_type
        held = [v if v is None else v.cast(storage).as_py() for v in stored]
        return pa.ExtensionArray.from_storage(kind, pa.array(held, storage))
    # Inputs that are joined may have other units of time.
    cells = [value.cast(kind) if isinstance(value, pa.Scalar) else value for value in values]
    return pa.array(cells, kind)
