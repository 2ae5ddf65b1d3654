"""Which pooling of site vectors, and do fewer columns do as well? On validation formulas only.

    python training/pooling.py --data data/ --work runs/pooling \\
        --out training/results/pooling.csv

Judged as ablations are (:mod:`evaluation`): gap and bulk modulus, ridge, kernel ridge and LightGBM
on the columns alone, and the stack with the control. The default pooling of ``UnateFeaturizer`` is
decided from this table.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.columns.judge import Task, judge_columns, load_tasks
from benchmarks.columns.regressors import Matrix
from harness.command import run_script
from harness.result_tables import read_results, write_table
from matminer_unate import UnateFeaturizer
from matminer_unate.featurizers.pooling import POOLINGS, pool
from matminer_unate.network.weights import DEFAULT_WEIGHTS

EVERY = "mean+std+min+max+sum"

Variant = Callable[[Task, str], Matrix]
"""Task and weights → columns."""


def pooled(poolings: str) -> Variant:
    """Columns of some poolings, named with + between."""

    def columns(task: Task, weights: str) -> Matrix:
        featurizer = UnateFeaturizer(weights, pooling=poolings.split("+"))
        return featurizer.transform(task.table["structure"])

    return columns


def reduced(poolings: str, n_components: int) -> Variant:
    """The first principal components of standardised columns, fitted on the training rows."""

    def columns(task: Task, weights: str) -> Matrix:
        X = pooled(poolings)(task, weights)
        model = make_pipeline(StandardScaler(), PCA(n_components, random_state=0))
        model.fit(X[(task.table["formula_split"] == "train").to_numpy()])
        return np.asarray(model.transform(X), dtype=np.float32)

    return columns


def latents(task: Task, weights: str) -> Matrix:
    """Mean and spread of the embedding that pretext tasks are solved from, not of all layers."""
    featurizer = UnateFeaturizer(weights)
    rows = []
    for structure in task.table["structure"]:
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
    tasks = load_tasks(Path(args.data), Path(args.work) / "cache")
    done = read_results(args.out) if Path(args.out).exists() else pd.DataFrame()
    name = Path(args.weights).name
    known = set(zip(done.get("weights", []), done.get("columns", []), strict=True))
    for variant in args.variants:
        if (name, variant) in known:
            continue
        started = time.process_time()
        row: dict[str, object] = {"weights": name, "columns": variant}
        for task in tasks:
            X = VARIANTS[variant](task, args.weights)
            row |= {"n_columns": X.shape[1], **judge_columns(X, task)}
        row["cpu_s"] = time.process_time() - started
        print(row, flush=True)
        done = pd.concat([done, pd.DataFrame([row])], ignore_index=True)
        write_table(done.round(5), args.out, "errors on val formulas, means over three subsets")


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
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
