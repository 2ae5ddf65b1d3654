"""Folder of Parquet files → its tables; subfolders named ``key=value`` are columns."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote

from matminer_unate.errors import InputError
from matminer_unate.io.tables import Table, open_parquet, with_constants

_NO_VALUE = "__HIVE_DEFAULT_PARTITION__"
"""What a folder is named for where the value is missing."""

_WHOLE = re.compile(r"[+-]?(0|[1-9][0-9]{0,17})")


def open_data_set(folder: Path, files: Sequence[Path]) -> list[Table]:
    """Look at the Parquet files of a data set that was partitioned as Hive, Spark or Dask do it.

    Parameters
    ----------
    folder : Path
    files : sequence of Path
        In it, in the order of the rows.

    Returns
    -------
    list of Table
        Those that have rows. Values of keys are integers where all of the key's are.

    Raises
    ------
    InputError
        A file is damaged, or none has rows.
    """
    values = [_values(path.relative_to(folder).parent) for path in files]
    texts = {
        key for one in values for key, v in one.items() if v is not None and not _WHOLE.fullmatch(v)
    }
    tables = []
    for path, one in zip(files, values, strict=True):
        table = open_parquet(path)
        if table.n_rows:
            typed = {k: v if v is None or k in texts else int(v) for k, v in one.items()}
            tables.append(with_constants(table, typed))
    if not tables:
        raise InputError(f"{folder}: the tables of the folder have no rows; write them again")
    return tables


def _values(folder: Path) -> dict[str, str | None]:
    named = [part.split("=", 1) for part in folder.parts if "=" in part]
    return {unquote(k): None if v == _NO_VALUE else unquote(v) for k, v in named}
