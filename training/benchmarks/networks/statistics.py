"""Rows of ``training/bandgap.py`` → changes of each arm against a reference, with intervals."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from harness.comparisons import bootstrap_change, holm, paired_change, resample_formulas
from matminer_unate.errors import InputError

REFERENCES = ("Z", "untrained", "random-table", "scratch")
"""The published baseline, and the controls that a pretrained input must beat."""

PARTS = ("val", "test", "both", "jarvis", "unseen")

GROUP = ["protocol", "property", "preset", "changes", "fraction"]


def prediction_file(trial: str) -> str:
    """Name of the file of a trial's predictions."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", trial) + ".npz"


def summarise(table: pd.DataFrame, predictions: Path) -> pd.DataFrame:
    """Compare the arms.

    Parameters
    ----------
    table : DataFrame
        A row a training.
    predictions : Path
        Folder of the predictions of each trial.

    Returns
    -------
    DataFrame
        A row for each arm and reference with common seeds. For each of :data:`PARTS` (``both`` is
        the mean of val and test) the change in percent, the t-interval of the mean log-ratio over
        seeds, its p-value, and that after Holm's correction over the arms. ``test_rows``: the
        change of the test errors, averaged over seeds, with the interval over resampled formulas.
    """
    table = table.assign(
        both_mae=(table["val_mae"] + table["test_mae"]) / 2, changes=table["changes"].fillna("")
    )
    rows = [
        row
        for key, trials in table.groupby(GROUP, sort=False)
        for reference in REFERENCES
        for row in _against(dict(zip(GROUP, key, strict=True)), trials, reference, predictions)
    ]
    found = pd.DataFrame(rows)
    if found.empty:
        return found
    for part in PARTS:
        column = f"{part}_p"
        groups = found.groupby([*GROUP, "reference"], sort=False)[column]
        found[f"{part}_p_holm"] = groups.transform(lambda p: holm(p.to_numpy()))
    return found


def _against(
    key: dict[str, Any], trials: pd.DataFrame, reference: str, predictions: Path
) -> Iterator[dict[str, Any]]:
    """Rows of one protocol, property and fraction against one reference."""
    theirs = trials[trials["arm"] == reference].set_index("seed")
    for arm, ours in trials.groupby("arm", sort=False):
        ours = ours.set_index("seed")
        seeds = sorted(set(ours.index) & set(theirs.index))
        if arm == reference or not seeds:
            continue
        row: dict[str, Any] = {**key, "arm": arm, "reference": reference, "n_seeds": len(seeds)}
        for part in PARTS:
            a, b = (t.loc[seeds, f"{part}_mae"].to_numpy(float) for t in (ours, theirs))
            row[f"{part}_mae"], row[f"{part}_reference"] = a.mean(), b.mean()
            names = ("pct", "low", "high", "p")
            values = [np.nan] * 4 if np.isnan([*a, *b]).any() else paired_change(a, b)[:4]
            row |= {f"{part}_{n}": v for n, v in zip(names, values, strict=True)}
        over_rows = _over_rows(key, str(arm), reference, seeds, predictions)
        row |= {f"test_rows_{n}": v for n, v in zip(("pct", "low", "high"), over_rows, strict=True)}
        yield row


def _over_rows(
    key: dict[str, Any], arm: str, reference: str, seeds: list[int], predictions: Path
) -> tuple[float, float, float]:
    """Change of the test error with its interval over formulas; NaN without predictions."""
    errors: dict[str, list[Any]] = {arm: [], reference: []}
    for name, kept in errors.items():
        for seed in seeds:
            trial = f"{key['protocol']} {key['property']} {name} {key['fraction']:g} {seed}"
            path = predictions / prediction_file(f"{trial} {key['changes']}".rstrip())
            if not path.is_file():
                return np.nan, np.nan, np.nan
            with np.load(path) as file:
                kept.append(np.abs(file["test_predicted"] - file["test_true"]).astype(float))
                formulas = file["test_formula"]
    ours, theirs = (np.mean(errors[name], axis=0) for name in (arm, reference))
    if ours.shape != theirs.shape:
        raise InputError(
            f"predictions of {arm} and {reference} in {predictions} are not of one set"
        )
    return bootstrap_change(ours, theirs, *resample_formulas(formulas))
