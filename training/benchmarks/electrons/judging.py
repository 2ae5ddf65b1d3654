"""Blocks of columns → errors on val formulas and on training formulas held out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.columns.regressors import (
    FEW_BINS,
    Matrix,
    Rows,
    fit_kernel_ridge,
    lightgbm_head,
)
from benchmarks.labelled_tables import read_labelled, structures_of
from benchmarks.properties import PROPERTIES, Property

JUDGED = {
    "gap": ("gap", "metal"),
    "bulk_modulus": ("bulk_modulus",),
    "tbmbj_gap": ("tbmbj_gap",),
}
"""Property whose crystals are drawn → properties judged on them."""

N_FOLDS = 3
POOL = 3_000
"""Training crystals. Each fit takes all but one of ``N_FOLDS`` folds of formulas."""

HEADS = ("kernel_ridge", "lightgbm")


@dataclass
class Trial:
    """Crystals, and the three fits of each property."""

    name: str
    table: pd.DataFrame
    fits: dict[str, list[Rows]]


def load_trial(folder: Path, name: str) -> Trial:
    """Training crystals drawn at random, all val crystals, and folds; no test crystal."""
    p = PROPERTIES[name]
    table = read_labelled(folder / p.file, [p.column], p.max_sites)
    table = table[np.isfinite(p.targets(table))]
    rng = np.random.default_rng(0)
    train = table[table["formula_split"] == "train"]
    train = train.iloc[rng.permutation(len(train))[:POOL]]
    table = pd.concat([train, table[table["formula_split"] == "val"]], ignore_index=True)
    table["structure"] = structures_of(table)
    formulas = table["formula_reduced"].to_numpy()
    drawn = np.arange(len(train))
    codes, names = pd.factorize(formulas[drawn])
    fold = rng.permutation(np.arange(len(names)) % N_FOLDS)[codes]
    fits = {
        key: [_rows(PROPERTIES[key], table, drawn, fold, seed) for seed in range(N_FOLDS)]
        for key in JUDGED[name]
    }
    return Trial(name, table, fits)


def _rows(p: Property, table: pd.DataFrame, drawn: NDArray, fold: NDArray, seed: int) -> Rows:
    # What is held out stands where others have test rows.
    train = np.random.default_rng(seed).permutation(drawn[fold != seed])
    val = np.arange(len(drawn), len(table))
    formulas = table["formula_reduced"].to_numpy()
    return Rows(
        p.targets(table), train, val, drawn[fold == seed], formulas, p.minimum, seed, p.classes
    )


@dataclass
class Judgement:
    """Errors of rows: of val rows with each fit (n_fits, n_val), of held-out rows (n_train,)."""

    val: NDArray[np.float64]
    held_out: NDArray[np.float64]

    @property
    def rows(self) -> NDArray[np.float64]:
        """Of val rows, means over the fits, then of held-out rows."""
        return np.concatenate([self.val.mean(axis=0), self.held_out])


class Judge:
    """Fits heads; kernel ridge with the width and penalty that suit the present columns."""

    def __init__(self, trial: Trial, present: Matrix) -> None:
        self.trial = trial
        self._choice = {}
        for key, fits in trial.fits.items():
            found = fit_kernel_ridge(present, fits[0])
            self._choice[key] = found.width, found.alpha

    def judge(self, columns: Matrix, key: str, head: str) -> Judgement:
        """Errors of one property and head."""
        val, held_out = [], np.full(len(self.trial.table), np.nan)
        for rows in self.trial.fits[key]:
            if head == "kernel_ridge":
                on_val, on_others = rows.split(
                    fit_kernel_ridge(columns, rows, self._choice[key]).unseen
                )
            else:
                on_val, on_others = lightgbm_head("dense", **FEW_BINS)(columns, replace(rows))
            val.append(rows.errors(on_val, rows.val))
            held_out[rows.test] = rows.errors(on_others, rows.test)
        return Judgement(np.array(val), held_out[~np.isnan(held_out)])
