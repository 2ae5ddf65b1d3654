"""Targets of a regression: the least value they can have."""

from __future__ import annotations

import numpy as np
import pytest

from matminer_unate.regressors.targets import target_floor


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
