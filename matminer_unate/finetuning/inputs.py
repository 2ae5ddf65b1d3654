"""Structures → graphs and columns that the fine-tuned network reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from matminer_unate.crystals.formula import reduced_counts
from matminer_unate.crystals.graph import RadiusGraph
from matminer_unate.crystals.ordering import Disorder
from matminer_unate.errors import InputError, StructureError, row_name, warn_user
from matminer_unate.featurizers.inputs import entries_of, in_pandas, index_of
from matminer_unate.featurizers.rows import prepare_rows
from matminer_unate.featurizers.unate import EncodingNotes, prepare
from matminer_unate.network.weights import WeightsConfig


@dataclass(frozen=True)
class GivenRows:
    """What a caller gave.

    Attributes
    ----------
    structures : list
    index : Index or None
        Labels of the rows, for messages.
    electrons : (n_rows, n_columns) float32 array or None
        Columns of ``TightBindingStats``; NaN in rows that have none.
    """

    structures: list[Any]
    index: pd.Index | None
    electrons: NDArray[np.float32] | None

    def __len__(self) -> int:
        return len(self.structures)


def read_rows(X: Any) -> GivenRows:
    """Structures from whatever list-like came in, or a DataFrame that has more of them.

    Raises
    ------
    InputError
        ``X`` is nothing of the kind, or a frame that has other columns beside the structures than
        those of ``TightBindingStats``.
    """
    X = in_pandas(X)
    if not isinstance(X, pd.DataFrame) or X.shape[1] < 2:
        return GivenRows(entries_of(X), index_of(X), None)
    from matminer_unate.featurizers.tight_binding_stats import TightBindingStats

    labels = TightBindingStats().feature_labels()
    others = [name for name in X.columns if name not in set(labels)]
    if len(others) != 1 or X.shape[1] != 1 + len(labels):
        raise InputError(
            "expected a column of structures, alone or with all columns of TightBindingStats, got "
            f"{X.shape[1]} columns, of which {X.shape[1] - len(others)} are of TightBindingStats; "
            "pass df['structure']"
        )
    return GivenRows(list(X[others[0]]), X.index, X[labels].to_numpy(np.float32))


@dataclass
class Graphs:
    """Graphs of the rows that are usable crystals.

    Attributes
    ----------
    rows : (n,) int64
    graphs : list of RadiusGraph
    index : sequence or None
        Labels of all rows, for messages.
    """

    rows: NDArray[np.int64]
    graphs: list[RadiusGraph]
    index: Sequence[Any] | None

    def only(self, keep: NDArray[np.bool_]) -> Graphs:
        """Those of the usable rows that are to be kept."""
        graphs = [self.graphs[k] for k in np.flatnonzero(keep)]
        return Graphs(self.rows[keep], graphs, self.index)

    def formulas(self) -> list[str]:
        """The same text for crystals of the same reduced formula."""
        counts = (reduced_counts(graph.atomic_numbers) for graph in self.graphs)
        return [" ".join(f"{z}:{n}" for z, n in pairs) for pairs in counts]


def read_graphs(
    given: GivenRows,
    config: WeightsConfig,
    skip: bool,
    disorder: Disorder,
    outcome: str,
    progress: Callable[[int], Any],
) -> Graphs:
    """Check structures and build their graphs; doubts are told once.

    Parameters
    ----------
    given : GivenRows
    config : WeightsConfig
    skip : bool
        Leave unusable structures out with one warning instead of raising.
    disorder : str
    outcome : str
        What becomes of the rows that are left out.
    progress : callable
        Told the number of rows that were just finished.

    Raises
    ------
    StructureError
        A structure is unusable and none is to be skipped; the message names its row.
    """
    notes, rows, graphs = EncodingNotes(config), list[int](), list[RadiusGraph]()
    errors: dict[int, StructureError] = {}

    def failed(row: int, error: StructureError) -> None:
        if not skip:
            raise StructureError(
                f"{row_name(row, given.index)}: {error}\nTo go on without such rows, construct the "
                "regressor with on_error='nan'."
            ) from error
        errors[row] = error
        progress(1)

    read = partial(prepare, config=config, disorder=disorder)
    for row, prepared in prepare_rows(given.structures, read, failed):
        notes.read(prepared, row)
        rows.append(row)
        graphs.append(prepared.graph)
        progress(1)
    if errors:
        warn_user(
            f"{len(errors)} of {len(given)} rows are no usable structure and {outcome}; "
            f"{_first(errors, given.index)}"
        )
    for text in notes.texts(given.index):
        warn_user(text)
    return Graphs(np.array(rows, np.int64), graphs, given.index)


def tight_binding_columns(
    given: GivenRows,
    graphs: Graphs,
    disorder: Disorder,
    outcome: str,
    progress: Callable[[int], Any],
) -> NDArray[np.float32]:
    """Columns of ``TightBindingStats`` for the rows of the graphs: those given, or new ones.

    Rows that have none get NaN, with one warning.

    Parameters
    ----------
    given : GivenRows
    graphs : Graphs
    disorder : str
    outcome : str
        What becomes of the rows that have none.
    progress : callable
        Told the number of rows that were just finished.
    """
    from matminer_unate.featurizers.tight_binding_stats import TightBindingStats

    if given.electrons is not None:
        columns = given.electrons[graphs.rows]
        lacking = np.flatnonzero(~np.isfinite(columns).all(axis=1))
        reasons = {int(graphs.rows[k]): "the given ones are not finite" for k in lacking}
    else:
        some = [given.structures[row] for row in graphs.rows]
        electrons = TightBindingStats(on_error="nan", disorder=disorder)
        found = electrons._columns(some, True, None, progress)
        columns = found.values
        reasons = {int(graphs.rows[k]): str(why) for k, why in sorted(found.errors.items())}
    if reasons:
        warn_user(
            f"{len(reasons)} of {len(columns)} rows have no tight-binding columns and {outcome}; "
            f"{_first(reasons, graphs.index)}"
        )
    return columns


def _first(errors: dict[int, Any], index: Sequence[Any] | None) -> str:
    row, error = next(iter(errors.items()))
    return f"the first is {row_name(row, index)}: {error}"
