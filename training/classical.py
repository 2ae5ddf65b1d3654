"""What are the columns worth to someone with LightGBM or kernel ridge?

Trains classical regressors on pooled UNATE columns, on hand-made descriptors and on both, and
compares them on held-out formulas:

    python training/classical.py --data mp_mtcgcnn.parquet --out training/results/gap_2000.csv

Rows of the table (a parquet file with the columns ``lattice``, ``frac_coords``, ``species``,
``formula_reduced``, ``spacegroup_number``, ``volume_per_atom_ang3``, ``formula_split`` and the
target) are used up to ``--max-sites`` sites. The models see random subsets of ``--labels`` rows of
the ``train`` formulas; every choice (kernel ridge's settings, LightGBM's) is made on ``val``; each
feature set then meets ``test`` once, with its best head and with each head apart.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
from matminer.featurizers.composition import ElementProperty
from numpy.typing import NDArray
from pymatgen.core import Composition, Lattice, Structure
from sklearn.kernel_ridge import KernelRidge
from sklearn.preprocessing import StandardScaler

from matminer_unate import UnateFeaturizer
from matminer_unate.checkpoint import DEFAULT_WEIGHTS
from matminer_unate.descriptors import FINGERPRINT_NAMES, PHYSICS_NAMES, site_descriptors
from matminer_unate.graph import radius_graph
from matminer_unate.pooling import pool
from result_tables import write_table

CONTROL_CUTOFF = 4.5
"""Å. As in the encoder, so that the control sees just as far."""

CONTROL_POOLING = ("mean", "std", "min", "max")

LIGHTGBM_SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {"n_estimators": 500, "learning_rate": 0.05, "num_leaves": 31},
    # For dense columns, where many carry a little each.
    "dense": {
        "n_estimators": 1000,
        "learning_rate": 0.03,
        "num_leaves": 15,
        "colsample_bytree": 0.2,
        "min_child_samples": 5,
        "extra_trees": True,
    },
}

KERNEL_ALPHAS = (0.003, 0.01, 0.03, 0.1, 0.3)
KERNEL_WIDTHS = (0.1, 0.3, 1.0, 3.0)
"""RBF kernel exp(−γ|x − x′|²) with γ = width / number of columns, on standardised columns."""

Matrix = NDArray[np.float32]


def main(argv: list[str] | None = None) -> None:
    args = parse_arguments(argv)
    table = read_table(args.data, args.target, args.max_sites)
    parts = {p: np.flatnonzero(table["formula_split"] == p) for p in ("train", "val", "test")}
    subsets = [
        np.sort(np.random.default_rng(seed).choice(parts["train"], args.labels, replace=False))
        for seed in range(args.subsets)
    ]
    used = np.unique(np.concatenate([*subsets, parts["val"], parts["test"]]))
    table = table.iloc[used].reset_index(drop=True)
    subsets = [np.searchsorted(used, s) for s in subsets]
    parts = {p: np.searchsorted(used, parts[p]) for p in ("val", "test")}
    features, seconds = build_features(table, args)
    y = table[args.target].to_numpy(dtype=np.float64)
    print(f"{len(used)} crystals, {len(parts['val'])} val, {len(parts['test'])} test", flush=True)

    errors: dict[tuple[str, str], NDArray[np.float64]] = {}
    rows = []
    for name, X in features.items():
        for head, fit in HEADS.items():
            val, test = (np.empty((len(subsets), len(parts[p]))) for p in ("val", "test"))
            started = time.perf_counter()
            for k, subset in enumerate(subsets):
                predictions = fit(X, y, subset, parts["val"], parts["test"], k)
                val[k] = np.abs(predictions[0] - y[parts["val"]])
                test[k] = np.abs(predictions[1] - y[parts["test"]])
            errors[name, head] = test
            rows.append(
                {
                    "features": name,
                    "head": head,
                    "n_columns": X.shape[1],
                    "val_mae": val.mean(),
                    "test_mae": test.mean(),
                    "test_mae_sd_subsets": test.mean(axis=1).std(ddof=1),
                    "featurize_s_per_1000": seconds[name],
                    "fit_s": (time.perf_counter() - started) / len(subsets),
                }
            )
            print("{features:24s} {head:16s} {val_mae:.4f} {test_mae:.4f}".format(**rows[-1]))
    result = pd.DataFrame(rows)
    formulas = table["formula_reduced"].to_numpy()[parts["test"]]
    result = add_comparisons(result, errors, formulas)
    write_table(result.round(5), args.out, f"subset seeds 0-{args.subsets - 1}")


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True, help="parquet file")
    parser.add_argument("--target", default="band_gap_ev", help="column to predict [band_gap_ev]")
    parser.add_argument("--labels", type=int, default=2000, help="training rows [2000]")
    parser.add_argument("--subsets", type=int, default=3, help="random training subsets [3]")
    parser.add_argument("--max-sites", type=int, default=20, help="sites a cell at most [20]")
    parser.add_argument("--weights", default=DEFAULT_WEIGHTS, help=f"[{DEFAULT_WEIGHTS}]")
    parser.add_argument("--out", default="results.csv")
    return parser.parse_args(argv)


def read_table(path: str, target: str, max_sites: int) -> pd.DataFrame:
    """Rows with a value of the target and few enough sites, with a ``structure`` column."""
    table = pd.read_parquet(path)
    table = table[(table["n_sites"] <= max_sites) & table[target].notna()].reset_index(drop=True)
    table["structure"] = [
        Structure(Lattice(np.reshape(a, (3, 3))), z, np.reshape(x, (-1, 3)))
        for a, z, x in zip(table["lattice"], table["species"], table["frac_coords"], strict=True)
    ]
    return table


def build_features(
    table: pd.DataFrame, args: argparse.Namespace
) -> tuple[dict[str, Matrix], dict[str, float]]:
    """Columns of every feature set, and the seconds 1,000 crystals took on this machine."""
    blocks: dict[str, Matrix] = {}
    seconds: dict[str, float] = {}
    builders: dict[str, Callable[[], Matrix]] = {
        "magpie": lambda: magpie(table),
        "unate": lambda: UnateFeaturizer(args.weights).transform(table["structure"]),
        "untrained": lambda: untrained(table, args.weights),
        "physics": lambda: control(table, slice(0, len(PHYSICS_NAMES))),
        "fingerprint": lambda: control(table, slice(len(PHYSICS_NAMES), None)),
    }
    for name, build in builders.items():
        started = time.perf_counter()
        blocks[name] = build()
        seconds[name] = (time.perf_counter() - started) * 1000 / len(table)
        print(f"{name}: {blocks[name].shape[1]} columns, {seconds[name]:.2f} s / 1,000", flush=True)
    cell = table[["volume_per_atom_ang3", "spacegroup_number", "n_sites"]].to_numpy(np.float32)
    blocks["cell"], seconds["cell"] = cell, 0.0
    sets = {
        "dummy": [],
        "magpie": ["magpie"],
        "unate": ["unate"],
        "untrained": ["untrained"],
        "magpie+unate": ["magpie", "unate"],
        "magpie+untrained": ["magpie", "untrained"],
        "control": ["magpie", "cell", "physics"],
        "control+fingerprint": ["magpie", "cell", "physics", "fingerprint"],
        "control+unate": ["magpie", "cell", "physics", "unate"],
        "control+fingerprint+unate": ["magpie", "cell", "physics", "fingerprint", "unate"],
    }
    constant = np.zeros((len(table), 1), dtype=np.float32)
    features = {
        name: np.concatenate([blocks[b] for b in parts], axis=1) if parts else constant
        for name, parts in sets.items()
    }
    return features, {name: sum(seconds[b] for b in parts) for name, parts in sets.items()}


def magpie(table: pd.DataFrame) -> Matrix:
    """matminer's Magpie preset, 132 columns."""
    featurizer = ElementProperty.from_preset("magpie", impute_nan=True)
    featurizer.set_n_jobs(1)
    compositions = [Composition(f) for f in table["formula_reduced"]]
    return np.array(featurizer.featurize_many(compositions, pbar=False), dtype=np.float32)


