"""Columns of every scalar kind go from a table through the command line to Parquet and CSV."""

from __future__ import annotations

import csv
import datetime
import gzip
import json
import uuid
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from real_crystals import crystals

from matminer_unate.cli import main as cli
from matminer_unate.errors import InputError
from matminer_unate.io.input_rows import InputRow, Source
from matminer_unate.io.readers import open_inputs
from matminer_unate.io.writing import PartWriter, carried_types, join_tables, table_schema

CIF = str(crystals()["Si"].to(fmt="cif"))
ID = uuid.UUID("12345678-1234-5678-1234-567812345678")


def stored(kind: str, values: list[Any], storage: pa.DataType) -> Any:
    if not hasattr(pa, kind):
        pytest.skip(f"this version of Arrow has no {kind}")
    return pa.ExtensionArray.from_storage(getattr(pa, kind)(), pa.array(values, storage))


def of_kind(kind: str, values: list[Any]) -> Any:
    if not hasattr(pa, kind):
        pytest.skip(f"this version of Arrow has no {kind}")
    return pa.array(values, getattr(pa, kind)())


# A column, and what its first cell is in CSV; the second is missing.
KINDS: dict[str, tuple[Any, str]] = {
    "bool": (lambda: pa.array([True, None]), "true"),
    "int8": (lambda: pa.array([-5, None], pa.int8()), "-5"),
    "uint64": (lambda: pa.array([2**64 - 1, None], pa.uint64()), str(2**64 - 1)),
    "half float": (lambda: pa.array([np.float16(1.5), None], pa.float16()), "1.5"),
    "float": (lambda: pa.array([0.25, None], pa.float32()), "0.25"),
    "double": (lambda: pa.array([0.1, None]), "0.1"),
    "decimal128": (lambda: pa.array([Decimal("1.23"), None], pa.decimal128(10, 2)), "1.23"),
    "decimal256": (lambda: pa.array([Decimal("1.23"), None], pa.decimal256(50, 2)), "1.23"),
    "string": (lambda: pa.array(["a", None]), "a"),
    "large string": (lambda: pa.array(["a", None], pa.large_string()), "a"),
    "string view": (lambda: of_kind("string_view", ["a", None]), "a"),
    "dictionary": (lambda: pa.array(["x", None]).dictionary_encode(), "x"),
    "binary": (lambda: pa.array([b"mp-1", None]), "mp-1"),
    "binary, no text": (lambda: pa.array([b"\xff\x00", None]), "0xff00"),
    "large binary": (lambda: pa.array([b"mp-1", None], pa.large_binary()), "mp-1"),
    "binary view": (lambda: of_kind("binary_view", [b"mp-1", None]), "mp-1"),
    "fixed size binary": (lambda: pa.array([b"ab", None], pa.binary(2)), "ab"),
    "date": (lambda: pa.array([datetime.date(2020, 1, 2), None]), "2020-01-02"),
    "date64": (lambda: pa.array([datetime.date(2020, 1, 2), None], pa.date64()), "2020-01-02"),
    "time": (lambda: pa.array([3_723_000, None], pa.time32("ms")), "01:02:03.000"),
    "time, ns": (lambda: pa.array([1, None], pa.time64("ns")), "00:00:00.000000001"),
    "timestamp": (lambda: pa.array([0, None], pa.timestamp("ms")), "1970-01-01 00:00:00.000"),
    "timestamp, ns": (
        lambda: pa.array([1, None], pa.timestamp("ns")),
        "1970-01-01 00:00:00.000000001",
    ),
    "timestamp, zone": (
        lambda: pa.array([0, None], pa.timestamp("ms", "UTC")),
        "1970-01-01 00:00:00.000Z",
    ),
    "year 33658": (lambda: pa.array([10**18, None], pa.timestamp("us")), ""),
    "duration": (lambda: pa.array([5, None], pa.duration("ns")), "5"),
    "bool8": (lambda: stored("bool8", [1, None], pa.int8()), "True"),
    "uuid": (lambda: stored("uuid", [ID.bytes, None], pa.binary(16)), str(ID)),
    "json": (lambda: stored("json_", ['{"a": 1}', None], pa.string()), '{"a": 1}'),
    "null": (lambda: pa.nulls(2), ""),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_column_of_each_scalar_kind_is_carried(tmp_path: Path, kind: str) -> None:
    make, text = KINDS[kind]
    pq.write_table(pa.table({"cif": [CIF, CIF], "x": make()}), tmp_path / "in.parquet")
    before = pq.read_table(tmp_path / "in.parquet")["x"].combine_chunks()
    (source,) = open_inputs([tmp_path / "in.parquet"])
    rows = list(source.rows())
    for suffix in (".parquet", ".csv"):
        out = tmp_path / f"out{suffix}"
        schema = table_schema(carried_types([source]), ["f"], suffix, {})
        with PartWriter(tmp_path / "part", schema) as writer:
            writer.add(rows, np.zeros((2, 1), np.float32))
        join_tables([pq.read_table(tmp_path / "part")], out, suffix, schema, 0)
    after = pq.read_table(tmp_path / "out.parquet")["x"].combine_chunks()
    if kind != "null":
        assert after.equals(before.cast(after.type))
    # Strings of all widths are strings, and so on; everything else stays what it was.
    one_width = {"large string", "string view", "dictionary", "large binary", "binary view", "null"}
    assert kind in one_width or after.type == before.type
    with (tmp_path / "out.csv").open(newline="") as file:
        first, second = csv.DictReader(file)
    assert text in first["x"]
    assert second["x"] == ""


def test_times_of_different_units_share_a_column(tmp_path: Path) -> None:
    for unit in ("s", "ns"):
        times = pa.array([1], pa.timestamp(unit))
        pq.write_table(pa.table({"cif": [CIF], "t": times}), tmp_path / f"{unit}.parquet")
    sources = open_inputs([tmp_path / "s.parquet", tmp_path / "ns.parquet"])
    rows = [row for source in sources for row in source.rows()]
    schema = table_schema(carried_types(sources), ["f"], ".parquet", {})
    with PartWriter(tmp_path / "o", schema) as writer:
        writer.add(rows, np.zeros((2, 1), np.float32))
    assert pq.read_table(tmp_path / "o")["t"].cast(pa.int64()).to_pylist() == [10**9, 1]


BIG = 2**60 + 1
U64 = pa.uint64()

# Columns of the same name in several inputs, the type that they share, and their cells in it.
SHARED: dict[str, tuple[list[Any], str, list[Any]]] = {
    "int beside float": ([pa.array([3]), pa.array([0.5])], "double", [3.0, 0.5]),
    "2**53": ([pa.array([-(2**53)]), pa.array([0.5])], "double", [-(2.0**53), 0.5]),
    "missing": ([pa.array([None], pa.int64()), pa.array([0.5])], "double", [None, 0.5]),
    "int32": ([pa.array([3], pa.int32()), pa.array([0.5])], "double", [3.0, 0.5]),
    "long": ([pa.array([BIG]), pa.array([0.5])], "string", [str(BIG), "0.5"]),
    "long, negative": ([pa.array([0.5]), pa.array([-BIG])], "string", ["0.5", str(-BIG)]),
    "long beside float32": (
        [pa.array([BIG]), pa.array([0.5], pa.float32())],
        "string",
        [str(BIG), "0.5"],
    ),
    "long last": (
        [pa.array([3]), pa.array([0.5]), pa.array([BIG])],
        "string",
        ["3", "0.5", str(BIG)],
    ),
    "unsigned": ([pa.array([2**63 + 1], U64), pa.array([-1])], "string", [str(2**63 + 1), "-1"]),
    "greatest": ([pa.array([2**64 - 1], U64), pa.array([-1])], "string", [str(2**64 - 1), "-1"]),
    "short unsigned": ([pa.array([7], U64), pa.array([-1])], "int64", [7, -1]),
    "unsigned beside int8": (
        [pa.array([-1], pa.int8()), pa.array([2**63], U64)],
        "string",
        ["-1", str(2**63)],
    ),
    "unsigned alone": (
        [pa.array([2**63 + 1], U64), pa.array([1], pa.uint8())],
        "uint64",
        [2**63 + 1, 1],
    ),
    "unsigned beside float": (
        [pa.array([2**63 + 1], U64), pa.array([0.5])],
        "string",
        [str(2**63 + 1), "0.5"],
    ),
    "decimal": ([pa.array([Decimal("1.23")]), pa.array([0.5])], "string", ["1.23", "0.5"]),
    "decimal beside int": (
        [pa.array([Decimal("1.23")]), pa.array([127], pa.int8())],
        "string",
        ["1.23", "127"],
    ),
    "bytes, int, text": (
        [pa.array([b"a"]), pa.array([1]), pa.array(["c"])],
        "string",
        ["a", "1", "c"],
    ),
}


@pytest.mark.parametrize("name", SHARED)
def test_columns_of_several_inputs_share_a_type_that_keeps_every_digit(
    tmp_path: Path, name: str
) -> None:
    columns, kind, expected = SHARED[name]
    for k, column in enumerate(columns):
        pq.write_table(pa.table({"cif": [CIF], "n": column}), tmp_path / f"{k}.parquet")
    sources = open_inputs([tmp_path / f"{k}.parquet" for k in range(len(columns))])
    assert written(tmp_path, sources) == (kind, expected)


def written(folder: Path, sources: list[Source]) -> tuple[str, list[Any]]:
    """Type and cells of the column ``n``."""
    rows = [row for source in sources for row in source.rows()]
    schema = table_schema(carried_types(sources), ["f"], ".parquet", {})
    with PartWriter(folder / "o", schema) as writer:
        writer.add(rows, np.zeros((len(rows), 1), np.float32))
    column = pq.read_table(folder / "o")["n"]
    return str(column.type), column.to_pylist()


@pytest.mark.parametrize(
    ("cell", "kind", "expected"),
    [
        (BIG, "string", [str(BIG), "0.5"]),
        (3, "double", [3.0, 0.5]),
        ("", "double", [None, 0.5]),
    ],
)
def test_whole_numbers_of_csv_beside_floats_of_another_keep_every_digit(
    tmp_path: Path, cell: Any, kind: str, expected: list[Any]
) -> None:
    for name, value in (("a", cell), ("b", 0.5)):
        with (tmp_path / f"{name}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([["cif", "n"], [CIF, value]])
    sources = open_inputs([tmp_path / "a.csv", tmp_path / "b.csv"])
    assert written(tmp_path, sources) == (kind, expected)


def test_parquet_without_statistics_is_taken_to_hold_long_numbers(tmp_path: Path) -> None:
    table = pa.table({"cif": [CIF], "n": [3]})
    pq.write_table(table, tmp_path / "a.parquet", write_statistics=False)
    pq.write_table(pa.table({"cif": [CIF], "n": [0.5]}), tmp_path / "b.parquet")
    sources = open_inputs([tmp_path / "a.parquet", tmp_path / "b.parquet"])
    assert written(tmp_path, sources) == ("string", ["3", "0.5"])


def test_one_row_group_with_long_numbers_is_enough(tmp_path: Path) -> None:
    table = pa.table({"cif": [CIF] * 2, "n": [3, BIG], "s": [{"n": "x"}] * 2, "s.n": [1, 1]})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=1)
    assert open_inputs([tmp_path / "a.parquet"])[0].short_integers == frozenset()
    pq.write_table(table.slice(0, 1), tmp_path / "a.parquet")
    assert open_inputs([tmp_path / "a.parquet"])[0].short_integers == {"n"}


def test_keys_of_folders_are_known_to_be_short_or_long(tmp_path: Path) -> None:
    for name in ("short=7", f"long={BIG % 10**18}"):
        (tmp_path / name).mkdir()
        pq.write_table(pa.table({"cif": [CIF]}), tmp_path / name / "a.parquet")
    sources = open_inputs([tmp_path])
    assert [source.short_integers for source in sources] == [frozenset(), {"short"}]


@pytest.mark.parametrize(
    ("kind", "cell"), [(pa.float64(), BIG), (pa.int64(), 2**63 + 1), (pa.int32(), "x")]
)
def test_a_cell_without_room_in_its_column_is_told_with_the_cure(
    tmp_path: Path, kind: pa.DataType, cell: Any
) -> None:
    schema = table_schema({"n": kind}, ["f"], ".parquet", {})
    row = InputRow("a", "a", None, carried={"n": cell})
    with (
        pytest.raises(InputError, match=r"the column 'n' holds .* make it text in each of them"),
        PartWriter(tmp_path / "o", schema) as writer,
    ):
        writer.add([row], np.zeros((1, 1), np.float32))


def test_years_without_room_in_nanoseconds_are_told_with_the_cure(tmp_path: Path) -> None:
    for unit, time in (("s", 10**12), ("ns", 1)):
        column = pa.array([time], pa.timestamp(unit))
        pq.write_table(pa.table({"cif": [CIF], "n": column}), tmp_path / f"{unit}.parquet")
    sources = open_inputs([tmp_path / "s.parquet", tmp_path / "ns.parquet"])
    with pytest.raises(InputError, match=r"the column 'n' holds what has no room in timestamp"):
        written(tmp_path, sources)


def test_identifiers_may_be_bytes_or_uuids(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": [b"mp-1"], "cif": [CIF]}), tmp_path / "a.parquet")
    (source,) = open_inputs([tmp_path / "a.parquet"])
    assert [row.identifier for row in source.rows()] == ["mp-1"]
    ids = stored("uuid", [ID.bytes], pa.binary(16))
    pq.write_table(pa.table({"id": ids, "cif": [CIF]}), tmp_path / "b.parquet")
    (source,) = open_inputs([tmp_path / "b.parquet"])
    assert [row.identifier for row in source.rows()] == [str(ID)]


def test_columns_that_are_not_carried_are_named(
    tmp_path: Path, tiny_weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = {
        "structure": [CIF],
        "cif": [CIF],
        "tags": [[1, 2]],
        "more": [{"a": 1}],
        "map": pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64())),
        "y": [1.5],
    }
    pq.write_table(pa.table(table), tmp_path / "in.parquet")
    args = ["--weights", str(tiny_weights), "--device", "cpu", "--out", str(tmp_path / "o.csv")]
    assert cli.main(["featurize", str(tmp_path / "in.parquet"), *args]) == cli.OK
    err = capsys.readouterr().err
    assert "4 column(s) of" in err
    assert "are not in the output: 'cif', 'tags', 'more', 'map'" in err


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (['{"m": true}', '{"m": NaN}'], ["True", ""]),
        (['{"m": 1.5}', '{"m": 9007199254740993}'], ["1.5", "9007199254740993"]),
        (['{"m": 3}', '{"m": 9007199254740993}'], ["3", "9007199254740993"]),
        (['{"m": "a"}', '{"m": "\\ud800"}'], ["A", "\ufffd"]),
        (['{"m": 2}', '{"m": NaN}'], ["2", ""]),
    ],
)
def test_any_json_number_or_text_goes_through(
    tiny_weights: Path, tmp_path: Path, lines: list[str], expected: list[str]
) -> None:
    path, out = tmp_path / "rows.jsonl", tmp_path / "out.csv"
    cell = json.dumps(CIF)
    path.write_text("\n".join(line[:-1] + f', "cif": {cell}}}' for line in lines))
    options = ["--weights", str(tiny_weights), "--device", "cpu", "--quiet"]
    assert cli.main(["featurize", str(path), "--out", str(out), *options]) == cli.OK
    with out.open(encoding="utf-8", newline="") as file:
        assert [row["m"].capitalize() for row in csv.DictReader(file)] == expected


def test_an_id_beside_another_identifier_is_told_to_stay_behind(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["ID", "id", "cif"], ["a", "1", CIF]])
    (source,) = open_inputs([path])
    assert source.left_behind == ("id",)


def test_a_damaged_gzip_is_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv.gz"
    content = bytearray(gzip.compress(f"cif\n{CIF!r}\n".encode() * 50))
    content[len(content) // 2 :] = b"\xff" * (len(content) - len(content) // 2)
    path.write_bytes(bytes(content))
    with pytest.raises(InputError, match=r"rows\.csv\.gz could not be read"):
        open_inputs([path])
