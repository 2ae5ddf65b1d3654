"""JSON in one of pandas' layouts, JSON lines, dumps of entries → rows, as in ``tables.py``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

from matminer_unate.errors import InputError, StructureError
from matminer_unate.io.input_rows import Ranges, selected
from matminer_unate.io.structure_dicts import holds_structure, is_structure_dict
from matminer_unate.io.tables import (
    STRUCTURE_COLUMNS,
    Record,
    Table,
    open_text,
    text_errors,
    typed_table,
)


def open_json(path: Path, content: Any, column: str | None) -> Table | None:
    """A table in one of pandas' JSON layouts; None for a lone structure, or a list of nothing else.

    Parameters
    ----------
    path : Path
    content : object
        What the file holds, parsed.
    column : str or None
        The column of structures, if it is known.
    """
    if isinstance(content, list):
        if all(is_structure_dict(item) for item in content):
            return None
        return _held(path, [(None, _json_record(item)) for item in content])
    if not isinstance(content, dict) or is_structure_dict(content):
        return None
    try:
        records = _json_layout(content, column)
    except InputError as e:
        raise InputError(f"{path}: {e}") from e
    return None if records is None else _held(path, records)


def open_json_lines(path: Path) -> Table:
    """Read a file with one JSON object a line once for its columns and their types.

    Raises
    ------
    InputError
        The file is no text.
    """
    return typed_table(path, partial(_json_line_records, path))


def _held(path: Path, records: list[Record]) -> Table:
    return typed_table(path, partial(selected, records))


def _json_record(item: Any) -> dict[str, Any] | StructureError:
    if is_structure_dict(item) or isinstance(item, str):
        return {"structure": item}
    if isinstance(item, dict) and is_structure_dict(item.get("attributes")):
        # An entry of OPTIMADE.
        return {("structure" if k == "attributes" else k): v for k, v in item.items()}
    if isinstance(item, dict):
        return item
    return StructureError(f"the row is no JSON object but {type(item).__name__}; drop or fill it")


def _json_split(content: dict[str, Any]) -> list[Record]:
    """Pandas' layout ``split``, which is also what matminer stores its frames in."""
    names, rows = content["columns"], content["data"]
    labels = content.get("index") or [None] * len(rows)
    if len(labels) != len(rows):
        raise InputError(f"'index' has {len(labels)} labels for {len(rows)} rows; write it again")
    return [
        (None if label is None else str(label), _split_row(names, row))
        for label, row in zip(labels, rows, strict=True)
    ]


def _split_row(names: list[str], row: Any) -> dict[str, Any] | StructureError:
    if isinstance(row, list) and len(row) == len(names):
        return dict(zip(names, row, strict=True))
    n = f"{len(row)} cells" if isinstance(row, list) else f"{type(row).__name__}, no list"
    return StructureError(f"the row has {n}, 'columns' has {len(names)}; drop it or write it again")


def _json_layout(content: dict[str, Any], column: str | None) -> list[Record] | None:
    """The rows of one of pandas' layouts, of a dict of lists, or of a single row; None if none."""
    if isinstance(content.get("columns"), list) and isinstance(content.get("data"), list):
        return _json_split(content)
    if isinstance(content.get("data"), list) and not content.keys().isdisjoint({"schema", "meta"}):
        # Pandas' layout ``table``, or the answer of an OPTIMADE server.
        return [(None, _json_record(item)) for item in content["data"]]
    values = list(content.values())
    if values and all(is_structure_dict(value) for value in values):
        return [(key, {"structure": value}) for key, value in content.items()]
    known = [key for key in content if key == column or key.lower() in STRUCTURE_COLUMNS]
    first = content[known[0]] if known else content.get("lattice")
    if known and isinstance(first, list):
        lists = [v if isinstance(v, list) else [] for v in values]
        return [(None, dict(zip(content, row, strict=True))) for row in zip_longest(*lists)]
    if isinstance(first, dict) and not holds_structure(first):
        return _json_columns(content)
    if first is not None:
        return [(None, content)]
    if not values or not all(isinstance(value, dict) for value in values):
        return None
    if any(_names_structures(row, column) for row in values):
        return list(content.items())
    # Columns of names that are not known, which whoever reads them can be told.
    by_label = all(value.keys() == values[0].keys() for value in values)
    return _json_columns(content) if by_label else None


def _names_structures(row: dict[str, Any], column: str | None) -> bool:
    """Whether this is a row of pandas' layout ``index``."""
    names = {name.lower() for name in row}
    return column in row or not names.isdisjoint((*STRUCTURE_COLUMNS, "lattice"))


def _json_columns(content: dict[str, Any]) -> list[Record]:
    """Pandas' layout ``columns``, the default of ``DataFrame.to_json``."""
    columns = {k: v if isinstance(v, dict) else {} for k, v in content.items()}
    labels = dict.fromkeys(chain.from_iterable(columns.values()))
    return [(label, {k: v.get(label) for k, v in columns.items()}) for label in labels]


def _json_line_records(path: Path, ranges: Ranges) -> Iterator[tuple[int, Record]]:
    with text_errors(path), open_text(path) as file:
        lines = ((n, line) for n, line in enumerate(file, start=1) if line.strip())
        for row, (number, line) in selected(lines, ranges):
            try:
                yield row, (None, _json_record(json.loads(line)))
            except (json.JSONDecodeError, RecursionError) as e:
                error = StructureError(f"line {number} is no JSON ({e}); write it again")
                yield row, (None, error)
