"""Weights → how good their columns are, on validation formulas only.

The judge of ablations and learning curves: the same rows, subsets and heads for every run, and no
test row anywhere near.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.columns.own_features import cell, control, magpie
from benchmarks.columns.regressors import HEADS, Matrix, Rows, stack
from benchmarks.labelled_tables import read_table
from matminer_unate import UnateFeaturizer
from matminer_unate.physics.site_descriptors import PHYSICS_NAMES

POOLING = ("mean", "std")
N_SUBSETS = 3
JUDGE_HEADS = ("ridge", "kernel_ridge", "lightgbm_dense")


@dataclass(frozen=True)
class Property:
    """A property to predict: file, column, and whether its logarithm is meant."""

    file: str
    column: str
    log10: bool
    minimum: float
    labels: tuple[int, ...]


PROPERTIES = {
    "gap": Property("mp_mtcgcnn.parquet", "band_gap_ev", False, 0.0, (500, 2000)),
    "log_k": Property("mp_elasticity.parquet", "bulk_modulus_vrh_gpa", True, -np.inf, (2000,)),
}


@dataclass
class Task:
    """Crystals and control columns of one property, with the subsets to fit on."""

    name: str
    table: pd.DataFrame
    control: Matrix
    subsets: dict[int, list[Rows]]  # by number of labels


def load_tasks(folder: Path, cache: Path, max_sites: int = 20) -> list[Task]:
    """The tasks, with their control columns from the cache where it has them."""
    return [_load_task(name, p, folder, cache, max_sites) for name, p in PROPERTIES.items()]


def _load_task(name: str, p: Property, folder: Path, cache: Path, max_sites: int) -> Task:
    table = read_table(str(folder / p.file), p.column, max_sites, parts=("train", "val"))
    if p.log10:
        table = table[table[p.column] > 0].reset_index(drop=True)
    train = np.flatnonzero(table["formula_split"] == "train")
    chosen = [
        np.random.default_rng(seed).choice(train, max(p.labels), replace=False)
        for seed in range(N_SUBSETS)
    ]
    val = np.flatnonzero(table["formula_split"] == "val")
    used = np.unique(np.concatenate([*chosen, val]))
    table = table.iloc[used].reset_index(drop=True)
    y = table[p.column].to_numpy(dtype=np.float64)
    y = np.log10(y) if p.log10 else y
    formulas = table["formula_reduced"].to_numpy()
    val = np.searchsorted(used, val)
    none = np.array([], dtype=np.int64)
    subsets = {
        n: [
            Rows(y, np.searchsorted(used, c[:n]), val, none, formulas, p.minimum, seed)
            for seed, c in enumerate(chosen)
        ]
        for n in p.labels
    }
    file = cache / f"control_{name}_{max_sites}.npy"
    if not file.exists():
        cache.mkdir(parents=True, exist_ok=True)
        blocks = [magpie(table), cell(table), control(table, slice(len(PHYSICS_NAMES)))]
        np.save(file, np.hstack(blocks))
    return Task(name, table, np.load(file), subsets)


def judge(weights: str, tasks: list[Task]) -> dict[str, float]:
    """Mean absolute errors on val, means over subsets, by ``task_labels_head``.

    ``task_labels_control_stack`` is LightGBM on the control and the kernel ridge prediction from
    control and UNATE columns together.
    """
    result: dict[str, float] = {}
    for task in tasks:
        columns = UnateFeaturizer(weights, pooling=POOLING).transform(task.table["structure"])
        result |= judge_columns(columns, task)
    return result


def judge_columns(columns: Matrix, task: Task) -> dict[str, float]:
    """The same for one task and any columns."""
    result: dict[str, float] = {}
    both = np.hstack([task.control, columns])
    for n, subsets in task.subsets.items():
        for head in JUDGE_HEADS:
            errors = [mean_error(HEADS[head](columns, rows)[0], rows) for rows in subsets]
            result[f"{task.name}_{n}_{head}"] = float(np.mean(errors))
        errors = [mean_error(stack(task.control, both, rows, "plain")[0], rows) for rows in subsets]
        result[f"{task.name}_{n}_control_stack"] = float(np.mean(errors))
    return result


def mean_error(on_val: np.ndarray, rows: Rows) -> float:
    """Mean absolute error on the val rows."""
    return float(np.abs(on_val - rows.y[rows.val]).mean())
