"""Which pooling of site vectors, and do fewer columns do as well? On validation formulas only.

    python training/pooling.py --data data/ --work runs/pooling \\
        --out training/results/pooling.csv

Judged as ablations are (``benchmarks/columns/judge.py``): gap and bulk modulus, ridge, kernel ridge
and LightGBM on the columns alone, and the stack with the control. The default pooling of
``UnateFeaturizer`` is decided from this table.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.columns.judge import Judged, judge_columns, load_judged
from benchmarks.columns.regressors import Matrix
from harness.command import run_script, script_parser
from harness.result_tables import GrowingTable, describe_weights
from matminer_unate import UnateFeaturizer
from matminer_unate.featurizers.pooling import POOLINGS, pool
from matminer_unate.network.weights import DEFAULT_WEIGHTS

EVERY = "mean+std+min+max+sum"

Variant = Callable[[Judged, str], Matrix]
"""Crystals of a property, and weights → columns."""


def pooled(poolings: str) -> Variant:
    """Columns of some poolings, named with + between."""

    def columns(judged: Judged, weights: str) -> Matrix:
        featurizer = UnateFeaturizer(weights, pooling=poolings.split("+"))
        return featurizer.transform(judged.table["structure"])

    return columns


def reduced(poolings: str, n_components: int) -> Variant:
    """The first principal components of standardised columns, fitted on the training rows."""

    def columns(judged: Judged, weights: str) -> Matrix:
        X = pooled(poolings)(judged, weights)
        model = make_pipeline(StandardScaler(), PCA(n_components, random_state=0))
        model.fit(X[(judged.table["formula_split"] == "train").to_numpy()])
        return np.asarray(model.transform(X), dtype=np.float32)

    return columns


def latents(judged: Judged, weights: str) -> Matrix:
    """Mean and spread of the embedding that pretext tasks are solved from, not of all layers."""
    featurizer = UnateFeaturizer(weights)
    rows = []
    for structure in judged.table["structure"]:
        sites = featurizer.embed_sites(structure)
        rows.append(pool(sites, np.array([0, len(sites)]), ("mean", "std"))[0])
    return np.array(rows)


VARIANTS: dict[str, Variant] = {
    **{p: pooled(p) for p in POOLINGS if p != "sum"},
    **{p: pooled(p) for p in ("mean+std", "mean+max", "mean+std+max", "mean+std+min+max", EVERY)},
    "mean+std, 64 principal components": reduced("mean+std", 64),
    "mean+std, 128 principal components": reduced("mean+std", 128),
    "mean+std, 256 principal components": reduced("mean+std", 256),
    "mean+std of the embedding": latents,
}


def main(argv: list[str] | None = None) -> None:
    args = parse_arguments(argv)
    properties = load_judged(Path(args.data), Path(args.work) / "cache")
    name, note = describe_weights(args.weights), "errors on val formulas, means over three subsets"
    table = GrowingTable(args.out, ("weights", "columns"), note)
    for variant in args.variants:
        if (name, variant) in table.known:
            continue
        started = time.process_time()
        row: dict[str, object] = {"weights": name, "columns": variant}
        for judged in properties:
            X = VARIANTS[variant](judged, args.weights)
            row |= {"n_columns": X.shape[1], **judge_columns(X, judged)}
        row["cpu_s"] = time.process_time() - started
        print(row, flush=True)
        table.add({k: round(v, 5) if isinstance(v, float) else v for k, v in row.items()})


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = script_parser(__doc__)
    parser.add_argument("--data", required=True, help="folder of the parquet files")
    parser.add_argument("--work", default="runs/pooling", help="[runs/pooling]")
    parser.add_argument("--weights", default=DEFAULT_WEIGHTS, help=f"[{DEFAULT_WEIGHTS}]")
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), help="[all]")
    parser.add_argument("--out", default="pooling.csv")
    args = parser.parse_args(argv)
    for variant in args.variants:
        if variant not in VARIANTS:
            parser.error(f"{variant!r} is none of {', '.join(VARIANTS)}")
    if not Path(args.data).is_dir():
        parser.error(f"{args.data}: no such folder; check --data")
    return args


if __name__ == "__main__":
    run_script(main)
