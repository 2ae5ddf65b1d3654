"""Targets of a regression, checked."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from matminer_unate.errors import InputError

SHARE_AT_MINIMUM = 0.1
"""Share of the targets at the least value from which on that value is taken for a floor."""


ROWS_AT_MINIMUM = 3
"""And how many these must be: one row of ten says nothing."""


def check_targets(y: Any, n_rows: int) -> NDArray[np.float64]:
    """Targets as finite numbers, (n_rows,).

    Raises
    ------
    InputError
        They are not numbers, not finite, or not one a row.
    """
    try:
        targets = np.asarray(y, dtype=np.float64)
    except (TypeError, ValueError) as e:
        raise InputError(f"the targets must be numbers ({e})") from e
    if targets.ndim == 2 and targets.shape[1] == 1:
        targets = targets[:, 0]
    if targets.shape != (n_rows,):
        raise InputError(f"{n_rows} structures need {n_rows} targets, got shape {targets.shape}")
    bad = np.flatnonzero(~np.isfinite(targets))
    if len(bad):
        raise InputError(
            f"{len(bad)} targets are not finite, the first is row {bad[0]}; drop these rows"
        )
    if n_rows < 2:
        raise InputError(f"fine-tuning needs at least two structures, got {n_rows}")
    return targets


def target_floor(minimum: Any, targets: NDArray[np.float64]) -> float:
    """Least value that the target can have; minus infinity if there is none.

    Parameters
    ----------
    minimum : "auto", None or float
        ``"auto"``: the least of the targets if a tenth of them, and at least three, have it, as
        gaps of 0 do.
    targets : (n_rows,)

    Raises
    ------
    InputError
        A target is below the minimum, or that is none of these.
    """
    if minimum is None:
        return -math.inf
    if isinstance(minimum, str):
        if minimum != "auto":
            raise InputError(f"minimum must be 'auto', None or a number, got {minimum!r}")
        least = float(targets.min())
        n_least = int((targets == least).sum())
        enough = max(ROWS_AT_MINIMUM, SHARE_AT_MINIMUM * len(targets))
        return least if n_least >= enough else -math.inf
    if targets.min() < minimum:
        raise InputError(f"a target is {targets.min():g}, below the minimum of {minimum:g}")
    return float(minimum)
