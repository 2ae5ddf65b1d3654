"""Graphs → site vectors: batch them, and run the network over the batches.

Networks are kept by weights folder and device, so that featurizers, their clones, threads and
forked workers share one, and a pickled featurizer holds none.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from numbers import Integral
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from matminer_unate.crystals.batching import collate, fill_batches
from matminer_unate.crystals.graph import RadiusGraph
from matminer_unate.errors import InputError
from matminer_unate.network.devices import count_workers, resolve_device
from matminer_unate.network.weights import load_encoder, weights_config, weights_folder
from matminer_unate.processes import single_threaded_workers

if TYPE_CHECKING:
    import torch

    from matminer_unate.network.encoder import SiteEncoder


DEFAULT_BATCH_SIZE = 8_192
"""Edges encoded at once. The arrays of one layer then fit the processor's cache."""


@dataclass(frozen=True)
class Encoded:
    """One batch of encoded crystals.

    Attributes
    ----------
    rows : list of int
        Positions of the crystals in the input.
    sites : (n_sites, d) float32
        Site vectors of all crystals in turn.
    site_start : (len(rows) + 1,) int64
    crystals : (len(rows), k) float32
        Columns that need no pooling; of ``output="columns"`` only.
    occupancy : (n_sites,) float32 or None
        None if all are 1.
    """

    rows: list[int]
    sites: NDArray[np.float32]
    site_start: NDArray[np.int64]
    crystals: NDArray[np.float32]
    occupancy: NDArray[np.float32] | None = None


def load(weights: str | Path, device: str) -> tuple[SiteEncoder, torch.device]:
    """The network of these weights on this device, loaded at first use, and once."""
    config = weights_config(weights)
    resolved = resolve_device(device)
    with _loading:
        return _load(weights_folder(weights), config.sha256, str(resolved)), resolved


@lru_cache(maxsize=4)
def _load(folder: Path, _sha256: str, device: str) -> SiteEncoder:
    with single_threaded_workers(1) as workers:
        encoder, _ = workers.submit(load_encoder, folder).result()
    return encoder.to(device)


_loading = Lock()


def _in_forked_child() -> None:
    global _loading
    _loading = Lock()  # a thread that the child does not have may hold the other


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_forked_child)


def check_batch_size(batch_size: int) -> None:
    """Raise InputError unless the batch size is a whole number of edges above 0."""
    if isinstance(batch_size, bool) or not isinstance(batch_size, Integral) or batch_size < 1:
        raise InputError(f"batch_size is a number of edges, at least 1; got {batch_size!r}")


def encode(
    crystals: Iterable[tuple[int, RadiusGraph]],
    weights: str | Path,
    device: str,
    batch_size: int,
    output: Literal["embedding", "columns"],
) -> Iterator[Encoded]:
    """Run the network over graphs, a batch at a time.

    Parameters
    ----------
    crystals : iterable of (row, graph)
        Drawn from as the batches need them.
    weights, device
        As for ``UnateFeaturizer``.
    batch_size : int
        Most edges in a batch. A larger crystal is a batch of its own, worked through in chunks.
    output : {"embedding", "columns"}
        The site embedding, or the site vector that is pooled into columns.
    """
    check_batch_size(batch_size)
    encoder, resolved = load(weights, device)
    batches = fill_batches(crystals, batch_size)
    first = list(itertools.islice(batches, 2))
    n_workers = count_workers(resolved) if len(first) > 1 else 1

    def run(batch: list[tuple[int, RadiusGraph]]) -> Encoded:
        import torch

        joined = collate([graph for _, graph in batch])
        data = joined.to(resolved)
        with torch.inference_mode():
            if output == "embedding":
                sites, crystals = encoder(data), torch.zeros(len(batch), 0)
            else:
                crystal = np.repeat(np.arange(len(batch)), np.diff(joined.site_start))
                index = torch.from_numpy(crystal).to(resolved)
                sites, crystals = encoder.columns(data, index, len(batch))
        return Encoded(
            [row for row, _ in batch],
            sites.float().cpu().numpy(),
            joined.site_start,
            crystals.float().cpu().numpy(),
            None if joined.occupancy is None else joined.occupancy.numpy(),
        )

    with single_threaded_workers(n_workers) as workers:
        batches = itertools.chain(first, batches)
        # By turns: graphs are built while the workers rest, because a thread that runs Python code
        # holds up all others after each of their operations.
        while turn := list(itertools.islice(batches, 4 * n_workers)):
            yield from workers.map(run, turn)
