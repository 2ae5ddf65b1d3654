"""Result tables on disk: a CSV below one line that says how it was made."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from matminer_unate.errors import InputError
from matminer_unate.io.whole_files import fresh_file
from matminer_unate.network.weights import read_config

PACKAGES = ("matminer_unate", "matminer", "lightgbm", "scikit-learn", "torch")


def write_table(table: pd.DataFrame, out: str, note: str) -> None:
    """Write a table with its command, versions, machine and date.

    Parameters
    ----------
    table : DataFrame
    out : str
        Path of the CSV; its folder is made if need be.
    note : str
        Seeds, rounds or whatever else one must know to repeat it.
    """
    # Folders are of one machine only.
    options = " ".join(Path(a).name if "/" in a else a for a in sys.argv[1:])
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    path = Path(out)
    path.parent.mkdir(parents=True, exist_ok=True)
    with fresh_file(path) as fresh, fresh.open("w", encoding="utf-8") as file:
        file.write(
            f"# python training/{Path(sys.argv[0]).name} {options} | {note} | {packages} | Python "
            f"{platform.python_version()}, {platform.machine()}, {os.cpu_count()} cores | "
            f"{datetime.now(UTC).date()}\n"
        )
        table.to_csv(file, index=False)
    print(f"wrote {path}")


def read_results(path: str) -> pd.DataFrame:
    """Read a table that :func:`write_table` wrote."""
    try:
        return pd.read_csv(path, comment="#")
    except pd.errors.EmptyDataError:
        raise InputError(f"{path} holds no table; delete it or name another file") from None


def describe_weights(weights: str) -> str:
    """Name and digest of weights, so that no table mixes two of the same name."""
    config = read_config(weights)
    return f"{config.name} {config.sha256[:12]}"


class GrowingTable:
    """A table that is written anew with every row, so that a run that was stopped goes on.

    Parameters
    ----------
    out : str
        Path of the CSV; rows that are there are kept.
    keys : sequence of str
        Columns that tell rows apart.
    note : str
        For :func:`write_table`.
    """

    def __init__(self, out: str, keys: Sequence[str], note: str) -> None:
        self._out, self._note = out, note
        self.table = read_results(out) if Path(out).exists() else pd.DataFrame(columns=keys)
        self.known = set(self.table[list(keys)].itertuples(index=False, name=None))

    def add(self, row: dict[str, Any]) -> None:
        """Append a row, and write."""
        whole = pd.DataFrame([row])
        if len(self.table):
            whole = pd.concat([self.table, whole], ignore_index=True)
        self.table = whole
        write_table(self.table, self._out, self._note)
