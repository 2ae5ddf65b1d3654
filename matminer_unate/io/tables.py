"""Parquet and CSV tables → rows, one at a time, and one type for each column of any table.

A row that cannot be read is an error in its place, never the end of the table.
"""

from __future__ import annotations

import csv
import gzip
import json
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from matminer_unate.errors import InputError, StructureError
from matminer_unate.io.input_rows import ALL, Ranges, selected, within
from matminer_unate.io.parsing import UTF16_MARKS

if TYPE_CHECKING:
    import pyarrow as pa


STRUCTURE_COLUMNS = (
    "structure", "structures", "cif", "poscar", "contcar", "final_structure", "atoms", "entry"
)  # fmt: skip
"""Names that a column of structures is looked for under, in this order, whatever their case."""

DAMAGED_GZIP = (OSError, EOFError, zlib.error)
"""What is raised where a gzipped file is damaged."""

EXACT = 2**53
"""Whole numbers up to this are exact as floats too."""

_BATCH_ROWS = 500
"""Rows of a Parquet file that are in memory at once."""

Record = tuple[str | None, "dict[str, Any] | StructureError"]
"""One row: its label, where the file gives one apart from its columns, and its cells."""


@dataclass(frozen=True)
class Table:
    """A table that has been looked at.

    Attributes
    ----------
    path : Path
    names : list of str
        Its columns.
    types : dict of str to pyarrow.DataType
        Of the columns that hold scalars; the others hold lists, dicts or the text of structures.
    n_rows : int
    records : callable
        Starts reading the columns of the given names in the given ranges of rows: an iterator of
        numbers and records. More columns than asked for may come.
    by_range : bool
        Whether a range in the middle is read without all that is before it.
    short_integers : frozenset of str
        Columns of whole numbers that are known to be exact as floats too.
    """

    path: Path
    names: list[str]
    types: dict[str, pa.DataType]
    n_rows: int
    records: Callable[[Sequence[str], Ranges], Iterator[tuple[int, Record]]]
    by_range: bool = False
    short_integers: frozenset[str] = frozenset()


# -- Parquet --------------------------------------------------------------------------------------


