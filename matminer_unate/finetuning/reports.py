"""What there is to say of a fine-tuned model once it is trained."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from matminer_unate.finetuning.settings import FitReport
from matminer_unate.finetuning.splits import Splits
from matminer_unate.finetuning.targets import TargetScale, errors_of_constants, mean_of_known
from matminer_unate.transforms import Scoring

WORDS: dict[Scoring, tuple[str, str]] = {
    "mae": ("mean absolute error", "median"),
    "rmse": ("root mean squared error", "mean"),
}
"""An error, and the constant that makes it least."""

LEAST_JUDGED = 20
"""Rows from which on their error tells whether a network has learned anything."""

NOTHING_KEPT = (
    "training was stopped before there were any weights to keep; the estimator is as it was before"
)

CURE = "train longer (epochs), change learning_rate, and check that each row of y belongs to its X"


def held_out_errors(reports: Sequence[FitReport], scale: TargetScale) -> NDArray[np.float64]:
    """Error of each target on held-out rows, in its unit; NaN without such rows."""
    errors = [np.broadcast_to(report.errors, scale.unit.shape) for report in reports]
    return mean_of_known(np.array(errors)) * scale.unit


def doubts(
    reports: Sequence[FitReport],
    scale: TargetScale,
    values: NDArray[np.float64],
    weights: NDArray[np.float64] | None,
    splits: Splits,
    scoring: Scoring,
) -> list[str]:
    """A sentence for each target of which the networks learned nothing.

    Parameters
    ----------
    reports : sequence of FitReport
    scale : TargetScale
    values, weights : (n_rows, n_targets)
        Targets in their unit, and their weights.
    splits : sequence of (training rows, held-out rows)
    scoring : {"mae", "rmse"}
    """
    varies, (error, constant) = scale.spread > 0, WORDS[scoring]
    if not any(len(held_out) for _, held_out in splits):
        rows, y = np.arange(len(values)), scale.standardise(values)
        constants, counts = errors_of_constants(y, weights, [(rows, rows)], scoring)
        loss = float(np.mean([report.history[-1][1] for report in reports]))
        if counts.max() < LEAST_JUDGED or not varies.any():
            return []
        power = 1 if scoring == "mae" else 2
        if loss < np.nanmean(constants[varies] ** power):
            return []
        return [
            f"the network learned nothing: its training loss is not below the {constant}'s; {CURE}"
        ]
    unit = np.where(varies, scale.unit, 1.0)
    constants, counts = errors_of_constants(values / unit, weights, splits, scoring)
    found, constants = held_out_errors(reports, scale), constants * unit
    return [
        f"the network learned nothing of {scale.names[k]}: its {error} on held-out rows is "
        f"{found[k]:.4g}, that of the {constant} {constants[k]:.4g}; {CURE}"
        for k in np.flatnonzero((counts >= LEAST_JUDGED) & varies)
        if not found[k] < constants[k]
    ]


def about_constants(scale: TargetScale) -> list[str]:
    """A sentence for each target that does not vary."""
    return [
        f"all values of {name} are {mean:g}; the model predicts that for every crystal"
        for name, mean, spread in zip(scale.names, scale.mean, scale.spread, strict=True)
        if not spread
    ]


def about_stop(
    reports: Sequence[FitReport],
    scale: TargetScale,
    epochs: int,
    n_members: int,
    scoring: Scoring,
    going_on: str,
) -> str:
    """How far a training came that was interrupted, and how it goes on."""
    if not reports:
        return NOTHING_KEPT + going_on
    done, kept = (
        float(np.mean(values))
        for values in zip(*((r.epochs, r.best_epoch) for r in reports), strict=True)
    )
    errors = held_out_errors(reports, scale)
    told = ", ".join(f"{error:.3g}" for error in errors if np.isfinite(error))
    return (
        f"training was stopped after {done:.1f} of {epochs} epochs; the model keeps the best "
        f"weights so far, those of epoch {kept:.1f}"
        + (f" of {len(reports)} of {n_members} networks" if len(reports) < n_members else "")
        + (f", held-out {scoring.upper()} {told}" if told else "")
        + going_on
    )
