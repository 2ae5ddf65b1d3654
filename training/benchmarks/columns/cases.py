"""One case of the table of classical regressors: a property, feature set and number of labels.

Fits every head on every random subset, and keeps the error of every test row, so that models can be
compared row by row later.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.columns.column_cache import Blocks
from benchmarks.columns.feature_sets import RECIPE, feature_sets, recipes
from benchmarks.columns.regressors import (
    CHOICE_ROWS,
    FEW_BINS,
    LIGHTGBM_SETTINGS,
    Matrix,
    Rows,
    fit_kernel_ridge,
    kernel_column,
    lightgbm_head,
    random_forest,
    ridge,
    stack,
)
from benchmarks.columns.subsets import property_rows, read_property_table
from benchmarks.properties import PROPERTIES
from matminer_unate.io.whole_files import fresh_file
from matminer_unate.regressors.recipe import FORMULA, Recipe
from matminer_unate.regressors.unate_classifier import UnateClassifier
from matminer_unate.regressors.unate_regressor import UnateRegressor

DUMMY, CLASSIFIER = "dummy", "unate_classifier"

WIDE = 300
"""Columns. In wider sets LightGBM's plain setting costs five times the dense one; there it is used
only where it is this much better on val of the first subset:"""
WORTH = 0.01

SETTING_ROWS = 2000
"""Training rows. With more, wide sets keep the setting that they had with fewer."""

FOREST_ROWS = 2000
"""Training rows at most for the random forest, which is slow and was never the best."""

Predictions = tuple[NDArray[np.float64], NDArray[np.float64]]
Fit = Callable[[Rows, int], Predictions]
"""A subset and its number → predictions of val and of test rows."""


@dataclass(frozen=True)
class Case:
    """Which case.

    Attributes
    ----------
    task : str
        Name of the property.
    features : str
    labels : int or "all"
    """

    task: str
    features: str
    labels: int | str


@dataclass
class HeadErrors:
    """Errors of one head.

    Attributes
    ----------
    val : (n_subsets,)
        Mean errors on val.
    test : (n_subsets, n_test) float32
        Errors of test rows.
    seconds : float
        CPU seconds a fit.
    settings : str
        Of LightGBM, else empty.
    """

    val: NDArray[np.float64]
    test: NDArray[np.float32]
    seconds: float
    settings: str = ""


def case_path(folder: Path, case: Case, digest: str) -> Path:
    """Where the errors of a case are, if it has been run with columns of this digest."""
    return folder / case.task / f"{case.features}-{case.labels}-{digest}.npz"


def run_cases(
    data: Path,
    folder: Path,
    blocks: Blocks,
    cases: list[Case],
) -> list[Path]:
    """Run cases of one task and feature set, in the order of their labels; those done are skipped.

    Returns
    -------
    list of Path
        A file a case.
    """
    property_ = PROPERTIES[cases[0].task]
    trees, everything = feature_sets(list(blocks.weights))[cases[0].features]
    digest = blocks.digest(everything)
    paths = [case_path(folder, c, digest) for c in cases]
    if all(p.exists() for p in paths):
        return paths
    table = read_property_table(data, property_.crystals)
    # Nothing for the dummy to see.
    empty = np.zeros((len(table), 1), dtype=np.float32)
    columns = [blocks.join(b) if b else empty for b in (trees, everything)]
    choices = Choices()
    for case, path in zip(cases, paths, strict=True):
        if path.exists():
            choices.remember(path)
            continue
        problems = property_rows(property_, table, case.labels)
        if case.features == DUMMY:
            found = {"median": _errors(lambda r, _: _median(r), problems)}
        elif used := recipes(list(blocks.weights)).get(case.features):
            fit = recipe(columns[1], [blocks.weights[name] for name in used], property_.classes)
            head = CLASSIFIER if property_.classes else RECIPE
            found = {head: _errors(fit, problems)}
        else:
            found = fit_heads(columns[0], columns[1], problems, choices)
        n_columns = columns[1].shape[1] if everything else 0
        write_case(path, found, {"n_train": len(problems[0].train), "n_columns": n_columns})
    return paths


@dataclass
class Choices:
    """What was chosen with fewer labels, for those with more.

    Attributes
    ----------
    kernel : dict
        Width and penalty of kernel ridge with ``CHOICE_ROWS`` training rows, by seed.
    settings : dict
        LightGBM's setting of wide sets, by head.
    """

    kernel: dict[int, tuple[float, float]] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)

    def remember(self, path: Path) -> None:
        """Take LightGBM's settings from a case of an earlier run, to go on alike."""
        for head, facts, errors in read_case(path):
            if errors.settings and facts["n_train"] <= SETTING_ROWS:
                self.settings[head] = errors.settings


