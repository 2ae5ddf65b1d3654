"""Weights and crystals → site embeddings (Parquet) and one embedding an element (CSV).

    python training/embedding_tables.py --weights mp_v2 --data mp_mtcgcnn.parquet --part train \\
        --out tables

writes ``site_embeddings.parquet`` (one row a site: ``identifier``, ``site``, ``atomic_number``,
``z_000`` …) and ``element_embeddings.csv`` (one row an element: ``atomic_number``, ``symbol``,
``n_sites``, ``own_share``, ``z_000`` …). Both come from clean crystals and the network in
evaluation mode.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pymatgen.core import Element
from tqdm.auto import tqdm

from command import run_script
from matminer_unate.checkpoint import DEFAULT_WEIGHTS, WeightsConfig
from matminer_unate.encoding import DEFAULT_BATCH_SIZE, Encoded, encode, weights_config
from matminer_unate.errors import InputError, StructureError
from matminer_unate.graph import RadiusGraph, radius_graph
from periodic_table import group
from result_tables import write_table
from sources import Crystal, read_crystals

ENOUGH_SITES = 20
"""An element seen on fewer sites than this is drawn toward the mean of its group."""

ROWS = 65_536
"""Sites in one row group of the Parquet file, about 35 MB."""

SITES_FILE, ELEMENTS_FILE = "site_embeddings.parquet", "element_embeddings.csv"


def main(argv: list[str] | None = None) -> None:
    args = parse_arguments(argv)
    crystals = read_crystals(args.data, args.max_sites, args.part)
    folder = Path(args.out)
    folder.mkdir(parents=True, exist_ok=True)
    means = export_sites(crystals, args.weights, None if args.no_sites else folder / SITES_FILE)
    note = (
        f"{len(crystals)} crystals, {means.count.sum()} sites; mean over the sites of an element; "
        f"below {ENOUGH_SITES} sites own_share of it and the rest the mean of its group; "
        f"variance within elements {means.within_share():.4f}"
    )
    table = element_frame(means, weights_config(args.weights))
    write_table(table, str(folder / ELEMENTS_FILE), note)


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", default=DEFAULT_WEIGHTS, help=f"[{DEFAULT_WEIGHTS}]")
    parser.add_argument("--data", nargs="+", required=True, help="parquet files or folders of CIFs")
    parser.add_argument("--part", choices=["train", "val", "test"], help="of the formulas [all]")
    parser.add_argument("--max-sites", type=int, default=60, help="sites a cell at most [60]")
    parser.add_argument("--no-sites", action="store_true", help="write the element table only")
    parser.add_argument("--out", default="embeddings", help="folder [embeddings]")
    return parser.parse_args(argv)


class ElementMeans:
    """Running sums over the sites of each element.

    Attributes
    ----------
    total : (119, d) float64
        By atomic number.
    square : float
        Sum of the squared lengths of all site vectors.
    count : (119,) int64
    """

    def __init__(self, dimension: int) -> None:
        self.total = np.zeros((119, dimension))
        self.square = 0.0
        self.count = np.zeros(119, dtype=np.int64)

    def add(self, z: NDArray[np.int64], sites: NDArray[np.float32]) -> None:
        """Take in sites (n, d) of elements (n,)."""
        vectors = sites.astype(np.float64)
        np.add.at(self.total, z, vectors)
        self.count += np.bincount(z, minlength=119)
        self.square += float(np.square(vectors).sum())

    @property
    def elements(self) -> NDArray[np.int64]:
        """Atomic numbers seen."""
        return np.flatnonzero(self.count)

    def means(self) -> NDArray[np.float64]:
        """Mean vectors of :attr:`elements`, (n_elements, d)."""
        return self.total[self.elements] / self.count[self.elements, None]

    def within_share(self) -> float:
        """1 − SS_between / SS_total: the share of the variance within elements."""
        n = self.count.sum()
        if n < 2:
            return float("nan")
        centre = self.total.sum(axis=0) / n
        around = self.square - n * np.square(centre).sum()
        within = self.square - (self.count[self.elements] @ np.square(self.means()).sum(axis=1))
        return float(within / around)


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
        z = c.atomic_numbers * config.is_known[c.atomic_numbers]
        try:
            yield row, radius_graph(c.lattice, c.frac_coords, z, config.cutoff)
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


def component_names(dimension: int) -> list[str]:
    return [f"z_{k:03d}" for k in range(dimension)]


def element_frame(means: ElementMeans, config: WeightsConfig) -> pd.DataFrame:
    """The element table, rare elements shrunk."""
    z = means.elements
    vectors, share = shrink(means.means(), means.count[z], [group(int(n)) for n in z])
    frame = pd.DataFrame(
        {
            "atomic_number": z,
            "symbol": [Element.from_Z(int(n)).symbol for n in z],
            "n_sites": means.count[z],
            "own_share": share.round(4),
        }
    )
    components = pd.DataFrame(vectors.round(5), columns=component_names(config.latent_dim))
    return pd.concat([frame, components], axis=1)


def shrink(
    means: NDArray[np.float64], count: NDArray[np.int64], groups: Sequence[str]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Draw elements with few sites toward the mean of their group in the periodic table.

    w·own + (1 − w)·group with w = min(count / 20, 1). The group's mean is over its elements that
    were seen often enough; in a group without any, over all of its elements, weighted by count.

    Parameters
    ----------
    means : (n_elements, d)
    count : (n_elements,)
        Sites of each.
    groups : sequence of str

    Returns
    -------
    vectors : (n_elements, d)
    own_share : (n_elements,)
        w.
    """
    own = np.minimum(count / ENOUGH_SITES, 1.0)
    shrunk = means.copy()
    named = np.array(groups)
    for k in np.flatnonzero(own < 1):
        members = named == named[k]
        frequent = members & (own == 1)
        centre = (
            means[frequent].mean(axis=0)
            if frequent.any()
            else np.average(means[members], axis=0, weights=count[members])
        )
        shrunk[k] = own[k] * means[k] + (1 - own[k]) * centre
    return shrunk, own


if __name__ == "__main__":
    run_script(main)
