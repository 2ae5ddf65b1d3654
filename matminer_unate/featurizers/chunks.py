"""Many rows in chunks for worker processes, and what they will take."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Any, NamedTuple, TypeVar

from matminer_unate.crystals.checked import CheckedCrystal
from matminer_unate.worker_processes import worker_processes

Result = TypeVar("Result")

CHUNK_ROWS, CHUNK_SITES = 32, 1_000
"""Of the crystals that go to a process at once: a fraction of a second of work."""
TYPICAL_SITES = 10

LARGE_SITES = 250
"""A crystal of more is described by this process alone. The tight-binding model may take gigabytes
for it, and as many processes as there are cores would take as many times that."""

CELL_SECONDS, TIGHT_BINDING_SECONDS = (3e-4, 1e-4), (2e-3, 4e-4)
"""What a crystal, and a site, roughly take of one core, in ``CellStats`` and
``TightBindingStats``."""


class Chunk(NamedTuple):
    """Some crystals and their rows."""

    rows: list[int]
    crystals: list[CheckedCrystal]


def core_seconds(structures: Sequence[Any], of_row: float, of_site: float) -> float:
    """What structures take, if one takes ``of_row`` and ``of_site`` for each of its sites."""
    if not of_row and not of_site:
        return 0.0
    return of_row * len(structures) + of_site * sum(_n_sites(s) for s in structures)


def _n_sites(structure: Any) -> int:
    """Number of sites, or a typical one of what cannot be counted."""
    if isinstance(structure, (str, bytes, dict)):
        return TYPICAL_SITES
    try:
        return len(structure)
    except TypeError:
        return TYPICAL_SITES


def chunks_of(crystals: Iterable[tuple[int, CheckedCrystal]]) -> list[Chunk]:
    """Crystals with their rows, some at a time, in their order; a large one alone."""
    chunks: list[Chunk] = []
    n_sites = CHUNK_SITES
    for row, crystal in crystals:
        alone = len(crystal) > LARGE_SITES
        if alone or n_sites >= CHUNK_SITES or len(chunks[-1].rows) == CHUNK_ROWS:
            chunks.append(Chunk([], []))
            n_sites = 0
        chunks[-1].rows.append(row)
        chunks[-1].crystals.append(crystal)
        n_sites += CHUNK_SITES if alone else len(crystal)
    return chunks


def begun_by_workers(
    function: Callable[[list[CheckedCrystal]], Result],
    crystals: Iterable[tuple[int, CheckedCrystal]],
) -> tuple[list[Chunk], Generator[Result]]:
    """Crystals in chunks, and what a function makes of each, which worker processes begin with.

    The results are to be closed: after an error, nobody should go on with what nobody will see.
    """
    chunks = chunks_of(crystals)
    given = [chunk.crystals for chunk in chunks]
    return chunks, worker_processes().map(function, given, is_large)


def is_large(crystals: Sequence[CheckedCrystal]) -> bool:
    """Whether this chunk is a large crystal."""
    return len(crystals[0]) > LARGE_SITES
