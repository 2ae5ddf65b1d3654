"""Do error bars hold where crystals are unfamiliar, and hold better if they know of it?

    python training/novelty_coverage.py --data data/ --out training/results/novelty_coverage.csv

``UnateRegressor`` learns from labelled crystals of the ``train`` formulas, and is asked for ``val``
ones: of all kinds, and of a group of elements that it has not learned from. The table has, for each
way to make error bars (``error_bars``), the coverage of 50, 80 and 90 % intervals over all crystals
asked for, over the tenth with the widest intervals and over the tenth least familiar to the
training rows; the mean width of 90 % intervals, and their interval score (Gneiting and Raftery,
J. Am. Stat. Assoc. 102, 359 (2007), equation 43; the lower the better), both in the unit of the
target. By ``mae_…`` and ``rank_correlation`` it says how errors follow what is least familiar.

Ways to make error bars: ``without novelty``, the size of the errors is learned from the five signs
of ``difficulty_signs``. ``with embedding`` and ``with corpus`` learn it from one or three more: the
distance of the mean site embedding from the nearest training row of other folds, and both scores of
``UnateNovelty``. ``times distance``, ``times squared distance``: it is also taken to grow with the
distance in the scales of the kernel, where this is above its median, whatever residuals say. The
package's own are ``times distance``.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import spearmanr
from sklearn.metrics import pairwise_distances

from benchmarks.columns.subsets import parts_of
from benchmarks.element_groups import GROUPS
from benchmarks.labelled_tables import read_labelled, structures_of
from benchmarks.properties import PROPERTIES, Property, require_numbers
from harness.command import run_script, script_parser
from harness.result_tables import write_table
from matminer_unate import UnateNovelty, UnateRegressor
from matminer_unate.familiarity.embedding import CrystalEmbedding
from matminer_unate.regressors.error_bars import ConformalScale
from matminer_unate.regressors.fitting import group_folds
from matminer_unate.regressors.target_models import FittedModel
from matminer_unate.regressors.training_rows import NONE, BlockLayout, TrainingRows

USUAL = ("gap", "bulk_modulus", "formation_energy")
COVERAGES = {"50": 0.5, "80": 0.8, "90": 0.9}
OF_GROUPS = ("gap", "formation_energy")
"""Properties of which groups of elements are left out."""


@dataclass
class Known:
    """What is known of the crystals of a table, by its row.

    Attributes
    ----------
    columns : DataFrame
        As of ``UnateRegressor.featurize``.
    embeddings : (n_rows, latent_dim)
    corpus : (n_rows, 2)
        Novelty to the pretraining corpus, by the mean and by the oddest site.
    """

    columns: pd.DataFrame
    embeddings: np.ndarray
    corpus: np.ndarray

    def usable(self, rows: np.ndarray) -> np.ndarray:
        """Those of rows that have all columns."""
        return rows[self.columns.iloc[rows].notna().all(axis=1).to_numpy()]


@dataclass
class Case:
    """Training rows and rows to be asked for."""

    property: str
    left_out: str
    seed: int
    train: np.ndarray
    asked: np.ndarray


def main(argv: list[str] | None = None) -> None:
    args = parse_arguments(argv)
    found = []
    for crystals in dict.fromkeys(PROPERTIES[name].crystals for name in args.properties):
        names = [name for name in args.properties if PROPERTIES[name].crystals == crystals]
        first = PROPERTIES[names[0]]
        columns = [PROPERTIES[name].column for name in names]
        table = read_labelled(Path(args.data) / first.file, columns, first.max_sites)
        table = table.reset_index(drop=True)
        cases = [case for name in names for case in cases_of(name, table, args)]
        known = describe(table, np.unique(np.concatenate([[*c.train, *c.asked] for c in cases])))
        for case in cases:
            rows = measure(case, table, known)
            print(pd.DataFrame(rows).round(3).to_string(index=False), flush=True)
            found += rows
    note = f"{args.labels} labels, subset seeds 0-{args.subsets - 1}, coverage on val formulas"
    write_table(pd.DataFrame(found).round(4), args.out, note)


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = script_parser(__doc__)
    parser.add_argument("--data", required=True, help="folder of the parquet files")
    parser.add_argument(
        "--properties", nargs="+", default=USUAL, choices=PROPERTIES, help=f"{USUAL}"
    )
    parser.add_argument("--labels", type=int, default=640, help="[640]")
    parser.add_argument("--subsets", type=int, default=2, help="random training subsets [2]")
    parser.add_argument("--val-rows", type=int, default=1000, help="at most, of all kinds [1000]")
    parser.add_argument("--group-rows", type=int, default=300, help="at most, of a group [300]")
    parser.add_argument("--out", default="novelty_coverage.csv")
    args = parser.parse_args(argv)
    require_numbers(args.properties)
    return args


def cases_of(name: str, table: pd.DataFrame, args: argparse.Namespace) -> Iterator[Case]:
    """Random subsets, and subsets without a group of elements."""
    train, val, _ = parts_of(PROPERTIES[name], table)
    order = np.random.default_rng(0).permutation(val)
    for seed in range(args.subsets):
        rows = np.random.default_rng(seed).permutation(train)[: args.labels]
        yield Case(name, "", seed, rows, order[: args.val_rows])
    rows = np.random.default_rng(0).permutation(train)
    for group, elements in GROUPS.items() if name in OF_GROUPS else ():
        has = table["species"].map(lambda z, e=elements: bool(e & set(z))).to_numpy()
        learned, asked = rows[~has[rows]][: args.labels], order[has[order]][: args.group_rows]
        yield Case(name, group, 0, learned, asked)


def describe(table: pd.DataFrame, rows: np.ndarray) -> Known:
    """Columns and embeddings of some rows; NaN in the others."""
    started = time.perf_counter()
    structures = structures_of(table.iloc[rows])
    columns = UnateRegressor(on_error="nan").featurize(pd.Series(structures, index=rows))
    novelty = UnateNovelty()
    space = CrystalEmbedding(novelty.weights, "auto", novelty.batch_size, "raise", "raise")
    embeddings = space.embed(structures)[0].values
    known = Known(
        columns.reindex(table.index),
        np.full((len(table), embeddings.shape[1]), np.nan),
        np.full((len(table), 2), np.nan),
    )
    known.embeddings[rows] = embeddings
    known.corpus[rows] = novelty.transform(structures)[:, 1:3]
    print(f"{len(rows)} crystals, {time.perf_counter() - started:.0f} s", flush=True)
    return known


def measure(case: Case, table: pd.DataFrame, known: Known) -> list[dict[str, Any]]:
    """Fit as ``UnateRegressor`` does, make error bars in all ways, and judge them."""
    property_: Property = PROPERTIES[case.property]
    train, asked = known.usable(case.train), known.usable(case.asked)
    targets = property_.targets(table)
    y, truth, minimum = targets[train], targets[asked], property_.minimum
    X, Z = (known.columns.iloc[rows, 1:].to_numpy(np.float32) for rows in (train, asked))
    regressor = UnateRegressor(random_state=0)
    options = regressor._regression_options(network=False)
    folds = group_folds(known.columns["formula"].to_numpy()[train], options.n_folds, 0)
    blocks = regressor._recipe().blocks()
    layout = BlockLayout({block: len(names) for block, names in blocks.items()})
    rows = TrainingRows(X, y, np.ones(len(y)), folds)
    model, held_out = FittedModel.fit(rows, layout, NONE, minimum, options)
    new = model.estimates(Z, layout, minimum)
    errors, signs, new_signs = np.abs(held_out.predictions - y), held_out.signs, new.signs
    near, new_near = distances(known.embeddings[train], folds, known.embeddings[asked])
    far, new_far = (model.unfamiliarity.distances(found.similarity) for found in (held_out, new))
    bars = {"without novelty": size_of_errors(errors, signs, new_signs, folds)}
    more = [np.column_stack([near]), np.column_stack([near, known.corpus[train]])]
    new_more = [np.column_stack([new_near]), np.column_stack([new_near, known.corpus[asked]])]
    for name, one, other in zip(("with embedding", "with corpus"), more, new_more, strict=True):
        both = np.hstack([signs, one]), np.hstack([new_signs, other])
        bars[name] = size_of_errors(errors, *both, folds)
    for name, power in {"times distance": 1, "times squared distance": 2}.items():
        factor, new_factor = (np.maximum(d, 1.0) ** power for d in (far, new_far))
        scale, size = size_of_errors(errors, signs, new_signs, folds, factor)
        bars[name] = scale, size * new_factor
    found = []
    new_errors = np.abs(new.predictions - truth)
    unfamiliar = {"embedding": new_near, "kernel": new_far, "corpus": known.corpus[asked, 0]}
    for name, (scale, size) in bars.items():
        result: dict[str, Any] = {
            "property": case.property,
            "left_out": case.left_out,
            "subset": case.seed,
            "error_bars": name,
            "n_val": len(asked),
            "mae": new_errors.mean(),
        }
        for label, values in unfamiliar.items():
            result[f"mae_least_familiar_tenth_{label}"] = new_errors[_last_tenth(values)].mean()
            result[f"rank_correlation_{label}"] = spearmanr(new_errors, values).statistic
        floor = property_.minimum
        for label, coverage in COVERAGES.items():
            reach = scale.reach(size, coverage)
            inside = new_errors <= reach + 1e-9
            result[f"coverage_{label}"] = inside.mean()
            result[f"coverage_{label}_least_sure_tenth"] = inside[_last_tenth(size)].mean()
            for measure_, values in unfamiliar.items():
                part = inside[_last_tenth(values)]
                result[f"coverage_{label}_least_familiar_tenth_{measure_}"] = part.mean()
        low, high = np.maximum(new.predictions - reach, floor), new.predictions + reach
        missed = np.maximum(low - truth, 0) + np.maximum(truth - high, 0)
        result["width_90"] = (high - low).mean()
        found.append(result | {"interval_score_90": (high - low + missed * 2 / 0.1).mean()})
    return found


def size_of_errors(
    errors: np.ndarray,
    signs: np.ndarray,
    new_signs: np.ndarray,
    folds: list[np.ndarray],
    factors: np.ndarray | float = 1.0,
) -> tuple[ConformalScale, np.ndarray]:
    """The scale, and what it says of new rows, without their factors."""
    scale = ConformalScale.fit(errors, signs, folds, 0, factors=factors)
    return scale, scale.predict(new_signs)


def distances(
    own: np.ndarray, folds: list[np.ndarray], new: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Of training rows to the nearest of other folds, and of new rows to the nearest."""
    between = pairwise_distances(own)
    for fold in folds:
        between[np.ix_(fold, fold)] = np.inf
    return between.min(axis=1), pairwise_distances(new, own).min(axis=1)


def _last_tenth(values: np.ndarray) -> np.ndarray:
    return np.argsort(values, kind="stable")[-(len(values) // 10) :]


if __name__ == "__main__":
    run_script(main)