def untrained(table: pd.DataFrame, weights: str) -> Matrix:
    """The same network with random weights, standardised in the same way."""
    import tempfile

    import torch

    from matminer_unate.cartnet import SiteEncoder
    from matminer_unate.checkpoint import load_encoder, save_encoder

    trained, config = load_encoder(weights)
    torch.manual_seed(0)
    encoder = SiteEncoder(trained.config)
    if trained.config.n_properties:
        encoder.backbone.properties.copy_(trained.backbone.properties)
    counts = {int(z): n for z, n in config.element_counts.items()}
    with tempfile.TemporaryDirectory() as folder:
        save_encoder(folder, "untrained", encoder.eval(), counts, {}, "")
        return UnateFeaturizer(folder).transform(table["structure"])


def control(table: pd.DataFrame, columns: slice) -> Matrix:
    """Cheap site descriptors pooled over sites: what no network is needed for."""
    parts = []
    for start in range(0, len(table), 512):
        chunk = table["structure"].iloc[start : start + 512]
        graphs = [
            radius_graph(
                s.lattice.matrix, s.frac_coords, np.array(s.atomic_numbers), CONTROL_CUTOFF
            )
            for s in chunk
        ]
        sites = site_descriptors(graphs, [s.volume for s in chunk], CONTROL_CUTOFF)
        starts = np.concatenate([[0], np.cumsum([g.n_sites for g in graphs])])
        parts.append(pool(sites[:, columns], starts, CONTROL_POOLING))
    assert len(PHYSICS_NAMES) + len(FINGERPRINT_NAMES) == sites.shape[1]
    return np.concatenate(parts)


Predictions = tuple[NDArray[np.float64], NDArray[np.float64]]


