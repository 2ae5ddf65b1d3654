"""The least value that targets can have."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from matminer_unate.errors import InputError
from matminer_unate.target_floors import check_minimum, interval_floor, target_floor


@pytest.mark.parametrize(
    ("targets", "floor"),
    [
        ([-3.1, -2.0, -1.0, -0.4], -np.inf),  # one of four is the least, as always
        ([0, 0, 1, 2, 3], -np.inf),
        ([0, 0, 0, 1, 2], 0),
        ([0, 0, 0, *range(1, 28)], 0),
        ([0, 0, 0, *range(1, 29)], -np.inf),  # less than a tenth
    ],
)
def test_a_floor_is_a_value_that_several_targets_have(targets: list[float], floor: float) -> None:
    assert target_floor("auto", np.array(targets, dtype=float)) == floor


@pytest.mark.parametrize(
    ("minimum", "targets", "expected"),
    [
        ("auto", [0.1, 1, 2, 5], 0.0),
        ("auto", [0.0, 1, 2, 5], 0.0),
        ("auto", [1.9, 2, 2.3, 2.7], -np.inf),  # log10 of moduli
        ("auto", [-0.1, 1, 2, 5], -np.inf),
        ("auto", [2, 2, 2, 2], -np.inf),
        (None, [0.1, 1, 2, 5], -np.inf),
        (-3.0, [0.1, 1, 2, 5], -3.0),
    ],
)
def test_intervals_end_at_0_where_targets_come_close_and_never_cross(
    minimum: str | float | None, targets: list[float], expected: float
) -> None:
    floor = minimum if isinstance(minimum, float) else -np.inf
    assert interval_floor(minimum, floor, np.array(targets)) == expected


def test_a_target_below_the_minimum_that_was_given_is_named() -> None:
    targets = np.array([[1.0, np.nan], [2.0, -3.0], [np.nan, 0.5]])
    labels = pd.Index(["NaCl", "MgO", "GaAs"])
    with pytest.raises(InputError, match=r"1 targets are below the minimum of 0.*MgO.*-3"):
        check_minimum(0.0, targets, None, labels)
    check_minimum(0.0, targets, np.array([1.0, 0.0, 1.0]), labels)  # that row is left out
    check_minimum("auto", targets, None, labels)
