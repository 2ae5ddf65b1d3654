"""Structures → table of columns: each row encoded once, each failure kept with its row."""

from __future__ import annotations

import hashlib
import re
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from matminer_unate.checkpoint import WeightsConfig
from matminer_unate.encoding import PreparedCrystal, encode, prepare, weights_config
from matminer_unate.errors import StructureError, UnateError, UnateWarning
from matminer_unate.graph import ISOLATED, RadiusGraph

Prepared = TypeVar("Prepared", bound=PreparedCrystal)

Computed = tuple[list[int], NDArray[np.float32]]
"""Rows with their columns."""


@dataclass(kw_only=True)
class RowNotes:
    """What a caller should know of rows that got their columns all the same, counted.

    Attributes
    ----------
    unknown : set of int
        Atomic numbers of which too little is known.
    rows_unknown, rows_isolated : int
        Rows that hold such species, and rows that hold isolated atoms (see ``RadiusGraph``).
    """

    unknown: set[int] = field(default_factory=set)
    rows_unknown: int = 0
    rows_isolated: int = 0

    def read(self, prepared: PreparedCrystal) -> None:
        """Count one crystal in."""
        self.unknown |= prepared.unknown
        self.rows_unknown += bool(prepared.unknown)
        self.rows_isolated += prepared.graph.n_isolated > 0

    def about_unknown(self, symbols: str) -> str:
        """What became of the species that are unknown, after ``n row(s) hold``."""
        raise NotImplementedError

    def about_isolated(self) -> str:
        """What became of the atoms without neighbours, after ``n row(s) hold``."""
        raise NotImplementedError

    def texts(self) -> list[str]:
        """One sentence for each thing to be said."""
        from pymatgen.core import Element

        texts = []
        if self.rows_unknown:
            symbols = ", ".join(Element.from_Z(z).symbol for z in sorted(self.unknown))
            texts.append(f"{self.rows_unknown} row(s) hold {self.about_unknown(symbols)}")
        if self.rows_isolated:
            texts.append(f"{self.rows_isolated} row(s) hold {self.about_isolated()}")
        return texts

    def warn(self, *others: str) -> None:
        """Warn once for each thing, as if from the caller of the featurizer's method."""
        for text in [*others, *self.texts()]:
            warnings.warn(text, UnateWarning, stacklevel=5)


@dataclass
class EncodingNotes(RowNotes):
    """What a caller should know of rows that were encoded all the same.

    Attributes
    ----------
    config : WeightsConfig
    """

    config: WeightsConfig

    def about_unknown(self, symbols: str) -> str:
        return (
            f"elements the weights {self.config.name!r} have not seen ({symbols}); these sites are "
            "encoded as masked species"
        )

    def about_isolated(self) -> str:
        return (
            f"atoms with no neighbour within {ISOLATED * self.config.cutoff:.3g} Å; these are "
            "encoded with their neighbours drawn in"
        )


@dataclass
class Columns:
    """The columns of many crystals.

    Attributes
    ----------
    values : (n_rows, n_columns) float32
        NaN in rows that failed.
    errors : dict of int to Exception
        By row.
    notes : RowNotes
    index : sequence or None
        Labels of the rows, for messages.
    """

    values: NDArray[np.float32]
    errors: dict[int, Exception]
    notes: RowNotes
    index: Sequence[Any] | None

    def tracebacks(self) -> list[Any]:
        """One a row: the formatted exception, or NaN."""
        return [
            "".join(traceback.format_exception(self.errors[row])) if row in self.errors else np.nan
            for row in range(len(self.values))
        ]

    def warn(self, mention_errors: bool) -> None:
        """Say once what the caller should know, with counts."""
        failures = []
        if self.errors and mention_errors:
            row, error = next(iter(self.errors.items()))
            failures = [
                f"{len(self.errors)} of {len(self.values)} rows could not be encoded and are NaN; "
                f"the first is {_name(row, self.index)}: {error}"
            ]
        self.notes.warn(*failures)


