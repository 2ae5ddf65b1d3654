"""What are the columns worth to someone with LightGBM or kernel ridge?

Trains classical regressors on pooled UNATE columns, on hand-made descriptors and on both, and
compares them on held-out formulas:

    python training/classical.py --data mp_mtcgcnn.parquet --out training/results/gap_2000.csv
    python training/classical.py --data mp_elasticity.parquet --target bulk_modulus_vrh_gpa \\
        --log10 --out training/results/bulk_modulus_2000.csv

Rows of the table (a parquet file with the columns ``lattice``, ``frac_coords``, ``species``,
``formula_reduced``, ``spacegroup_number``, ``volume_per_atom_ang3``, ``formula_split`` and the
target) are used up to ``--max-sites`` sites. The models see random subsets of ``--labels`` rows of
the ``train`` formulas; every choice (kernel ridge's settings, which head) is made on ``val``; each
feature set then meets ``test`` once, with its best head and with each head apart.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from feature_sets import cell, control, magpie, read_table, tight_binding, untrained
from heads import HEADS, Matrix, Rows, Vector, stack
from matminer_unate import UnateFeaturizer
from matminer_unate.checkpoint import DEFAULT_WEIGHTS
from matminer_unate.descriptors import PHYSICS_NAMES
from result_tables import write_table

CONTROL = ("magpie", "cell", "physics")


def main(argv: list[str] | None = None) -> None:
    args = parse_arguments(argv)
    table = read_table(args.data, args.target, args.max_sites)
    if args.log10:
        table = table[table[args.target] > 0].reset_index(drop=True)
    parts = {p: np.flatnonzero(table["formula_split"] == p) for p in ("train", "val", "test")}
    subsets = [
        np.sort(np.random.default_rng(seed).choice(parts["train"], args.labels, replace=False))
        for seed in range(args.subsets)
    ]
    used = np.unique(np.concatenate([*subsets, parts["val"], parts["test"]]))
    table = table.iloc[used].reset_index(drop=True)
    y = table[args.target].to_numpy(dtype=np.float64)
    y = np.log10(y) if args.log10 else y
    val, test = (np.searchsorted(used, parts[p]) for p in ("val", "test"))
    formulas = table["formula_reduced"].to_numpy()
    problems = [
        Rows(y, np.searchsorted(used, s), val, test, formulas, args.minimum, seed)
        for seed, s in enumerate(subsets)
    ]
    print(f"{len(used)} crystals, {len(val)} val, {len(test)} test", flush=True)

    blocks, seconds = build_blocks(table, args.weights)
    errors: dict[tuple[str, str], NDArray[np.float64]] = {}
    rows = []
    for name, members in feature_sets([Path(w).name for w in args.weights]).items():
        trees, everything = (join(blocks, m, len(table)) for m in members)
        for head, fit in {**HEADS, "stack": None}.items():
            started = time.perf_counter()
            predict = fit or (lambda X, r: stack(trees, X, r, "plain"))  # noqa: B023
            found = [absolute_errors(predict(everything, r), r) for r in problems]
            on_val, on_test = (np.stack(part) for part in zip(*found, strict=True))
            errors[name, head] = on_test
            rows.append(
                {
                    "features": name,
                    "head": head,
                    "n_columns": everything.shape[1],
                    "val_mae": on_val.mean(),
                    "test_mae": on_test.mean(),
                    "test_mae_sd_subsets": on_test.mean(axis=1).std(ddof=1),
                    "featurize_s_per_1000": sum(seconds[m] for m in members[1]),
                    "fit_s": (time.perf_counter() - started) / len(problems),
                }
            )
            print("{features:32s} {head:16s} {val_mae:.4f} {test_mae:.4f}".format(**rows[-1]))
    result = add_comparisons(pd.DataFrame(rows), errors, formulas[test])
    write_table(result.round(5), args.out, f"subset seeds 0-{args.subsets - 1}")


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True, help="parquet file")
    parser.add_argument("--target", default="band_gap_ev", help="column to predict [band_gap_ev]")
    parser.add_argument("--log10", action="store_true", help="predict its logarithm")
    parser.add_argument("--labels", type=int, default=2000, help="training rows [2000]")
    parser.add_argument("--subsets", type=int, default=3, help="random training subsets [3]")
    parser.add_argument("--max-sites", type=int, default=20, help="sites a cell at most [20]")
    parser.add_argument(
        "--weights", nargs="+", default=[DEFAULT_WEIGHTS], help=f"one or more [{DEFAULT_WEIGHTS}]"
    )
    parser.add_argument("--out", default="results.csv")
    args = parser.parse_args(argv)
    # Gaps and moduli are never negative; logarithms may be.
    args.minimum = -np.inf if args.log10 else 0.0
    return args


def build_blocks(
    table: pd.DataFrame, weights: list[str]
) -> tuple[dict[str, Matrix], dict[str, float]]:
    """Columns by block, and the seconds 1,000 crystals took on this machine."""
    structures = table["structure"]
    builders: dict[str, Callable[[], Matrix]] = {
        "magpie": lambda: magpie(table),
        "cell": lambda: cell(table),
        "physics": lambda: control(table, slice(0, len(PHYSICS_NAMES))),
        "fingerprint": lambda: control(table, slice(len(PHYSICS_NAMES), None)),
        "untrained": lambda: untrained(table, weights[0]),
        "tight-binding": lambda: tight_binding(table),
    }
    for w in weights:
        builders[Path(w).name] = partial(UnateFeaturizer(w).transform, structures)
    blocks: dict[str, Matrix] = {}
    seconds: dict[str, float] = {}
    for name, build in builders.items():
        started = time.perf_counter()
        blocks[name] = build()
        seconds[name] = (time.perf_counter() - started) * 1000 / len(table)
        print(f"{name}: {blocks[name].shape[1]} columns, {seconds[name]:.2f} s / 1,000", flush=True)
    return blocks, seconds


def feature_sets(weights: list[str]) -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
    """By name, the blocks of the trees of the stack, and all blocks."""
    magpie_only, fingerprint = ("magpie",), (*CONTROL, "fingerprint")
    with_tight_binding = (*CONTROL, "tight-binding")
    sets: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
        "dummy": ((), ()),
        "magpie": (magpie_only, magpie_only),
        "control": (CONTROL, CONTROL),
        "control+fingerprint": (CONTROL, fingerprint),
        "tight-binding": (("tight-binding",), ("tight-binding",)),
        "control+tight-binding": (with_tight_binding, with_tight_binding),
    }
    for w in ["untrained", *weights]:
        sets |= {
            w: ((w,), (w,)),
            f"magpie+{w}": (magpie_only, ("magpie", w)),
            f"control+{w}": (CONTROL, (*CONTROL, w)),
        }
        if w != "untrained":
            everything = (*with_tight_binding, w)
            sets[f"control+tight-binding+{w}"] = (with_tight_binding, everything)
    return sets


def join(blocks: dict[str, Matrix], members: tuple[str, ...], n_rows: int) -> Matrix:
    """The blocks side by side; one constant column of none."""
    if not members:
        return np.zeros((n_rows, 1), dtype=np.float32)
    return np.hstack([blocks[m] for m in members])


def absolute_errors(predictions: tuple[Vector, Vector], rows: Rows) -> tuple[Vector, Vector]:
    """Absolute errors on val and on test."""
    on_val, on_test = predictions
    return np.abs(on_val - rows.y[rows.val]), np.abs(on_test - rows.y[rows.test])


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

    def best(name: str, heads: tuple[str, ...] = (*HEADS, "stack")) -> NDArray[np.float64]:
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
