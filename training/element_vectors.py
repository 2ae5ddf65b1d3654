"""Weights and the crystals they were made from → the vectors of the elements, beside the weights.

    python training/element_vectors.py --weights mp_v3 --data data/
    python training/element_vectors.py --weights mp_v2_taught --data data/

The files, the part of the formulas and the size of the cells are those that the weights' own
``config.json`` tells; ``--data`` is the folder of the files. ``UnateElementData`` and
``UnateCompositionFeaturizer`` read what is written, ``elements.safetensors`` in the weights folder,
and refuse one of other weights: run this again whenever weights are trained anew.

Of each crystal, the site embeddings of an element are averaged first; an element's vector is the
mean of these over the crystals that hold it, drawn toward the mean over the elements where it is
rare (:func:`benchmarks.embeddings.element_means.empirical_bayes`). Sites of one crystal are alike,
so crystals and not sites are what is counted.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from pymatgen.core import Element

from benchmarks.embeddings.element_means import ElementMeans, empirical_bayes
from benchmarks.embeddings.site_tables import embed
from corpora.crystal import Crystal
from corpora.reading import read_with_report
from harness.command import run_script, script_parser
from matminer_unate.network.element_vectors import ElementVectors, write_element_vectors
from matminer_unate.network.encoding import Encoded
from matminer_unate.network.weights import weights_config, weights_folder

SHOWN = 8
"""Elements with the fewest crystals that are printed."""


def main(argv: list[str] | None = None) -> None:
    args = parse_arguments(argv)
    crystals = pretraining_crystals(args)
    config = weights_config(args.weights)
    means = ElementMeans(config.latent_dim)
    for batch in embed(crystals, args.weights):
        numbers, vectors = crystal_means(batch, crystals)
        known = config.is_known[numbers]  # the network reads others as masked
        means.add(numbers[known], vectors[known])
    found = as_vectors(means)
    path = write_element_vectors(weights_folder(args.weights), found)
    print(f"wrote {path}: {found.is_known.sum()} elements of {len(crystals):,} crystals")
    print(f"variance within elements, of crystals' means: {means.within_share():.4f}")
    for z in sorted(means.elements, key=lambda z: int(means.count[z]))[:SHOWN]:
        share = f"{found.own_share[z]:.3f} its own"
        print(f"  {Element.from_Z(int(z)).symbol:3} {means.count[z]:4} crystals, {share}")


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = script_parser(__doc__)
    parser.add_argument("--weights", required=True, help="name or folder")
    parser.add_argument("--data", required=True, help="folder of the files they were made from")
    return parser.parse_args(argv)


def pretraining_crystals(args: argparse.Namespace) -> list[Crystal]:
    """The crystals that the weights have seen, read as pretraining read them."""
    run: dict[str, Any] = weights_config(args.weights).training["config"]
    folder = Path(args.data)
    sources = [name if ":" in name else str(folder / name) for name in run["data"]]
    excluded = run.get("exclude_formulas")
    part = None if run["part"] == "all" else run["part"]
    crystals, report = read_with_report(
        sources,
        run["max_sites"],
        part,
        run["limit"] or None,
        str(folder / excluded) if excluded else None,
        run.get("accept_doubtful", False),
    )
    print(report)
    return crystals


def crystal_means(batch: Encoded, crystals: list[Crystal]) -> tuple[np.ndarray, np.ndarray]:
    """Elements (n,) and mean vectors (n, d) of each element of each crystal of a batch."""
    z = np.concatenate([crystals[row].atomic_numbers for row in batch.rows])
    crystal = np.repeat(np.arange(len(batch.rows)), np.diff(batch.site_start))
    pairs, which = np.unique(crystal * 119 + z, return_inverse=True)
    total = np.zeros((len(pairs), batch.sites.shape[1]))
    np.add.at(total, which, batch.sites)
    return pairs % 119, total / np.bincount(which)[:, None]


def as_vectors(means: ElementMeans) -> ElementVectors:
    """The table that ships."""
    own, share = empirical_bayes(means)
    vectors = np.full((119, own.shape[1]), np.nan, np.float32)
    vectors[means.elements] = own
    shares = np.zeros(119, np.float32)
    shares[means.elements] = share
    return ElementVectors(vectors, means.count, shares)


if __name__ == "__main__":
    run_script(main)
