"""Crystals → a table each, with a row for every site: what ``UnateSiteFeaturizer`` gives."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from matminer_unate.crystals.batching import fill_batches
from matminer_unate.crystals.checked import CheckedCrystal
from matminer_unate.crystals.given_sites import copies_in
from matminer_unate.errors import StructureError
from matminer_unate.featurizers.chunks import (
    TIGHT_BINDING_SECONDS,
    begun_by_workers,
    core_seconds,
)
from matminer_unate.featurizers.column_meanings import ColumnMeaning, learned, of_crystal
from matminer_unate.featurizers.rows import PlacedCrystal, PreparedCrystal, RowNotes
from matminer_unate.featurizers.site_descriptor_stats import (
    BATCH_EDGES,
    DECIMALS,
    MeasuredCrystal,
    SiteDescriptorStats,
)
from matminer_unate.featurizers.tight_binding_stats import TightBindingStats
from matminer_unate.featurizers.unate import EncodingNotes, embed, prepare
from matminer_unate.network.encoding import encode
from matminer_unate.network.weights import weights_config
from matminer_unate.physics.band_quantities import SITE_QUANTITIES, PhysicalCell, quantities
from matminer_unate.physics.site_descriptors import DESCRIPTORS, DescriptorGroup, site_descriptors
from matminer_unate.worker_processes import worker_processes

Table = NDArray[np.float32]
NumberedTable = tuple[int, Table]
Described = tuple[PreparedCrystal, Table]
"""A crystal as a group prepared it, and its (n_sites, n_columns)."""

KEPT = 8
"""Crystals whose tables are kept for further calls."""


class SiteGroup(Protocol):
    """A group of columns of sites; equal ones give equal columns.

    Attributes
    ----------
    core_seconds : (float, float)
        What a crystal, and a site, roughly take of one core, if that is enough for worker
        processes to pay; else 0.
    """

    core_seconds: ClassVar[tuple[float, float]]

    def meanings(self) -> list[ColumnMeaning]:
        """Name, unit and meaning of every column."""
        ...

    def notes(self) -> RowNotes:
        """What counts the rows that got their columns all the same."""
        ...

    def prepare(self, crystal: CheckedCrystal) -> PreparedCrystal:
        """Build the graph; raises StructureError."""
        ...

    def tables(self, crystals: Iterator[tuple[int, Any]]) -> Iterator[NumberedTable]:
        """Numbered prepared crystals → each number with (n_sites, n_columns)."""
        ...


@dataclass(frozen=True)
class NetworkColumns:
    """The site embedding, or the named predictions that are made from it.

    Attributes
    ----------
    weights : str or Path
    sha256 : str
        Of the weights.
    device : str
    batch_size : int
        Edges.
    predicted : bool
        Whether these are the predictions.
    """

    weights: str | Path
    sha256: str
    device: str
    batch_size: int
    predicted: bool

    core_seconds: ClassVar[tuple[float, float]] = (0.0, 0.0)

    def meanings(self) -> list[ColumnMeaning]:
        config = weights_config(self.weights)
        components = [f"z_{k:03d}" for k in range(config.latent_dim)]
        labels = config.encoder.predicted if self.predicted else components
        return [learned(f"unate_{config.name}", label) for label in labels]

    def notes(self) -> RowNotes:
        return EncodingNotes(weights_config(self.weights))

    def prepare(self, crystal: CheckedCrystal) -> PreparedCrystal:
        return prepare(crystal, weights_config(self.weights))

    def tables(self, crystals: Iterator[tuple[int, PreparedCrystal]]) -> Iterator[NumberedTable]:
        graphs = ((k, crystal.graph) for k, crystal in crystals)
        if not self.predicted:
            yield from embed(graphs, self.weights, self.device, self.batch_size)
            return
        n = len(weights_config(self.weights).encoder.predicted)
        for batch in encode(graphs, self.weights, self.device, self.batch_size, "columns"):
            # The last of the site vector, after the channels of the layers.
            parts = np.split(batch.sites[:, -n:], batch.site_start[1:-1])
            yield from zip(batch.rows, parts, strict=True)


@dataclass(frozen=True)
class FoldedCrystal(PlacedCrystal):
    """A primitive cell, and which of its sites each site of the given cell is.

    Attributes
    ----------
    site : (n_given,) int64
    """

    site: NDArray[np.int64]


@dataclass(frozen=True)
class TightBindingColumns:
    """What the tight-binding model of ``TightBindingStats`` says of each site."""

    core_seconds: ClassVar[tuple[float, float]] = TIGHT_BINDING_SECONDS

    def meanings(self) -> list[ColumnMeaning]:
        return [of_crystal("tight_binding", quantity) for quantity in SITE_QUANTITIES]

    def notes(self) -> RowNotes:
        return TightBindingStats()._notes()

    def prepare(self, crystal: CheckedCrystal) -> FoldedCrystal:
        cell = TightBindingStats()._prepare(crystal)
        place = (cell.lattice, cell.frac_coords, cell.graph.atomic_numbers)
        site = copies_in(crystal.arrays, place)
        return FoldedCrystal(
            cell.graph,
            cell.unknown,
            cell.lattice,
            cell.frac_coords,
            site,
            resolution=crystal.resolution,
        )

    def tables(self, crystals: Iterator[tuple[int, FoldedCrystal]]) -> Iterator[NumberedTable]:
        waiting: deque[tuple[int, NDArray[np.int64]]] = deque()

        def cells() -> Iterator[PhysicalCell]:
            for k, crystal in crystals:
                waiting.append((k, crystal.site))
                yield crystal.lattice, crystal.frac_coords, crystal.graph

        for sites, _ in quantities(cells()):
            k, site = waiting.popleft()
            # Adding 0 makes −0 a 0.
            yield k, sites[site].round(DECIMALS).astype(np.float32) + np.float32(0.0)


@dataclass(frozen=True)
class DescriptorColumns:
    """The site descriptors that ``SiteDescriptorStats`` pools.

    Attributes
    ----------
    group : {"physics", "fingerprint"}
    """

    group: DescriptorGroup

    core_seconds: ClassVar[tuple[float, float]] = (0.0, 0.0)

    def meanings(self) -> list[ColumnMeaning]:
        return [of_crystal("site", quantity) for quantity in DESCRIPTORS[self.group]]

    def notes(self) -> RowNotes:
        return self._stats()._notes()

    def prepare(self, crystal: CheckedCrystal) -> MeasuredCrystal:
        return self._stats()._prepare(crystal)

    def tables(self, crystals: Iterator[tuple[int, MeasuredCrystal]]) -> Iterator[NumberedTable]:
        cutoff = self._stats().cutoff
        items = (((k, crystal.volume), crystal.graph) for k, crystal in crystals)
        for batch in fill_batches(items, BATCH_EDGES):
            graphs = [graph for _, graph in batch]
            volumes = [volume for (_, volume), _ in batch]
            found = site_descriptors(graphs, volumes, cutoff, self.group).round(DECIMALS)
            ends = np.cumsum([graph.n_sites for graph in graphs])
            parts = np.split(found + np.float32(0.0), ends[:-1])
            yield from ((k, part) for ((k, _), _), part in zip(batch, parts, strict=True))

    def _stats(self) -> SiteDescriptorStats:
        return SiteDescriptorStats(descriptors=self.group)


@dataclass(frozen=True)
class SiteTable:
    """The columns of all sites of a crystal.

    Attributes
    ----------
    crystal : CheckedCrystal
    values : (n_sites, n_columns) float32
        Of the sites as they were given.
    prepared : list of PreparedCrystal
        For the notes, one a group.
    """

    crystal: CheckedCrystal
    values: Table
    prepared: list[PreparedCrystal]


def site_tables(
    crystals: Sequence[CheckedCrystal], groups: Sequence[SiteGroup]
) -> list[SiteTable | StructureError]:
    """The table of each crystal, or why it has none; those of equal crystals are made once."""
    distinct = {crystal.digest: crystal for crystal in reversed(crystals)}
    if len(distinct) == 1:
        try:
            found = _kept_table(_Wanted.of(crystals[0], groups))
        except StructureError as e:
            return [e] * len(crystals)
        return [found] * len(crystals)
    made = dict(zip(distinct, _site_tables(list(distinct.values()), groups), strict=True))
    return [made[crystal.digest] for crystal in crystals]


@dataclass(frozen=True)
class _Wanted:
    """A crystal and groups of columns, the same where what is in them is the same."""

    key: tuple[bytes, tuple[SiteGroup, ...]]
    crystal: CheckedCrystal

    @classmethod
    def of(cls, crystal: CheckedCrystal, groups: Sequence[SiteGroup]) -> _Wanted:
        return cls((crystal.digest, tuple(groups)), crystal)

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Wanted) and self.key == other.key


@lru_cache(maxsize=KEPT)
def _kept_table(wanted: _Wanted) -> SiteTable:
    """matminer asks for one site at a time, and a Structure may be changed in between: what is kept
    is known by the coordinates and species that it was made from."""
    (found,) = _site_tables([wanted.crystal], wanted.key[1])
    if isinstance(found, StructureError):
        raise found
    return found


def _site_tables(
    crystals: Sequence[CheckedCrystal], groups: Sequence[SiteGroup]
) -> list[SiteTable | StructureError]:
    of_groups = [_described_by(group, crystals) for group in groups]
    found: list[SiteTable | StructureError] = []
    for crystal, parts in zip(crystals, zip(*of_groups, strict=True), strict=True):
        crystal.forget_graphs()  # the prepared ones hold what is needed
        described = [part for part in parts if not isinstance(part, StructureError)]
        errors = [part for part in parts if isinstance(part, StructureError)]
        try:
            found.append(errors[0] if errors else _table(crystal, described))
        except StructureError as e:
            found.append(e)
    return found


def _described_by(
    group: SiteGroup, crystals: Sequence[CheckedCrystal]
) -> list[Described | StructureError]:
    """What a group says of crystals; by worker processes, where it is slow and there are enough."""
    if not worker_processes().are_worth(core_seconds(crystals, *group.core_seconds)):
        return described_here(group, crystals)
    _, begun = begun_by_workers(partial(described_here, group), enumerate(crystals))
    with closing(begun) as parts:
        return [described for part in parts for described in part]


def described_here(
    group: SiteGroup, crystals: Sequence[CheckedCrystal]
) -> list[Described | StructureError]:
    """What a group says of each crystal, or why it cannot say anything."""
    prepared: dict[int, PreparedCrystal] = {}
    found: list[Any] = [None] * len(crystals)
    for k, crystal in enumerate(crystals):
        try:
            prepared[k] = group.prepare(crystal)
        except StructureError as e:
            found[k] = e
    for k, table in group.tables(iter(prepared.items())):
        found[k] = prepared[k], table
    return found


def _table(crystal: CheckedCrystal, described: Sequence[Described]) -> SiteTable:
    prepared, tables = zip(*described, strict=True)
    values = np.hstack(tables)
    if not np.isfinite(values).all():
        raise StructureError("its columns are not finite; please report this")
    if crystal.given_sites is not None:
        values = crystal.given_sites.means(values)
    values.setflags(write=False)
    return SiteTable(crystal, values, list(prepared))