def open_parquet(path: Path) -> Table:
    """Look at the columns of a Parquet file.

    Raises
    ------
    InputError
        The file is no Parquet file, or is damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            schema, n_rows = file.schema_arrow, file.metadata.num_rows
            types = {f.name: kind for f in schema if (kind := _scalar_type(f.type)) is not None}
            short = _short_integers(file, types)
    except (pa.ArrowException, OSError) as e:
        raise InputError(f"{path} is no readable Parquet file ({e}); write it again") from e
    records = partial(_parquet_records, path)
    return Table(path, schema.names, types, n_rows, records, True, short)


def _short_integers(file: Any, types: dict[str, pa.DataType]) -> frozenset[str]:
    """The columns of 64 bits whose numbers are exact as floats, by the statistics of the file."""
    import pyarrow as pa

    least = {pa.int64(): -EXACT, pa.uint64(): 0}
    paths = [file.schema.column(j).path for j in range(len(file.schema.names))]
    # The column a.b and the member b of the struct a have the same path.
    short = {name for name in paths if types.get(name) in least and paths.count(name) == 1}
    for group in range(file.num_row_groups):
        chunks = file.metadata.row_group(group)
        for j, name in enumerate(paths):
            if name in short and not _is_within(chunks.column(j), least[types[name]], EXACT):
                short.remove(name)
    return frozenset(short)


def _is_within(chunk: Any, least: int, most: int) -> bool:
    """Whether statistics say that all numbers of a column in a row group are in an interval."""
    known = chunk.statistics
    if known is None:
        return False
    if known.has_min_max:
        return bool(least <= known.min <= known.max <= most)
    return bool(known.has_null_count and known.null_count == chunk.num_values)


def _parquet_records(
    path: Path, names: Sequence[str], ranges: Ranges
) -> Iterator[tuple[int, Record]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path, page_checksum_verification=True)
    except (pa.ArrowException, OSError) as e:
        raise InputError(f"{path} is damaged ({e}); write it again") from e
    with file:
        start = 0
        for group in range(file.num_row_groups):
            stop = start + file.metadata.row_group(group).num_rows
            if wanted := within(ranges, start, stop):
                yield from _group_records(file, group, start, names, wanted)
            start = stop


def _group_records(
    file: Any, group: int, start: int, names: Sequence[str], wanted: Ranges
) -> Iterator[tuple[int, Record]]:
    """The wanted rows of a row group; an error in the place of each that cannot be read."""
    first = following = start
    try:
        for batch in file.iter_batches(_BATCH_ROWS, row_groups=[group], columns=list(names)):
            for rows in within(wanted, first, first + batch.num_rows):
                some = batch.slice(rows.start - first, len(rows))
                columns = [_cells(column) for column in some.columns]
                for row, cells in zip(rows, zip(*columns, strict=True), strict=True):
                    following = row + 1
                    yield row, (None, dict(zip(batch.schema.names, cells, strict=True)))
            first += batch.num_rows
    except Exception as e:  # of damaged pages, Arrow says all sorts of things
        error = StructureError(
            f"row group {group} of the file is damaged ({' '.join(str(e).split())}); write it again"
        )
        for rows in within(wanted, following, wanted[-1].stop):
            for lost in rows:
                yield lost, (None, error)


def with_constants(table: Table, constants: dict[str, Any]) -> Table:
    """A table with further columns that have one value each, an integer, text or None."""
    import pyarrow as pa

    new = {name: value for name, value in constants.items() if name not in table.names}
    kinds = {int: pa.int64(), str: pa.string(), type(None): pa.null()}
    types = {**table.types, **{name: kinds[type(value)] for name, value in new.items()}}
    short = {n for n, value in new.items() if isinstance(value, int) and abs(value) <= EXACT}
    return replace(
        table,
        names=[*table.names, *new],
        types=types,
        records=partial(_records_with_constants, table.records, new),
        short_integers=table.short_integers | short,
    )


def _records_with_constants(
    records: Callable[[Sequence[str], Ranges], Iterator[tuple[int, Record]]],
    constants: dict[str, Any],
    names: Sequence[str],
    ranges: Ranges,
) -> Iterator[tuple[int, Record]]:
    own = [name for name in names if name not in constants]
    for row, (label, record) in records(own, ranges):
        whole = {**record, **constants} if isinstance(record, dict) else record
        yield row, (label, whole)


def _scalar_type(kind: pa.DataType) -> pa.DataType | None:
    """The type that a column is carried in; None where its cells are lists, structs or maps."""
    import pyarrow as pa

    # By name, because older versions of Arrow lack the tests for views.
    if str(kind) in ("string", "large_string", "string_view"):
        return pa.string()
    if str(kind) in ("binary", "large_binary", "binary_view"):
        return pa.binary()
    if isinstance(kind, pa.BaseExtensionType):
        return None if _scalar_type(kind.storage_type) is None else kind
    if pa.types.is_dictionary(kind):
        return _scalar_type(kind.value_type)
    return None if pa.types.is_nested(kind) else kind


def _cells(column: pa.Array) -> list[Any]:
    """Cells as Python objects; as Arrow's where Python's would lose digits or be out of range."""
    import pyarrow as pa

    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_temporal(column.type) or isinstance(column.type, pa.BaseExtensionType):
        return [cell if cell.is_valid else None for cell in column]
    return list(column.to_pylist())


# -- CSV ------------------------------------------------------------------------------------------


def open_csv(path: Path) -> Table:
    """Read a CSV file once for its columns and their types; ``,``, ``;`` or tabs between cells.

    Raises
    ------
    InputError
        The file is no text, or has no header.
    """
    # The csv module is used and not pandas: it takes a row with a stray comma for that row's
    # problem, and never takes the formula NaN for a missing value.
    header, delimiter = _csv_header(path)
    return typed_table(path, partial(_csv_records, path, header, delimiter), header)


def _csv_header(path: Path) -> tuple[list[str], str]:
    with text_errors(path), open_text(path) as file:
        line = file.readline()
        if not line.strip():
            raise InputError(f"{path} has no header line; write it again")
        delimiter = "\t" if ".tsv" in path.suffixes else max(",;\t", key=line.count)
        return next(csv.reader([line], delimiter=delimiter)), delimiter


def _csv_records(
    path: Path, header: list[str], delimiter: str, ranges: Ranges
) -> Iterator[tuple[int, Record]]:
    yield from selected(_all_csv_records(path, header, delimiter), ranges)


def _all_csv_records(path: Path, header: list[str], delimiter: str) -> Iterator[Record]:
    # The default limit of 131,072 characters a cell is less than a CIF of 2,000 atoms.
    csv.field_size_limit(max(csv.field_size_limit(), 2**31 - 1))
    with text_errors(path), open_text(path) as file:
        reader = csv.reader(file, delimiter=delimiter)
        next(reader)
        for cells in reader:
            if len(cells) == len(header):
                yield None, dict(zip(header, cells, strict=True))
            elif cells:
                error = (
                    f"the row that ends in line {reader.line_num} has {len(cells)} cells, the "
                    f"header {len(header)}; quote cells that hold a delimiter, quote or line end"
                )
                yield None, StructureError(error)


# -- text -----------------------------------------------------------------------------------------


def open_text(path: Path) -> IO[str]:
    """Open a file, which may be gzipped, as UTF-8 or as UTF-16 with its mark."""
    opener: Any = gzip.open if path.suffix.lower() == ".gz" else open
    with opener(path, "rb") as file:
        encoding = "utf-16" if file.read(2) in UTF16_MARKS else "utf-8-sig"
    # newline="" lets the csv module see the line ends inside of quoted CIFs.
    text: IO[str] = opener(path, "rt", encoding=encoding, newline="")
    return text


@contextmanager
def text_errors(path: Path) -> Iterator[None]:
    """Errors of a text file as InputError."""
    try:
        yield
    except UnicodeError as e:
        raise InputError(f"{path} is no UTF-8 text ({e}); save it as UTF-8") from e
    except (*DAMAGED_GZIP, csv.Error) as e:
        raise InputError(f"{path} could not be read ({e}); write it again") from e


# -- types of tables that have none ---------------------------------------------------------------

_INTEGER = re.compile(r"[+-]?(0|[1-9][0-9]{0,999})")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?|[+-]?inf(inity)?", re.I)
_LEADING_ZERO = re.compile(r"[+-]?0[0-9]+")
_NO_NUMBER = frozenset({"nan", "na", "n/a", "null", "none"})


def typed_table(
    path: Path,
    records: Callable[[Ranges], Iterator[tuple[int, Record]]],
    names: Sequence[str] = (),
) -> Table:
    """Read all rows for their columns and the types of these.

    Types guessed batch by batch would change on the way: a label may turn out to be a float, or
    text, only in its last row.

    Parameters
    ----------
    path : Path
    records : callable
        Starts reading some ranges of rows: an iterator of numbers and records.
    names : sequence of str
        Columns that there are whether or not a row has them.
    """
    kinds: dict[str, set[str]] = {name: set() for name in names}
    n_rows = 0
    for _, (_, record) in records(ALL):
        n_rows += 1
        if isinstance(record, dict):
            for name, value in record.items():
                kinds.setdefault(name, set()).add(_kind(value))
    types = {n: kind for n, seen in kinds.items() if (kind := _column_type(seen)) is not None}
    found = [*names, *(name for name in kinds if name not in names)]
    short = frozenset(n for n, seen in kinds.items() if seen - {"null", "nan"} == {"int"})
    return Table(
        path, found, types, n_rows, lambda _, ranges: records(ranges), short_integers=short
    )


def _kind(value: Any) -> str:
    """What one cell looks like: null, nan, bool, int, long, float, text or nested."""
    if value is None or value == "":
        return "null"
    if isinstance(value, str):
        return _kind_of_text(value)
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return _kind_of_integer(value)
    if isinstance(value, float):
        return "nan" if value != value else "float"
    return "nested"


def _kind_of_text(text: str) -> str:
    if text.lower() in _NO_NUMBER:
        return "nan"
    if text in ("True", "False", "true", "false"):
        return "bool"
    if _INTEGER.fullmatch(text):
        return _kind_of_integer(int(text))
    # 0042 is an identifier, and a number would lose its zeros.
    if _NUMBER.fullmatch(text) and not _LEADING_ZERO.fullmatch(text):
        return "float"
    return "nested" if text[0] in "[{" or "\n" in text else "text"


def _kind_of_integer(value: int) -> str:
    """Whole numbers of up to 53 bits are exact as floats too, those of up to 63 in Arrow."""
    if abs(value) <= EXACT:
        return "int"
    return "long" if abs(value) < 2**63 else "text"


def _column_type(kinds: set[str]) -> pa.DataType | None:
    """One type for all cells of a column; None if they are lists or texts of structures.

    NaN and NA are missing numbers, but words where no number is near: NaN is also a formula.
    """
    import pyarrow as pa

    seen = kinds - {"null", "nan"}
    if seen == {"nested"}:
        return None
    if seen == {"bool"}:
        return pa.bool_()
    if seen and seen <= {"int", "long"}:
        return pa.int64()
    if seen and seen <= {"int", "float"}:
        return pa.float64()
    return pa.string() if seen or "nan" in kinds else pa.null()


def cast(value: Any, kind: pa.DataType) -> Any:
    """A cell as a Python object of its column's type; a missing one is None."""
    import pyarrow as pa

    if value is None or isinstance(value, pa.Scalar):
        return value
    if pa.types.is_string(kind):
        return encodable(value if isinstance(value, str) else json.dumps(value, default=str))
    if not isinstance(value, str):
        if pa.types.is_floating(kind):
            return float(value)
        return None if value != value else value
    if value == "" or value.lower() in _NO_NUMBER:
        return None
    if pa.types.is_boolean(kind):
        return value in ("True", "true")
    return int(value) if pa.types.is_integer(kind) else float(value)


def encodable(text: str) -> str:
    """Text as UTF-8 has it; half a character, which JSON may hold alone, becomes U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def plain(value: Any) -> Any:
    """A cell as a Python object where Arrow's was kept."""
    import pyarrow as pa

    return value.as_py() if isinstance(value, pa.Scalar) else value


def plain_text(value: Any) -> str | None:
    """A cell as text; bytes that are no UTF-8 as 0x and their hexadecimal digits."""
    import pyarrow as pa

    if value is None:
        return None
    if isinstance(value, str):
        return encodable(value)
    if isinstance(value, pa.Scalar) and pa.types.is_temporal(value.type):
        # Python's dates end in the year 9999, and its times have no nanoseconds.
        value = value.cast(pa.string()).as_py()
    value = plain(value)
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return f"0x{value.hex()}"
    return str(value)
