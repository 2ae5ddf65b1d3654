"""What UnateRegressor is given → rows of columns, and which of them a model can answer for."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from matminer_unate.errors import InputError, StructureError, row_name, warn_user
from matminer_unate.featurizers.inputs import entries_of, index_of
from matminer_unate.progress import WorkBar
from matminer_unate.regressors.recipe import FORMULA, Described, Recipe, is_column_table
from matminer_unate.regressors.training_rows import BlockLayout, Blocks


@dataclass
class GivenRows:
    """Structures, or the frame of their columns.

    Attributes
    ----------
    structures : list
        Empty if it is a frame.
    table : DataFrame or None
    index : Index or None
        Names that the caller gave to the rows.
    outcome : str
        What becomes of rows that are of no use, for messages.
    """

    structures: list[Any]
    table: pd.DataFrame | None
    index: Any
    outcome: str

    @classmethod
    def of(cls, X: Any, outcome: str = "are left out", may_be_table: bool = True) -> Self:
        """From what ``fit`` and ``predict`` take."""
        X = list(X) if isinstance(X, Iterator) else X  # which can be read only once
        index = index_of(X)
        if may_be_table and is_column_table(X):
            return cls([], X, index, outcome)
        return cls(entries_of(X), None, index, outcome)

    def __len__(self) -> int:
        return len(self.structures) if self.table is None else len(self.table)

    def name(self, row: int) -> str:
        """For messages."""
        return row_name(int(row), self.index)

    def warn(
        self,
        rows: Collection[int] | NDArray[Any],
        what: str,
        reasons: Mapping[int, Exception] | None = None,
        then: str = "",
    ) -> None:
        """Warn of rows, if there are any, with the first of them and the reason."""
        if len(rows):
            first = int(min(rows))
            reason = f": {reasons[first]}" if reasons and first in reasons else ""
            warn_user(
                f"{len(rows)} of {len(self)} rows {what}; the first is {self.name(first)}{reason}"
                f"{then}"
            )

    def describe(self, recipe: Recipe, ignore_errors: bool, bar: WorkBar) -> Described:
        """Formula and columns; with a warning where rows are no usable structure.

        Raises
        ------
        StructureError, InputError
            A row is no usable structure, or has no columns, and errors are not ignored.
        """
        if self.table is None:
            found = recipe.describe(self.structures, self.index, ignore_errors, bar)
            self.warn(
                found.unusable, f"are no usable structures and {self.outcome}", found.unusable
            )
            return found
        table = recipe.own_columns(self.table)
        bad = np.flatnonzero(table[FORMULA].isna())
        if len(bad) and not ignore_errors:
            raise InputError(f"{self.name(bad[0])} has no columns; drop it, or set on_error='nan'")
        self.warn(bad, f"have no columns and {self.outcome}")
        return Described(table)


@dataclass
class AnsweredRows:
    """Rows that models can answer for.

    Attributes
    ----------
    used : (n_used,) row numbers
    columns : (n_used, n_columns)
    lacking : (n_used,) frozensets
        Blocks that each of them lacks.
    reasons : dict of int to Exception
        Why, by row number, where it is known.
    failed : dict of int to str
        Why the other rows have no answer, by row number.
    structures : list
        Of each of them; empty where columns were given.
    """

    used: NDArray[np.int64]
    columns: NDArray[np.float32]
    lacking: list[Blocks]
    reasons: dict[int, Exception]
    failed: dict[int, str]
    structures: list[Any]

    @classmethod
    def of(
        cls,
        given: GivenRows,
        described: Described,
        wanted: NDArray[np.bool_],
        layout: BlockLayout,
        models: Sequence[Blocks],
        ignore_errors: bool,
    ) -> Self:
        """Leave out the rows that lack more than any model does without, with a warning.

        Parameters
        ----------
        given : GivenRows
        described : Described
        wanted : (n_rows,) bool
        layout : BlockLayout
        models : sequence of frozenset
            What each model does without.
        ignore_errors : bool

        Raises
        ------
        StructureError, InputError
            There is such a row and errors are not ignored.
        """
        used = np.flatnonzero(wanted & described.table[FORMULA].notna().to_numpy())
        columns = described.table.iloc[:, 1:].to_numpy(np.float32)
        columns = columns if len(used) == len(columns) else columns[used]
        lacking = layout.lacking(columns)
        keep = np.array([any(b <= m for m in models) for b in lacking], dtype=bool)
        failed = {row: str(error) for row, error in described.unusable.items()}
        infinite = {k for k, row in enumerate(columns) if np.isinf(row).any()}
        keep[list(infinite)] = False
        for k in np.flatnonzero(~keep):
            row, blocks = int(used[k]), lacking[k]
            known = [described.lacking[row, b] for b in blocks if (row, b) in described.lacking]
            if k in infinite:
                name = described.table.columns[1 + int(np.argmax(np.isinf(columns[k])))]
                text = f"its column {name!r} is infinite, or too large for float32"
            else:
                reason = f" ({known[0]})" if known else ""
                text = f"it lacks the columns of {_listed(blocks)}{reason}, which no model does"
                text += " without"
            failed[row] = text
            if not ignore_errors:
                kind = StructureError if known else InputError
                raise kind(
                    f"{given.name(row)}: {text}; drop this row, or set on_error='nan' to leave "
                    "such rows out"
                )
        bad = used[~keep]
        reasons: Any = {row: InputError(text) for row, text in failed.items()}
        what = f"lack columns that no model does without or have infinite ones, and {given.outcome}"
        given.warn(bad, what, reasons)
        reasons = {row: error for (row, _), error in described.lacking.items()}
        kept = [blocks for blocks, has in zip(lacking, keep, strict=True) if has]
        columns = columns if keep.all() else columns[keep]
        ordered, raw = described.ordered, given.structures
        structures = [ordered.get(row, raw[row]) for row in used[keep].tolist()] if raw else []
        return cls(used[keep], columns, kept, reasons, failed, structures)

    @property
    def complete(self) -> NDArray[np.bool_]:
        """Whether each of them has all blocks, (n_used,)."""
        return np.array([not blocks for blocks in self.lacking], dtype=bool)

    @property
    def lacked(self) -> str:
        """The blocks that any of them lacks, in words."""
        return _listed(frozenset().union(*self.lacking))

    def warn_of_training(self, rows: GivenRows, left_out: list[str]) -> None:
        """Say which training rows lack columns, and what became of these.

        Parameters
        ----------
        rows : GivenRows
        left_out : list of str
            Targets whose models do without columns that too many rows lack; ``["all"]`` for all.
        """
        n, lacking = len(self.used), self.used[~self.complete]
        if left_out:
            of = "the model" if left_out == ["all"] else f"the models of {', '.join(left_out)}"
            then = f". These are too many: the columns are left out of {of}"
        else:
            then = (
                f". The model with these learns from the other {n - len(lacking)} rows, the one "
                "without them from all"
            )
        rows.warn(lacking, f"lack the {self.lacked} columns", self.reasons, then)


@dataclass
class Prediction:
    """What models say of rows, and of which rows they say it with fewer columns.

    Attributes
    ----------
    values : (n_rows, …)
        NaN in rows that no model answers for.
    rows : GivenRows
    lacking : (n_lacking,) row numbers
        Predicted by a model that does without some columns.
    found : AnsweredRows
    """

    values: NDArray[np.float64]
    rows: GivenRows
    lacking: NDArray[np.int64]
    found: AnsweredRows

    def warn(self) -> None:
        """Say which rows are predicted with fewer columns."""
        self.rows.warn(
            self.lacking,
            f"lack the {self.found.lacked} columns and are predicted by the model without these",
            self.found.reasons,
        )


def _listed(blocks: Blocks) -> str:
    return " and ".join(f"'{block}'" for block in sorted(blocks))
