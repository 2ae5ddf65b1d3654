"""Embeddings of all sites of a corpus, as a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from tqdm.auto import tqdm

from benchmarks.embeddings.element_means import ElementMeans, component_names
from corpora.crystal import Crystal
from matminer_unate.crystals.graph import RadiusGraph
from matminer_unate.errors import InputError, StructureError
from matminer_unate.featurizers.unate import masked_graph
from matminer_unate.network.encoding import DEFAULT_BATCH_SIZE, Encoded, encode
from matminer_unate.network.weights import WeightsConfig, weights_config

ROWS = 65_536
"""Sites in one row group of the Parquet file, about 35 MB."""


def crystal_graphs(
    crystals: Sequence[Crystal], config: WeightsConfig
) -> Iterator[tuple[int, RadiusGraph]]:
    """Numbered graphs as the network of these weights reads them: unknown species are 0.

    Raises
    ------
    InputError
        With the identifier of the crystal of which there is no graph.
    """
    for row, c in enumerate(crystals):
        try:
            yield row, masked_graph((c.lattice, c.frac_coords, c.atomic_numbers), config)
        except StructureError as e:
            raise InputError(f"crystal {c.identifier}: {e}; drop it from the table") from e


def embed(crystals: Sequence[Crystal], weights: str | Path) -> Iterator[Encoded]:
    """Site embeddings, a batch at a time, in the order of the crystals."""
    graphs = crystal_graphs(crystals, weights_config(weights))
    yield from encode(graphs, weights, "auto", DEFAULT_BATCH_SIZE, "embedding")


def export_sites(
    crystals: Sequence[Crystal], weights: str | Path, out: Path | None
) -> ElementMeans:
    """Write the site embeddings and gather the means of the elements on the way.

    Parameters
    ----------
    crystals : sequence of Crystal
    weights : str or Path
    out : Path or None
        The Parquet file; with None the sites are not written.

    Notes
    -----
    No more than one row group of site vectors is held at a time. Sites of elements that the weights
    do not know, which the network reads as masked, are written but enter no mean.
    """
    config = weights_config(weights)
    means = ElementMeans(config.latent_dim)
    writer = pq.ParquetWriter(out, site_schema(config), compression="zstd") if out else None
    waiting: list[pa.Table] = []
    with tqdm(total=len(crystals), unit="crystal") as progress:
        for batch in embed(crystals, weights):
            z = np.concatenate([crystals[row].atomic_numbers for row in batch.rows])
            known = config.is_known[z]
            means.add(z[known], batch.sites[known])
            progress.update(len(batch.rows))
            if writer:
                waiting.append(
                    site_table([crystals[r] for r in batch.rows], z, batch.sites, config)
                )
                if sum(len(t) for t in waiting) >= ROWS:
                    writer.write_table(pa.concat_tables(waiting), row_group_size=2 * ROWS)
                    waiting = []
    if writer:
        if waiting:
            writer.write_table(pa.concat_tables(waiting), row_group_size=2 * ROWS)
        writer.close()
    return means


def site_schema(config: WeightsConfig) -> pa.Schema:
    """Columns of the site table; the weights are named in its metadata."""
    keys = [("identifier", pa.string()), ("site", pa.int32()), ("atomic_number", pa.int16())]
    components = [(name, pa.float32()) for name in component_names(config.latent_dim)]
    metadata = {"weights": config.name, "sha256": config.sha256}
    return pa.schema(keys + components, metadata=metadata)


def site_table(
    crystals: Sequence[Crystal],
    z: NDArray[np.int64],
    sites: NDArray[np.float32],
    config: WeightsConfig,
) -> pa.Table:
    """Rows of the site table for the sites of these crystals in turn."""
    n_sites = [len(c.atomic_numbers) for c in crystals]
    identifiers = np.repeat(np.array([c.identifier for c in crystals], dtype=object), n_sites)
    number = np.concatenate([np.arange(n, dtype=np.int32) for n in n_sites])
    columns = [identifiers, number, z.astype(np.int16), *np.ascontiguousarray(sites.T)]
    return pa.table([pa.array(c) for c in columns], schema=site_schema(config))
