"""Targets → the least value that they can have, for predictions and for the ends of intervals."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from matminer_unate.errors import InputError, row_name

SHARE_AT_MINIMUM = 0.1
"""Share of the targets at the least value from which on that value is taken for a floor."""

ROWS_AT_MINIMUM = 3
"""And how many these must be: one row of ten says nothing."""

NEAR_ZERO = 0.1
"""Standard deviations of the targets. Their least value is close to 0 if it is less than this."""


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
        ``minimum`` is none of these.
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
    return float(minimum)


def interval_floor(minimum: Any, floor: float, targets: NDArray[np.float64]) -> float:
    """Where the ends of intervals are cut off; minus infinity for nowhere.

    With ``minimum="auto"``, targets that come close to 0 and never go below are taken for a
    quantity that cannot be negative. Should it be one that can, the price is small: of new rows of
    the same kind, at most one in n + 1 is below all n training rows, so that intervals hold at most
    that much less than they claim.

    Parameters
    ----------
    minimum : "auto", None or float
    floor : float
        What :func:`target_floor` said.
    targets : (n_rows,)
    """
    if math.isfinite(floor) or not isinstance(minimum, str):
        return floor
    near = 0 <= targets.min() < NEAR_ZERO * targets.std()
    return 0.0 if near else -math.inf


def check_minimum(
    minimum: Any,
    targets: NDArray[np.float64],
    weights: NDArray[np.float64] | None,
    labels: pd.Index | None,
) -> None:
    """Refuse targets below the least value that the caller says they can have.

    Parameters
    ----------
    minimum : "auto", None or float
    targets : (n_rows, n_targets)
        NaN where one is not known.
    weights : (n_rows,) or None
        Rows of 0 are left out.
    labels : Index or None
        Of the rows.

    Raises
    ------
    InputError
        The message names the first row that has one.
    """
    if minimum is None or isinstance(minimum, str):
        return
    below = (targets < minimum) if weights is None else (targets < minimum) & (weights > 0)[:, None]
    if below.any():
        row, k = np.argwhere(below)[0]
        raise InputError(
            f"{below.sum()} targets are below the minimum of {minimum:g}, the first is that of "
            f"{row_name(int(row), labels)}, {targets[row, k]:g}; lower the minimum, or drop these "
            "rows"
        )
