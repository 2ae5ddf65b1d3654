"""The properties that classical regressors predict, and the random subsets they learn from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.columns.regressors import Rows
from benchmarks.labelled_tables import read_table
from benchmarks.properties import TASKS, Task
from matminer_unate.errors import InputError

LABELS = (250, 500, 2000, 8000)
ALL = "all"


def read_crystals(folder: Path, crystals: str, structures: bool = False) -> pd.DataFrame:
    """Crystals by their name (:attr:`Task.crystals`) that have any property of a task."""
    tasks = [t for t in TASKS.values() if t.crystals == crystals]
    columns = sorted({t.column for t in tasks})
    file = str(folder / tasks[0].file)
    return read_table(file, columns, tasks[0].max_sites, structures=structures)


def n_subsets(n_labels: int | str) -> int:
    """Random training subsets: small ones scatter more. There is one of all rows."""
    if n_labels == ALL:
        return 1
    return 5 if int(n_labels) <= 500 else 3


def task_rows(task: Task, table: pd.DataFrame, n_labels: int | str) -> list[Rows]:
    """Targets and parts, one for each random training subset.

    The smaller subset of a seed is the beginning of the larger ones.

    Raises
    ------
    InputError
        There are not as many labelled rows in ``train``.
    """
    known = table[task.column].notna().to_numpy()
    y = task.transform(table[task.column].to_numpy(dtype=np.float64))
    part = table["formula_split"].to_numpy()
    train, val, test = (np.flatnonzero(known & (part == p)) for p in ("train", "val", "test"))
    n = len(train) if n_labels == ALL else int(n_labels)
    if n > len(train):
        raise InputError(f"{task.title}: {n} labels wanted, {len(train)} there; ask for fewer")
    formulas = table["formula_reduced"].to_numpy()
    return [
        Rows(
            y,
            np.random.default_rng(seed).permutation(train)[:n],
            val,
            test,
            formulas,
            task.minimum,
            seed,
            task.classes,
        )
        for seed in range(n_subsets(n_labels))
    ]


def n_train(task: Task, table: pd.DataFrame) -> int:
    """Number of labelled training rows."""
    return int((table[task.column].notna() & (table["formula_split"] == "train")).sum())


def label_counts(task: Task, table: pd.DataFrame) -> list[int | str]:
    """The numbers of labels that the task has, then all of them."""
    return [*(n for n in LABELS if n < n_train(task, table)), ALL]