def fit_heads(
    trees: Matrix,
    everything: Matrix,
    problems: list[Rows],
    choices: Choices | None = None,
) -> dict[str, HeadErrors]:
    """Errors of all heads.

    Parameters
    ----------
    trees, everything : (n_rows, n_columns)
        Columns that the trees of the stack see, and those that all else sees.
    problems : list of Rows
        One for each subset.
    choices : Choices
        Read and added to.
    """
    choices = choices or Choices()
    n = len(problems[0].train)

    def boosted(settings: str) -> Fit:
        head = lightgbm_head(settings, **FEW_BINS)
        return lambda rows, _: head(everything, rows)

    fits = []

    def kernel(rows: Rows, _: int) -> Predictions:
        fit = fit_kernel_ridge(
            everything, rows, choices.kernel.get(rows.seed) if n > CHOICE_ROWS else None
        )
        if n == CHOICE_ROWS:
            choices.kernel[rows.seed] = fit.width, fit.alpha
        fits.append(fit)
        return rows.split(fit.unseen)

    def stacked(settings: str) -> Fit:
        return lambda rows, k: stack(trees, everything, rows, settings, outputs[k], **FEW_BINS)

    wide = everything.shape[1] > WIDE
    found = {"lightgbm": _better_settings(boosted, problems, wide, choices, "lightgbm")}
    found["ridge"] = _errors(lambda rows, _: ridge(everything, rows), problems)
    if n <= FOREST_ROWS:
        found["random_forest"] = _errors(lambda rows, _: random_forest(everything, rows), problems)
    found["kernel_ridge"] = _errors(kernel, problems)
    started = time.process_time()
    outputs = [kernel_column(everything, r, f) for r, f in zip(problems, fits, strict=True)]
    seconds = (time.process_time() - started) / len(problems)
    wide = trees.shape[1] > WIDE
    found["stack"] = _better_settings(stacked, problems, wide, choices, "stack")
    found["stack"].seconds += found["kernel_ridge"].seconds + seconds
    return found


def recipe(X: Matrix, weights: list[str], classes: bool) -> Fit:
    """``UnateRegressor``, or ``UnateClassifier``, on the blocks of its own columns.

    It chooses by cross-validation within the training rows and does without val.
    """
    names = Recipe(tuple(weights), "cpu", tight_binding=True).names()
    table = pd.DataFrame(X, columns=names)

    def fit(rows: Rows, _: int) -> Predictions:
        table[FORMULA] = rows.groups
        columns = table[[FORMULA, *names]]
        given, unseen = columns.iloc[rows.train], columns.iloc[rows.unseen]
        y = rows.y[rows.train]
        options: dict[str, Any] = {"random_state": rows.seed, "device": "cpu"}
        if classes:
            classifier = UnateClassifier(weights, **options).fit(given, y)
            return rows.split(classifier.predict_proba(unseen)[:, 1])
        minimum = rows.minimum if np.isfinite(rows.minimum) else None
        model = UnateRegressor(weights, minimum=minimum, **options).fit(given, y)
        return rows.split(model.predict(unseen))

    return fit


def _median(rows: Rows) -> Predictions:
    """The constant of the least mean absolute error."""
    return rows.split(np.full(len(rows.unseen), np.median(rows.y[rows.train])))


def _errors(fit: Fit, problems: list[Rows], first: int = 0) -> HeadErrors:
    started = time.process_time()
    val, test = [], []
    for k, rows in enumerate(problems, first):
        on_val, on_test = fit(rows, k)
        val.append(rows.errors(on_val, rows.val).mean())
        test.append(rows.errors(on_test, rows.test))
    seconds = (time.process_time() - started) / len(problems)
    return HeadErrors(np.array(val), np.array(test, dtype=np.float32), seconds)


def _better_settings(
    fit: Callable[[str], Fit], problems: list[Rows], wide: bool, choices: Choices, head: str
) -> HeadErrors:
    """Errors with the one of LightGBM's settings that is better on val."""
    wanted = list(LIGHTGBM_SETTINGS)
    if wide and len(problems[0].train) > SETTING_ROWS and head in choices.settings:
        wanted = [choices.settings[head]]
    first = {s: _errors(fit(s), problems[:1]) for s in wanted}
    if wide and len(wanted) > 1:
        worth = first["plain"].val[0] < (1 - WORTH) * first["dense"].val[0]
        wanted = ["plain" if worth else "dense"]
        choices.settings[head] = wanted[0]
    found = []
    for settings in wanted:
        parts = [first[settings]]
        if len(problems) > 1:  # the first is done
            parts.append(_errors(fit(settings), problems[1:], first=1))
        val, test = (np.concatenate([getattr(p, k) for p in parts]) for k in ("val", "test"))
        found.append(HeadErrors(val, test, parts[-1].seconds, settings))
    return min(found, key=lambda e: float(e.val.mean()))


def write_case(path: Path, found: dict[str, HeadErrors], facts: dict[str, int]) -> None:
    """Keep a case."""
    note = {
        "facts": facts,
        "heads": list(found),
        "seconds": [e.seconds for e in found.values()],
        "settings": [e.settings for e in found.values()],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with fresh_file(path) as fresh, fresh.open("wb") as file:
        np.savez_compressed(
            file,
            note=json.dumps(note),
            val=np.stack([e.val for e in found.values()]),
            test=np.stack([e.test for e in found.values()]),
        )


def read_case(path: Path) -> Iterator[tuple[str, dict[str, int], HeadErrors]]:
    """Head, numbers of training rows and columns, and errors of each head of a case."""
    with np.load(path) as content:
        note = json.loads(str(content["note"]))
        val, test = content["val"], content["test"]
    for k, head in enumerate(note["heads"]):
        errors = HeadErrors(val[k], test[k], note["seconds"][k], note["settings"][k])
        yield head, note["facts"], errors
