"""Structures → the columns that UnateRegressor learns from, block by block."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from matminer_unate.crystals.checked import CheckedCrystal
from matminer_unate.crystals.formula import written_formula
from matminer_unate.crystals.ordering import Disorder
from matminer_unate.errors import InputError, StructureError, row_name
from matminer_unate.featurizers.base import StructureFeaturizer
from matminer_unate.featurizers.cell_stats import CellStats
from matminer_unate.featurizers.chunks import (
    CELL_SECONDS,
    TIGHT_BINDING_SECONDS,
    Chunk,
    begun_by_workers,
    core_seconds,
)
from matminer_unate.featurizers.column_meanings import ColumnMeaning
from matminer_unate.featurizers.inputs import structure_column
from matminer_unate.featurizers.rows import Columns, RowNotes, prepare_rows
from matminer_unate.featurizers.site_descriptor_stats import SiteDescriptorStats
from matminer_unate.featurizers.unate import UnateFeaturizer
from matminer_unate.network.weights import weights_config
from matminer_unate.physics.magpie import MAGPIE_LABELS, MAGPIE_MEANINGS, magpie_statistics
from matminer_unate.progress import WorkBar
from matminer_unate.worker_processes import worker_processes

FORMULA = "formula"
"""Column of reduced formulas, the groups of cross-validation."""

CELL_MEANINGS: list[ColumnMeaning] = [
    ("cell_volume_per_atom", "Å³", "volume per atom"),
    ("cell_spacegroup_number", "–", "number of the space group"),
    ("cell_n_sites_primitive", "–", "sites of the primitive cell"),
]
CELL_NAMES = tuple(name for name, _, _ in CELL_MEANINGS)

COMPOSITION = "composition and cell"
SITES = "sites"
CELL = "cell"
TIGHT_BINDING = "tight binding"
FINGERPRINT = "fingerprint"
LEARNED = "unate "
"""Names of blocks; those of learned columns begin so."""

STRUCTURES = "structures"
"""What comes before the blocks: every row is checked."""

OPTIONAL = (TIGHT_BINDING,)
"""Blocks that a crystal may lack: a model without them is fitted too."""

KEPT_EDGES = 4_000_000
"""Edges whose graphs are kept from one part to the next: 200 MB, or some 20,000 small crystals.
Those of later rows are built anew by each part."""

START_UP = 3.0
"""Seconds that the first network of a process takes to load, mostly torch."""
SECONDS = {
    STRUCTURES: (1e-4, 1e-5),
    COMPOSITION: (6e-4, 1e-5),
    SITES: (1e-4, 1e-5),
    CELL: CELL_SECONDS,
    TIGHT_BINDING: TIGHT_BINDING_SECONDS,
    LEARNED: (2e-4, 6e-5),
}
"""A crystal, and a site, roughly, of one core; for the time left."""


Row = CheckedCrystal | StructureError
"""What was given in a row, or why it is of no use."""


@dataclass
class Described:
    """The columns of many structures, and what was in the way.

    Attributes
    ----------
    table : DataFrame
        Reduced formula and columns; NaN in rows that are no usable structure, and in blocks that a
        row has not.
    unusable : dict of int to StructureError
        Why, by row.
    lacking : dict of (int, str) to Exception
        Why a row lacks a block.
    ordered : dict of int to CheckedCrystal
        What stands for disordered crystals, by row.
    """

    table: pd.DataFrame
    unusable: dict[int, StructureError] = field(default_factory=dict)
    lacking: dict[tuple[int, str], Exception] = field(default_factory=dict)
    ordered: dict[int, CheckedCrystal] = field(default_factory=dict)


@dataclass(frozen=True)
class Recipe:
    """Which columns.

    Attributes
    ----------
    weights : tuple of str or Path
        Of the learned columns.
    device : str
    tight_binding : bool
        With what a tight-binding model says of the electrons.
    disorder : str
    """

    weights: tuple[str | Path, ...]
    device: str
    tight_binding: bool
    disorder: Disorder = "raise"

    def blocks(self) -> dict[str, list[str]]:
        """Names of the columns by block; those that the trees learn from come first."""
        blocks = {
            COMPOSITION: [*MAGPIE_LABELS, *CELL_NAMES],
            SITES: SiteDescriptorStats().feature_labels(),
            CELL: CellStats().feature_labels(),
        }
        if self.tight_binding:
            blocks[TIGHT_BINDING] = tight_binding_stats().feature_labels()
        blocks[FINGERPRINT] = SiteDescriptorStats(descriptors="fingerprint").feature_labels()
        for weights in self.weights:
            blocks[f"{LEARNED}{weights}"] = self._learned(weights).feature_labels()
        return blocks

    def meanings(self) -> list[ColumnMeaning]:
        """Name, unit and meaning of all columns."""
        featurizers: list[Any] = [SiteDescriptorStats(), CellStats()]
        if self.tight_binding:
            featurizers.append(tight_binding_stats())
        featurizers.append(SiteDescriptorStats(descriptors="fingerprint"))
        featurizers += [self._learned(weights) for weights in self.weights]
        first = [*MAGPIE_MEANINGS, *CELL_MEANINGS]
        return first + [meaning for f in featurizers for meaning in f._column_meanings()]

    def n_tree_columns(self) -> int:
        """How many of the columns, from the first, the trees learn from."""
        return sum(len(names) for block, names in self.blocks().items() if not is_wide(block))

    def _learned(self, weights: str | Path) -> UnateFeaturizer:
        return UnateFeaturizer(weights, device=self.device)

    def names(self) -> list[str]:
        """Names of all columns."""
        return [name for block in self.blocks().values() for name in block]

    def seconds(self, structures: Sequence[Any]) -> dict[str, float]:
        """What the stages of :meth:`describe` will roughly take on one core."""
        stages = {
            name: core_seconds(structures, *SECONDS[part]) for name, part in self._stages().items()
        }
        if "torch" not in sys.modules and len(structures):
            first = next(name for name, part in self._stages().items() if part == LEARNED)
            stages[first] += START_UP
        return stages

    def describe(
        self, structures: Sequence[Any], index: Any, ignore_errors: bool, bar: WorkBar
    ) -> Described:
        """Formula and columns of structures, float32.

        Parameters
        ----------
        structures : sequence
        index : Index or None
            Names that the caller gave to the rows.
        ignore_errors : bool
        bar : WorkBar
            With the stages of :meth:`seconds`.

        Raises
        ------
        StructureError
            A structure is unusable and errors are not ignored; the message names its row.
        """
        found = Described(pd.DataFrame(index=range(len(structures)) if index is None else index))
        crystals = self._checked(structures, bar)
        found.unusable = {r: c for r, c in enumerate(crystals) if isinstance(c, StructureError)}
        found.ordered = {
            r: c for r, c in enumerate(crystals) if isinstance(c, CheckedCrystal) and c.resolution
        }
        if found.unusable and not ignore_errors:
            row, error = next(iter(found.unusable.items()))
            more = len(found.unusable) - 1
            raise StructureError(
                f"{row_name(row, index)}: {error}\n"
                + (f"{more} more row(s) are unusable too. " if more else "")
                + "Drop such rows, or set on_error='nan' to leave them out."
            ) from error
        names = self.names()
        values = self._values(crystals, index, found, bar)
        values[list(found.unusable)] = np.nan
        found.table = pd.DataFrame(values, index=found.table.index, columns=names)
        formulas = [
            written_formula(c.reduced_counts) if isinstance(c, CheckedCrystal) else None
            for c in crystals
        ]
        found.table.insert(0, FORMULA, np.array(formulas, dtype=object))
        return found

    def _stages(self) -> dict[str, str]:
        """Of the bar, by name: which of :data:`SECONDS` it takes."""
        learned = {f"columns: {LEARNED}{_short(w)}": LEARNED for w in self.weights}
        parts = [COMPOSITION, SITES, CELL, *([TIGHT_BINDING] if self.tight_binding else [])]
        others = {f"columns: {part}": part for part in parts}
        return {f"columns: {STRUCTURES}": STRUCTURES} | learned | others

    def _checked(self, structures: Sequence[Any], bar: WorkBar) -> list[Row]:
        """Every row taken apart and checked, before any of them is worked on."""
        cutoff = weights_config(self.weights[0]).cutoff
        tell = bar.rows(f"columns: {STRUCTURES}", len(structures))
        rows: list[Row] = [StructureError("")] * len(structures)
        n_edges = 0

        def checked(structure: Any) -> CheckedCrystal:
            nonlocal n_edges
            crystal = CheckedCrystal.of(structure, self.disorder)
            n_edges += crystal.graph(cutoff).n_edges
            if n_edges > KEPT_EDGES:
                crystal.forget_graphs()
            return crystal

        def failed(row: int, error: StructureError) -> None:
            rows[row] = error
            tell(1)

        for row, crystal in prepare_rows(structures, checked, failed):
            rows[row] = crystal
            tell(1)
        return rows

    def _values(
        self, crystals: Sequence[Row], index: Any, found: Described, bar: WorkBar
    ) -> NDArray[np.float32]:
        """All blocks side by side."""
        n, (_, *stages) = len(crystals), self._stages()
        of_networks, others = stages[: len(self.weights)], stages[len(self.weights) :]
        numbered = [(row, c) for row, c in enumerate(crystals) if isinstance(c, CheckedCrystal)]
        usable = Chunk([row for row, _ in numbered], [c for _, c in numbered])

        def values(columns: Columns, says_all: bool, *blocks: str) -> NDArray[np.float32]:
            for row in columns.errors.keys() - found.unusable.keys():
                found.lacking |= {(row, block): columns.errors[row] for block in blocks}
            if not says_all:
                # Disorder and atoms without neighbours are said of the first weights alone.
                columns.notes.keep_only("unknown")
            columns.warn(mention_errors=False)
            return columns.values

        chunks, begun = self._begin_without_networks(usable, others, bar)
        with closing(begun):
            learned = []
            for k, (weights, stage) in enumerate(zip(self.weights, of_networks, strict=True)):
                columns = self._learned(weights)._columns(crystals, True, index, bar.rows(stage, n))
                learned.append(values(columns, k == 0, f"{LEARNED}{weights}"))
            whole = self._empty_without_networks(n, index)
            tell = bar.rows(others[0], len(usable.rows), through=others[-1])
            for chunk, parts in zip(chunks, begun, strict=True):
                for columns, part in zip(whole, parts, strict=True):
                    columns.take(part, chunk.rows)
                tell(len(chunk.rows))
        first, sites, *more = whole
        fingerprint = values(sites, False, SITES, FINGERPRINT)[:, _positions("fingerprint")]
        blocks = [first.values, sites.values[:, _positions("physics")]]
        for block, columns in zip((CELL, TIGHT_BINDING), more, strict=False):
            blocks.append(values(columns, False, block))
        return np.hstack([*blocks, fingerprint, *learned])

    def _featurizers(self) -> list[StructureFeaturizer]:
        """Those without a network, in the order of their stages."""
        electrons = [tight_binding_stats()] if self.tight_binding else []
        return [SiteDescriptorStats(descriptors="all"), CellStats(), *electrons]

    def _begin_without_networks(
        self, usable: Chunk, stages: Sequence[str], bar: WorkBar
    ) -> tuple[list[Chunk], Generator[list[Columns]]]:
        """Crystals in chunks, and what :meth:`_without_networks` says of each.

        Where it pays, worker processes begin with them at once; else all are one chunk, which is
        described when it is asked for.
        """
        seconds = self.seconds(usable.crystals)
        if worker_processes().are_worth(sum(seconds[stage] for stage in stages)):
            return begun_by_workers(self._without_networks, zip(*usable, strict=True))
        tells = [partial(bar.rows, stage, len(usable.rows)) for stage in stages]
        return [usable], (self._without_networks(some.crystals, tells) for some in [usable])

    def _empty_without_networks(self, n_rows: int, index: Any) -> list[Columns]:
        """What :meth:`_without_networks` returns, to be filled."""
        found = [Columns.empty((n_rows, len(MAGPIE_LABELS) + len(CELL_NAMES)), RowNotes(), index)]
        for featurizer in self._featurizers():
            shape = n_rows, len(featurizer.feature_labels())
            found.append(Columns.empty(shape, featurizer._notes(), index))
        return found

    def _without_networks(
        self,
        crystals: Sequence[CheckedCrystal],
        tells: Sequence[Callable[[], Callable[[int], Any]]] = (),
    ) -> list[Columns]:
        """Composition and cell of crystals, and what the featurizers make of them.

        ``tells`` begin to count the rows of each stage.
        """
        counts = [*tells] or [lambda: lambda n: None] * (1 + len(self._featurizers()))
        cells = np.hstack([composition_columns(crystals), cell_columns(crystals, counts[0]())])
        found = [Columns(cells, {}, RowNotes(), None, True)]
        for featurizer, count in zip(self._featurizers(), counts[1:], strict=True):
            found.append(featurizer._columns_here(crystals, True, None, count()))
        return found

    def own_columns(self, table: pd.DataFrame) -> pd.DataFrame:
        """Formula and columns of a frame that has them, in their order, whatever else it has.

        Raises
        ------
        InputError
            It lacks some, or has one twice.
        """
        expected = [FORMULA, *self.names()]
        if list(table.columns) == expected:
            return table
        missing = [name for name in expected if name not in table.columns]
        if missing:
            some = ", ".join(missing[:3]) + (", …" if len(missing) > 3 else "")
            raise InputError(
                f"the frame lacks {len(missing):,} of the {len(expected) - 1:,} columns of this "
                f"model (missing: {some}); pass structures (one column of a table, as "
                f"df[{structure_column(table)!r}]), or what featurize() of a regressor with the "
                "same options returned"
            )
        found = table[expected]
        if found.shape[1] > len(expected):
            twice = found.columns[found.columns.duplicated()][0]
            raise InputError(f"the frame has the column {twice!r} twice; drop one")
        return found


def is_wide(block: str) -> bool:
    """Whether a block has too many columns, each of them saying too little, for trees."""
    return block == FINGERPRINT or block.startswith(LEARNED)


def is_column_table(X: Any) -> bool:
    """Whether this is what :meth:`UnateRegressor.featurize` returned, rather than structures."""
    return isinstance(X, pd.DataFrame) and X.shape[1] > 1 and FORMULA in X.columns


def composition_columns(structures: Iterable[Any]) -> NDArray[np.float32]:
    """Magpie columns of structures or CheckedCrystals, (n_rows, 132)."""
    return magpie_statistics([CheckedCrystal.of(s).reduced_counts for s in structures])


def _positions(group: Any) -> list[int]:
    """Of a group of descriptors among the columns of all."""
    position = {n: k for k, n in enumerate(SiteDescriptorStats(descriptors="all").feature_labels())}
    return [position[n] for n in SiteDescriptorStats(descriptors=group).feature_labels()]


def cell_columns(
    structures: Iterable[Any], tell: Callable[[int], Any] = lambda n: None
) -> NDArray[np.float32]:
    """Volume per atom (Å³), space group number and sites of the primitive cell, (n_rows, 3).

    NaN where no space group is found.

    Parameters
    ----------
    structures : iterable of structures or CheckedCrystals
    tell : callable
        Told the number of rows that were just finished.
    """
    rows = []
    for structure in structures:
        crystal = CheckedCrystal.of(structure)
        rows.append([crystal.volume / len(crystal), *crystal.symmetry])
        tell(1)
    return np.array(rows, dtype=np.float32).reshape(-1, len(CELL_NAMES))


def tight_binding_stats() -> Any:
    """The featurizer of the electrons, as the recipe uses it."""
    from matminer_unate.featurizers.tight_binding_stats import TightBindingStats

    return TightBindingStats(on_error="nan")


def _short(weights: str | Path) -> str:
    return Path(weights).name
