"""What models learn from: rows, where the columns of each block are, and how to fit."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from matminer_unate.finetuning.checkpoints import CheckpointFolder
from matminer_unate.regressors.kernel_ridge import Matrix, Rows, Vector
from matminer_unate.regressors.recipe import FINGERPRINT, OPTIONAL, TIGHT_BINDING, is_wide
from matminer_unate.transforms import Scoring

Blocks = frozenset[str]
"""Names of blocks that a model does without, or that a row lacks."""

NONE: Blocks = frozenset()

START_SCALES = {
    "composition and cell": 0.02,
    "sites": 0.07,
    "tight binding": 0.2,
    FINGERPRINT: 0.02,
}
START_LEARNED_SCALE = 0.2
"""Shared by all other blocks: those of learned columns, and of the cell."""
START_PENALTY = 0.003
"""Where the search for the kernel's scales begins: what was typical on the val rows of gaps, bulk
moduli and formation energies."""

LEAST_GROUPS = 3
"""Of formulas: one to predict, one to leave out and one to learn from."""


Tell = Callable[[float], Any]
Tells = tuple[Tell, Tell]
"""Of kernel ridge, and of the trees."""


@dataclass(frozen=True)
class BlockLayout:
    """Where the columns of each block are.

    Attributes
    ----------
    widths : dict of str to int
        Columns of each block; those that the trees learn from come first.
    """

    widths: dict[str, int]

    def kept(self, without: Blocks = NONE) -> NDArray[np.bool_]:
        """Columns that are in none of these blocks, (n_columns,)."""
        return np.repeat([b not in without for b in self.widths], list(self.widths.values()))

    def of(self, columns: Matrix, without: Blocks = NONE) -> Matrix:
        """The kept ones of columns, (n_rows, n_kept)."""
        return columns[:, self.kept(without)] if without else columns

    def slices(self, without: Blocks = NONE) -> list[slice]:
        """Of the blocks among the columns that are kept."""
        widths = [width for block, width in self.widths.items() if block not in without]
        ends = np.cumsum(widths)
        return [slice(int(e - w), int(e)) for e, w in zip(ends, widths, strict=True)]

    def n_tree_columns(self, without: Blocks = NONE) -> int:
        """How many of the kept columns, from the first, the trees learn from."""
        return sum(w for b, w in self.widths.items() if b not in without and not is_wide(b))

    def electrons(self, columns: Matrix) -> NDArray[np.float32] | None:
        """The tight-binding ones of columns, which a network reads too; None without them."""
        if TIGHT_BINDING not in self.widths:
            return None
        of_block = dict(zip(self.widths, self.slices(), strict=True))
        return columns[:, of_block[TIGHT_BINDING]].astype(np.float32)

    def lacking(self, columns: Matrix) -> list[Blocks]:
        """Blocks that each row lacks: those of which a column is NaN."""
        each = [np.isnan(columns[:, part]).any(axis=1).tolist() for part in self.slices()]
        rows = zip(*each, strict=True)
        return [frozenset(itertools.compress(self.widths, row)) for row in rows]

    def variants(self) -> list[Blocks]:
        """What the models do without, beside the one with all blocks."""
        return [frozenset([block]) for block in self.widths if block in OPTIONAL]

    def start(self) -> tuple[list[float], float]:
        """Scales of all blocks, and penalty, to begin with."""
        learned = START_LEARNED_SCALE / sum(b not in START_SCALES for b in self.widths)
        return [START_SCALES.get(block, learned) for block in self.widths], START_PENALTY


@dataclass(frozen=True)
class SomeColumns:
    """Some rows and columns of a table; nothing is copied but the rows that are asked for.

    Attributes
    ----------
    table : (n_table_rows, n_table_columns)
    rows : row array or None
        Of the table; all by None.
    kept : (n_table_columns,) bool
    """

    table: Matrix
    rows: Rows | None
    kept: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.table) if self.rows is None else len(self.rows)

    def __getitem__(self, rows: Any) -> Matrix:
        found = self.table[rows if self.rows is None else self.rows[rows]]
        return found if self.kept.all() else found[:, self.kept]

    def first(self, n: int) -> Matrix:
        """The first of the kept columns, of all rows, (n_rows, n)."""
        columns: Any = np.flatnonzero(self.kept)[:n]
        if n and columns[-1] == n - 1:
            columns = slice(n)
        found = self.table[:, columns]
        return found if self.rows is None else found[self.rows]


@dataclass(frozen=True)
class TrainingRows:
    """What a model learns from.

    Attributes
    ----------
    table : (n_table_rows, n_columns)
        NaN where a row lacks a block.
    targets : (n_rows,), or (n_rows, n_targets)
    weights : (n_rows,)
        Above 0, with a mean of 1.
    folds : list of row arrays
    structures : list
        For a network; empty where there is none.
    of_table : row array or None
        Which rows of the table these are, which is shared with other rows; all by None.
    """

    table: Matrix
    targets: Vector
    weights: Vector
    folds: list[Rows]
    structures: Sequence[Any] = ()
    of_table: Rows | None = None

    def columns(self, layout: BlockLayout, without: Blocks = NONE) -> SomeColumns:
        """All columns but those of some blocks."""
        return SomeColumns(self.table, self.of_table, layout.kept(without))

    def of_target(self, k: int, known: Rows) -> TrainingRows:
        """One of several targets, and the rows where it is known."""
        one = replace(self, targets=self.targets[:, k])
        return one if len(known) == len(self.targets) else one.part(known)

    def part(self, rows: Rows) -> TrainingRows:
        """Some of the rows, ascending, in the same folds; those left empty are dropped."""
        folds = [np.searchsorted(rows, fold[np.isin(fold, rows)]) for fold in self.folds]
        weights = self.weights[rows]
        return TrainingRows(
            self.table,
            self.targets[rows],
            weights / weights.mean(),
            [fold for fold in folds if len(fold)],
            [self.structures[row] for row in rows] if len(self.structures) else (),
            rows if self.of_table is None else self.of_table[rows],
        )


@dataclass(frozen=True)
class FitOptions:
    """How models are fitted; as the parameters of the estimators."""

    n_folds: int
    max_kernel_rows: int
    n_jobs: int | None
    seed: int
    ignore_errors: bool


@dataclass(frozen=True)
class RegressionOptions(FitOptions):
    """And as those of ``UnateRegressor``."""

    target: str
    scoring: Scoring
    minimum: Any
    device: str
    network_weights: str | Path | None
    """What a network begins from; None for no network."""
    checkpoints: CheckpointFolder | None
    """In which trainings of networks are kept."""