def compute_columns(
    structures: Sequence[Any],
    weights: str | Path,
    pooling: Sequence[str],
    device: str,
    batch_size: int,
    ignore_errors: bool,
    index: Sequence[Any] | None = None,
    progress: Callable[[int], Any] = lambda n: None,
) -> Columns:
    """Encode and pool many crystals; equal ones are encoded once.

    Parameters
    ----------
    structures : sequence
        One crystal a row, of whatever kind.
    weights, device, batch_size
        As for ``UnateFeaturizer``.
    pooling : sequence of str
        Checked names.
    ignore_errors : bool
        Keep the errors by row instead of raising the first.
    index : sequence, optional
        Labels of the rows, for messages.
    progress : callable
        Told the number of rows that were just finished.

    Raises
    ------
    StructureError
        A structure is unusable and errors are not ignored.
    """
    config = weights_config(weights)

    def encoded(crystals: Iterator[tuple[int, PreparedCrystal]]) -> Iterator[Computed]:
        graphs = ((row, crystal.graph) for row, crystal in crystals)
        for batch in encode(graphs, weights, device, batch_size, "columns"):
            yield batch.rows, batch.columns(pooling)

    return fill_columns(
        structures,
        lambda structure: prepare(structure, config),
        encoded,
        len(config.site_labels) * len(pooling) + len(config.crystal_labels),
        EncodingNotes(config),
        ignore_errors,
        index,
        progress,
    )


def fill_columns(
    structures: Sequence[Any],
    prepare_row: Callable[[Any], Prepared],
    compute: Callable[[Iterator[tuple[int, Prepared]]], Iterator[Computed]],
    width: int,
    notes: RowNotes,
    ignore_errors: bool,
    index: Sequence[Any] | None = None,
    progress: Callable[[int], Any] = lambda n: None,
    key: Callable[[Prepared], bytes] = lambda crystal: graph_digest(crystal.graph),
) -> Columns:
    """Columns of many crystals by any method; equal crystals are computed once.

    Parameters
    ----------
    structures : sequence
        One crystal a row, of whatever kind.
    prepare_row : callable
        Checks one of them; raises StructureError.
    compute : callable
        Takes (row, prepared crystal) as its batches need them, and gives rows with their columns,
        (len(rows), width).
    width : int
        Number of columns.
    notes : RowNotes
        Is told of each row that is prepared.
    ignore_errors, index, progress
        As for :func:`compute_columns`.
    key : callable
        The same bytes for crystals that get the same columns.

    Raises
    ------
    StructureError
        A structure is unusable and errors are not ignored.
    """
    values = np.full((len(structures), width), np.nan, np.float32)
    errors: dict[int, Exception] = {}
    repeats: dict[int, int] = {}

    def crystals() -> Iterator[tuple[int, Prepared]]:
        first_row: dict[bytes, int] = {}
        for row, structure in enumerate(structures):
            try:
                prepared = prepare_row(structure)
            except StructureError as e:
                if not ignore_errors:
                    raise StructureError(
                        f"{_name(row, index)}: {e}\nTo give such rows NaN instead, pass "
                        "ignore_errors=True or construct the featurizer with on_error='nan'."
                    ) from e
                errors[row] = e
                progress(1)
                continue
            notes.read(prepared)
            first = first_row.setdefault(key(prepared), row)
            if first == row:
                yield row, prepared
            else:
                repeats[row] = first
                progress(1)

    for rows, columns in compute(crystals()):
        values[rows] = columns
        progress(len(rows))
    for row, first in repeats.items():
        values[row] = values[first]
    not_finite = np.flatnonzero(~np.isfinite(values).all(axis=1))
    lost = [int(row) for row in not_finite if int(row) not in errors]
    if lost:
        raise UnateError(f"rows {lost[:5]} were encoded to non-finite values; please report this")
    return Columns(values, errors, notes, index)


def graph_digest(graph: RadiusGraph) -> bytes:
    """The same bytes for graphs that no invariant of theirs can tell apart."""
    digest = hashlib.blake2b(digest_size=16)
    for part in (graph.atomic_numbers, graph.edge_index, graph.edge_vector):
        digest.update(part.tobytes())
    return digest.digest()


def column_slug(name: str) -> str:
    """``states at -2 eV [1/eV]`` → ``states_at_minus_2_ev``, as a part of a column name."""
    bare = re.sub(r"\[.*?\]", "", name.lower())
    return re.sub(r"[^a-z0-9.]+", "_", re.sub(r"[-−](?=\d)", "minus ", bare)).strip("_")


def _name(row: int, index: Sequence[Any] | None) -> str:
    return f"row {row}" + ("" if index is None else f" (index {index[row]!r})")
