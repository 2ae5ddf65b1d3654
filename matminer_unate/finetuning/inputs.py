"""Structures → graphs and columns that the fine-tuned network reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from matminer_unate.crystals.formula import reduced_counts
from matminer_unate.crystals.graph import RadiusGraph
from matminer_unate.crystals.ordering import Disorder
from matminer_unate.errors import StructureError, warn_user
from matminer_unate.featurizers.rows import prepare_rows, row_name
from matminer_unate.featurizers.unate import EncodingNotes, prepare
from matminer_unate.network.weights import WeightsConfig


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
    structures: Sequence[Any],
    config: WeightsConfig,
    skip: bool,
    disorder: Disorder,
    index: Sequence[Any] | None,
    outcome: str,
    progress: Callable[[int], Any],
) -> Graphs:
    """Check structures and build their graphs; doubts are told once.

    Parameters
    ----------
    structures : sequence
    config : WeightsConfig
    skip : bool
        Leave unusable structures out with one warning instead of raising.
    disorder : str
    index : sequence, optional
        Labels of the rows, for messages.
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
                f"{row_name(row, index)}: {error}\nTo go on without such rows, construct the "
                "regressor with on_error='nan'."
            ) from error
        errors[row] = error
        progress(1)

    read = partial(prepare, config=config, disorder=disorder)
    for row, prepared in prepare_rows(structures, read, failed):
        notes.read(prepared, row)
        rows.append(row)
        graphs.append(prepared.graph)
        progress(1)
    if errors:
        warn_user(
            f"{len(errors)} of {len(structures)} rows are no usable structure and {outcome}; "
            f"{_first(errors, index)}"
        )
    for text in notes.texts(index):
        warn_user(text)
    return Graphs(np.array(rows, np.int64), graphs, index)


def tight_binding_columns(
    structures: Sequence[Any],
    graphs: Graphs,
    disorder: Disorder,
    outcome: str,
    progress: Callable[[int], Any],
) -> NDArray[np.float32]:
    """Columns of ``TightBindingStats`` for the rows of the graphs.

    Rows that have none get NaN, with one warning.

    Parameters
    ----------
    structures : sequence
        All rows.
    graphs : Graphs
    disorder : str
    outcome : str
        What becomes of the rows that have none.
    progress : callable
        Told the number of rows that were just finished.
    """
    from matminer_unate.featurizers.tight_binding_stats import TightBindingStats

    some = [structures[row] for row in graphs.rows]
    electrons = TightBindingStats(on_error="nan", disorder=disorder)
    found = electrons._columns(some, True, None, progress)
    errors = {int(graphs.rows[k]): error for k, error in sorted(found.errors.items())}
    if errors:
        warn_user(
            f"{len(errors)} of {len(some)} rows have no tight-binding columns and {outcome}; "
            f"{_first(errors, graphs.index)}"
        )
    return found.values


def _first(errors: dict[int, Any], index: Sequence[Any] | None) -> str:
    row, error = next(iter(errors.items()))
    return f"the first is {row_name(row, index)}: {error}"
