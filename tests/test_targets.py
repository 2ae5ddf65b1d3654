"""Targets of a regression: the least value they can have."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from matminer_unate.errors import InputError
from matminer_unate.targets import read_targets, target_floor


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


def test_missing_values_of_pandas_are_unknown_targets() -> None:
    frame = pd.DataFrame({"gap": pd.array([1.0, None, 3.0]), "bulk": [1, 2, 3]})
    table, names = read_targets(frame, 3)
    np.testing.assert_array_equal(table, [[1, 1], [np.nan, 2], [3, 3]])
    assert names == ["gap", "bulk"]
    with pytest.raises(InputError, match="1 targets are not finite, the first is row 1"):
        read_targets(frame["gap"], 3)
