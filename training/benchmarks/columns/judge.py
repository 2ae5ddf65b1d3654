"""Weights → how good their columns are, on validation formulas only.

The judge of ablations and learning curves: the same rows, subsets and heads for every run, and no
test row anywhere near.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.columns.feature_sets import CONTROL
from benchmarks.columns.own_features import OWN_BLOCKS
from benchmarks.columns.regressors import HEADS, Matrix, Rows, stack
from benchmarks.labelled_tables import read_labelled, structures_of
from benchmarks.properties import PROPERTIES, Property
from matminer_unate import UnateFeaturizer

POOLING = ("mean", "std")
N_SUBSETS = 3
JUDGE_HEADS = ("ridge", "kernel_ridge", "lightgbm_dense")


JUDGED: dict[str, tuple[str, tuple[int, ...]]] = {
    "gap": ("gap", (500, 2000)),
    "log_k": ("bulk_modulus", (2000,)),
}
"""Name in the tables → property, and numbers of labels."""


@dataclass
class Judged:
    """Crystals and control columns of one property, with the subsets to fit on."""

    name: str
    table: pd.DataFrame
    control: Matrix
    subsets: dict[int, list[Rows]]  # by number of labels


def load_judged(folder: Path, cache: Path) -> list[Judged]:
    """The properties to judge on, with their control columns from the cache where it has them."""
    return [
        _load(name, PROPERTIES[key], labels, folder, cache)
        for name, (key, labels) in JUDGED.items()
    ]


def _load(name: str, p: Property, labels: tuple[int, ...], folder: Path, cache: Path) -> Judged:
    table = read_labelled(folder / p.file, [p.column], p.max_sites)
    known = np.isfinite(p.targets(table)) & table["formula_split"].isin(("train", "val"))
    table = table[known].reset_index(drop=True)
    train, val = (np.flatnonzero(table["formula_split"] == part) for part in ("train", "val"))
    chosen = [
        np.random.default_rng(seed).choice(train, max(labels), replace=False)
        for seed in range(N_SUBSETS)
    ]
    used = np.unique(np.concatenate([*chosen, val]))
    table = table.iloc[used].reset_index(drop=True)
    table["structure"] = structures_of(table)
    y, formulas = p.targets(table), table["formula_reduced"].to_numpy()
    none = np.array([], dtype=np.int64)
    val = np.searchsorted(used, val)
    subsets = {
        n: [
            Rows(y, np.searchsorted(used, c[:n]), val, none, formulas, p.minimum, seed)
            for seed, c in enumerate(chosen)
        ]
        for n in labels
    }
    file = cache / f"control_{name}_{p.max_sites}.npy"
    if not file.exists():
        cache.mkdir(parents=True, exist_ok=True)
        np.save(file, np.hstack([OWN_BLOCKS[b](table["structure"]) for b in CONTROL]))
    return Judged(name, table, np.load(file), subsets)


def judge(weights: str, properties: list[Judged], brief: bool = False) -> dict[str, float]:
    """Mean absolute errors on val, means over subsets, by ``name_labels_head``.

    ``name_labels_control_stack`` is LightGBM on the control and the kernel ridge prediction from
    control and UNATE columns together. If ``brief``, kernel ridge on the largest subsets only,
    which takes a tenth of the time.
    """
    result: dict[str, float] = {}
    for judged in properties:
        columns = UnateFeaturizer(weights, pooling=POOLING).transform(judged.table["structure"])
        if brief:
            n = max(judged.subsets)
            result[f"{judged.name}_{n}_kernel_ridge"] = head_error(
                "kernel_ridge", columns, judged, n
            )
        else:
            result |= judge_columns(columns, judged)
    return result


def head_error(head: str, columns: Matrix, judged: Judged, n_labels: int) -> float:
    """Mean absolute error on val of one head, mean over subsets."""
    subsets = judged.subsets[n_labels]
    errors = [mean_error(HEADS[head](columns, rows)[0], rows) for rows in subsets]
    return float(np.mean(errors))


def judge_columns(columns: Matrix, judged: Judged) -> dict[str, float]:
    """The same for one property and any columns."""
    result: dict[str, float] = {}
    both = np.hstack([judged.control, columns])
    for n, subsets in judged.subsets.items():
        for head in JUDGE_HEADS:
            result[f"{judged.name}_{n}_{head}"] = head_error(head, columns, judged, n)
        errors = [
            mean_error(stack(judged.control, both, rows, "plain")[0], rows) for rows in subsets
        ]
        result[f"{judged.name}_{n}_control_stack"] = float(np.mean(errors))
    return result


def mean_error(on_val: np.ndarray, rows: Rows) -> float:
    """Mean absolute error on the val rows."""
    return float(np.abs(on_val - rows.y[rows.val]).mean())
