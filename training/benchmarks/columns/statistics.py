"""Errors of classical regressors on test rows → changes against references, wins and losses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import ttest_1samp

from benchmarks.columns.feature_sets import RECIPE
from harness.comparisons import Change, bootstrap_change, holm, resample_formulas

CaseErrors = dict[tuple[str, str, str, str], NDArray[np.float64]]
"""Errors of test rows, means over subsets, by task, labels, features and head."""

CONTROLS = ("control", "control+fingerprint")

LEVEL = 0.05

OTHERS = "the best other"
"""Of all feature sets, the one that is best on ``val``."""


def add_comparisons(
    table: pd.DataFrame, errors: CaseErrors, formulas: dict[str, pd.Series]
) -> pd.DataFrame:
    """Relative change of the test error against three references, with bootstrap intervals.

    References, of the same task and number of labels: Magpie with LightGBM; Magpie and the control
    (with or without the fingerprint) each with the head that is best on ``val``. The 95 % interval
    is that of paired resamples of formulas.
    """
    table = table.copy()
    for task, rows in table.groupby("task"):
        codes, counts = resample_formulas(formulas[str(task)].to_numpy())
        for labels, case in rows.groupby("labels"):
            for name, key in references(case).items():
                reference = errors[(str(task), str(labels), *key)]
                for k, row in case.iterrows():
                    found = errors[str(task), str(labels), row["features"], row["head"]]
                    change = bootstrap_change(found, reference, codes, counts)
                    for suffix, value in zip(("pct", "low", "high"), change, strict=True):
                        table.loc[k, f"vs_{name}_{suffix}"] = round(value, 2)
    return table


def references(case: pd.DataFrame) -> dict[str, tuple[str, str]]:
    """Feature set and head of each reference that is among the rows of a task and label count."""
    magpie = case[case["features"] == "magpie"]
    wanted = {
        "magpie_lightgbm": magpie[magpie["head"] == "lightgbm"],
        "magpie_best": magpie,
        "control_best": case[case["features"].isin(CONTROLS)],
    }
    return {name: best(rows) for name, rows in wanted.items() if len(rows)}


def best(rows: pd.DataFrame) -> tuple[str, str]:
    """Feature set and head of the row with the least error on val."""
    row = rows.loc[rows["val_error"].idxmin()]
    return row["features"], row["head"]


def comparisons_of(weights: list[str]) -> dict[tuple[str, str], tuple[str, ...]]:
    """Feature set and what it is called against → the feature sets it is compared with, or all."""
    found: dict[tuple[str, str], tuple[str, ...]] = {
        ("control", "magpie"): ("magpie",),
        ("control+tight-binding", "control"): ("control",),
        ("control+chgnet", "control"): ("control",),
        (RECIPE, OTHERS): (),
    }
    for w in weights:
        found |= {
            (w, "untrained"): ("untrained",),
            (w, "magpie"): ("magpie",),
            (f"magpie+{w}", "magpie"): ("magpie",),
            (f"control+{w}", "control"): ("control",),
            (f"control+fingerprint+{w}", "control+fingerprint"): ("control+fingerprint",),
            (f"control+tight-binding+{w}", "control+tight-binding"): ("control+tight-binding",),
        }
    return found


def count_wins(
    table: pd.DataFrame, errors: CaseErrors, formulas: dict[str, pd.Series], weights: list[str]
) -> pd.DataFrame:
    """Wins, ties and losses over tasks and numbers of labels, one row each.

    Both sides have the head that is best on ``val``. The p-value is that of a paired t-test over
    formulas (the differences of rows of one formula are added up), corrected as by Holm over all
    tasks and label counts of one comparison; a win or a loss has it below 0.05.
    """
    tables = []
    others = [name for name in table["features"].unique() if not name.startswith(RECIPE)]
    for (features, against), sets in comparisons_of(weights).items():
        rows = []
        for (task, labels), case in table.groupby(["task", "labels"], sort=False):
            ours = case[case["features"] == features]
            theirs = case[case["features"].isin(sets or others)]
            if ours.empty or theirs.empty:
                continue
            told = {"features": features, "against": against, "task": task, "labels": labels}
            rows.append(told | compare(ours, theirs, errors, formulas[task].to_numpy()))
        if rows:
            tables.append(with_verdicts(pd.DataFrame(rows)))
    if not tables:
        return pd.DataFrame()
    wins = pd.concat(tables, ignore_index=True)
    wins[["p", "p_holm"]] = wins[["p", "p_holm"]].map(lambda v: float(f"{v:.3g}"))
    return wins


def compare(
    ours: pd.DataFrame, theirs: pd.DataFrame, errors: CaseErrors, formulas: NDArray[np.object_]
) -> dict[str, Any]:
    """Change and p-value of the best row of one table against the best of another."""
    (our_set, our_head), (their_set, their_head) = best(ours), best(theirs)
    task, labels = ours[["task", "labels"]].iloc[0]
    found = errors[task, labels, our_set, our_head]
    reference = errors[task, labels, their_set, their_head]
    change = bootstrap_change(found, reference, *resample_formulas(formulas))
    return {
        "head": our_head,
        "against_head": their_head,
        **{k: round(v, 2) for k, v in zip(Change._fields, change, strict=True)},
        "p": paired_p(found, reference, formulas),
    }


def with_verdicts(comparison: pd.DataFrame) -> pd.DataFrame:
    """Corrected p-values, and what they say, of the tasks and label counts of one comparison."""
    corrected = holm(comparison["p"].to_numpy())
    sign = np.where(comparison["percent"] < 0, "win", "loss")
    return comparison.assign(p_holm=corrected, verdict=np.where(corrected < LEVEL, sign, "tie"))


def paired_p(
    errors: NDArray[np.float64], reference: NDArray[np.float64], formulas: NDArray[np.object_]
) -> float:
    """Two-sided p-value of equal mean errors, from the differences of formulas.

    Rows of one formula err alike, so they count as one difference, their sum.
    """
    codes, _ = pd.factorize(formulas)
    differences = np.bincount(codes, weights=errors - reference)
    if not differences.any():
        return 1.0
    return float(ttest_1samp(differences, 0.0).pvalue)