def fit_lightgbm(settings: str) -> Callable[..., Predictions]:
    """LightGBM with one of the fixed settings, minimising the squared error."""

    def fit(
        X: Matrix,
        y: NDArray[np.float64],
        train: NDArray[np.int64],
        val: NDArray[np.int64],
        test: NDArray[np.int64],
        seed: int,
    ) -> Predictions:
        model = lightgbm.LGBMRegressor(
            **LIGHTGBM_SETTINGS[settings],
            random_state=seed,
            n_jobs=int(os.environ.get("OMP_NUM_THREADS", 2)),
            verbosity=-1,
        )
        model.fit(X[train], y[train])
        # The booster itself: no feature names to check, and gaps are never negative.
        on_val, on_test = (np.asarray(model.booster_.predict(X[i])) for i in (val, test))
        return on_val.clip(0), on_test.clip(0)

    return fit


def fit_kernel_ridge(
    X: Matrix,
    y: NDArray[np.float64],
    train: NDArray[np.int64],
    val: NDArray[np.int64],
    test: NDArray[np.int64],
    seed: int,
) -> Predictions:
    """Kernel ridge on standardised columns; width and penalty chosen on ``val``."""
    scaler = StandardScaler().fit(X[train])
    # Beyond 5 standard deviations a column says "far out" and no more.
    A, B, C = (
        np.clip(scaler.transform(X[i]), -5, 5).astype(np.float64) for i in (train, val, test)
    )
    mean = y[train].mean()
    best: tuple[float, Predictions] | None = None
    for width in KERNEL_WIDTHS:
        for alpha in KERNEL_ALPHAS:
            model = KernelRidge(kernel="rbf", gamma=width / X.shape[1], alpha=alpha)
            model.fit(A, y[train] - mean)
            on_val = (model.predict(B) + mean).clip(0)
            score = float(np.abs(on_val - y[val]).mean())
            if best is None or score < best[0]:
                best = score, (on_val, (model.predict(C) + mean).clip(0))
    assert best is not None
    return best[1]


HEADS: dict[str, Callable[..., Predictions]] = {
    "lightgbm_plain": fit_lightgbm("plain"),
    "lightgbm_dense": fit_lightgbm("dense"),
    "kernel_ridge": fit_kernel_ridge,
}


def add_comparisons(
    result: pd.DataFrame,
    errors: dict[tuple[str, str], NDArray[np.float64]],
    formulas: NDArray[np.object_],
) -> pd.DataFrame:
    """Relative change of the test MAE against three references, with bootstrap intervals.

    References: Magpie with the LightGBM settings that are better on ``val``; Magpie and the control
    each with the head that is best on ``val``. Errors are averaged over subsets, and the 95 %
    interval is that of 10,000 paired resamples of formulas.
    """

    def best(name: str, heads: tuple[str, ...] = tuple(HEADS)) -> NDArray[np.float64]:
        rows = result[(result["features"] == name) & result["head"].isin(heads)]
        return errors[name, rows.loc[rows["val_mae"].idxmin(), "head"]].mean(axis=0)

    controls = result[result["features"].isin(["control", "control+fingerprint"])]
    references = {
        "magpie_lightgbm": best("magpie", ("lightgbm_plain", "lightgbm_dense")),
        "magpie_best": best("magpie"),
        "control_best": best(controls.loc[controls["val_mae"].idxmin(), "features"]),
    }
    chosen = result.loc[result.groupby("features")["val_mae"].idxmin()].index
    result["best_head_on_val"] = result.index.isin(chosen)
    codes, counts = resample_formulas(formulas)
    for name, reference in references.items():
        changes = [
            bootstrap_change(errors[f, h].mean(axis=0), reference, codes, counts)
            for f, h in zip(result["features"], result["head"], strict=True)
        ]
        for k, suffix in enumerate(("pct", "low", "high")):
            result[f"vs_{name}_{suffix}"] = [c[k] for c in changes]
    return result


def resample_formulas(
    formulas: NDArray[np.object_], n_draws: int = 10_000
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Formula number of each row, and how often each formula is drawn in each resample."""
    codes, names = pd.factorize(formulas)
    rng = np.random.default_rng(0)
    share = np.full(len(names), 1 / len(names))
    return codes, rng.multinomial(len(names), share, size=n_draws).astype(np.float32)


def bootstrap_change(
    errors: NDArray[np.float64],
    reference: NDArray[np.float64],
    codes: NDArray[np.int64],
    counts: NDArray[np.float32],
) -> tuple[float, float, float]:
    """Change of the mean error in percent, and its 95 % interval over resampled formulas."""
    ours, theirs = (np.bincount(codes, weights=w) for w in (errors, reference))
    low, high = np.quantile((counts @ ours) / (counts @ theirs), [0.025, 0.975])
    mean = ours.sum() / theirs.sum()
    return 100 * (mean - 1), 100 * (low - 1), 100 * (high - 1)


if __name__ == "__main__":
    main()
