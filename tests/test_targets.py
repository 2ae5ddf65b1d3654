"""What y may be, for regressions and classes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from matminer_unate.errors import InputError
from matminer_unate.targets import check_squares, read_classes, read_groups, read_targets


def test_missing_values_of_pandas_are_unknown_targets() -> None:
    frame = pd.DataFrame({"gap": pd.array([1.0, None, 3.0]), "bulk": [1, 2, 3]})
    table, names = read_targets(frame, 3)
    np.testing.assert_array_equal(table, [[1, 1], [np.nan, 2], [3, 3]])
    assert names == ["gap", "bulk"]
    with pytest.raises(InputError, match=r"1 targets are not finite, .* row 1 \(index 1\)"):
        read_targets(frame["gap"], 3)


@pytest.mark.parametrize(
    ("X", "y"),
    [
        (None, [5, 7, 9]),
        ([5, 7, 9], None),
        ([5, 7, 9], [5, 7, 9]),
        ([5, 7, 9], [0, 1, 2]),
        ([0, 1, 2], [5, 7, 9]),
        ([0, 1, 2], [1, 3, 5]),  # a plain index says nothing
        (["a", "b", "c"], [4, 5, 6]),
    ],
)
def test_rows_are_paired_by_position_where_labels_say_nothing_else(X: Any, y: Any) -> None:
    targets = [1.0, 2.0, 3.0] if y is None else pd.Series([1.0, 2.0, 3.0], y)
    table, _ = read_targets(targets, 3, None if X is None else pd.Index(X))
    assert table[:, 0].tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("X", "y", "said"),
    [
        ([5, 7, 9], [5, 9, 7], "its rows in another order than X: the index of row 1 is 7 in X"),
        ([2, 1, 0], [0, 1, 2], r"row 0 is 2 in X and 0 in y; pass y.loc\[X.index\], or y.to_numpy"),
        ([5, 7, 9], [5, 7, 8], "other rows than X: the index of row 2 is 9 in X and 8 in y"),
        (["a", "b", "c"], ["c", "a", "b"], "'a' in X and 'c' in y"),
    ],
)
def test_labels_that_contradict_the_order_are_an_error(X: Any, y: Any, said: str) -> None:
    for read, values in ((read_targets, [1.0, 2.0, 3.0]), (read_classes, ["u", "v", "u"])):
        with pytest.raises(InputError, match=said):
            read(pd.Series(values, y), 3, pd.Index(X))


def test_what_is_no_number_is_named_with_its_row() -> None:
    index = pd.Index(["x", "y", "z"])
    for values in (pd.Series([1, "n/a", 3], index), [1, "n/a", 3], [[1, 2], [3, "n/a"], [5, 6]]):
        with pytest.raises(InputError, match=r"numbers, and row 1 \(index 'y'\) has 'n/a'"):
            read_targets(values, 3, index)


def test_targets_that_cannot_be_squared_are_named() -> None:
    for table in ([[1.0], [1e300], [2.0]], [[1.0, np.nan], [np.nan, -1e300], [2.0, 3.0]]):
        with pytest.raises(InputError, match=r"the target of row 1 is -?1e\+300; if that stands"):
            check_squares(np.array(table), None)
    check_squares(np.array([[1e90], [0.0]]), None)


def test_several_labels_in_a_row_are_named_however_they_are_given() -> None:
    for rows in ([["a"], ["a", "b"]], pd.Series([["a", "b"], ["b", "c"]])):
        with pytest.raises(InputError, match=r"row [01]( .*)? has several labels; give one column"):
            read_classes(rows, 2)
    with pytest.raises(InputError, match=r"got shape \(2, 2\), several labels a row"):
        read_classes(pd.DataFrame({"a": ["x", "y"], "b": ["y", "z"]}), 2)


def test_classes_may_be_a_frame_of_one_column() -> None:
    frame = pd.DataFrame({"phase": ["b", "a", "b"]})
    for given in (frame, frame.to_numpy()):
        classes, codes = read_classes(given, 3)
        assert (classes.tolist(), codes.tolist()) == (["a", "b"], [1, 0, 1])


def test_groups_are_labels_of_any_kind_one_a_row() -> None:
    pairs = [("NaCl", 225), ("NaCl", 221), ("MgO", 225)]
    names = pd.Index(["a", "b", "c"])
    for given, expected in [
        (pairs, pairs),
        (pd.Series(pairs, names), pairs),
        (np.array([3, 1, 1]), [3, 1, 1]),
        (np.array([[3], [1], [1]]), [3, 1, 1]),
        (pd.DataFrame({"prototype": ["A", "B", "A"]}, names), ["A", "B", "A"]),
        (pd.Categorical(["A", "B", "A"]), ["A", "B", "A"]),
        ([1, "1", 1.5], [1, "1", 1.5]),  # not the same
    ]:
        found = read_groups(given, 3, names)
        assert found is not None
        assert found.dtype == object
        assert list(found) == expected
    assert read_groups(None, 3) is None


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ([1, 2], "3 structures need 3 groups, got 2"),
        ([1, None, 2], r"1 groups are missing .* that of row 1"),
        (pd.DataFrame({"g": ["A", np.nan, "A"]}), r"1 groups are missing .* that of row 1"),
        (np.ones((3, 2)), r"got shape \(3, 2\); give one column"),
        (pd.DataFrame({"a": [1, 2, 3], "b": [1, 2, 3]}), r"got shape \(3, 2\); give one column"),
        ({1, 2, 3}, "must be a list, Series or array, got set"),
        (iter([1, 2, 3]), "must be a list, Series or array, got list_iterator"),
        ("abc", "must be a list, Series or array, got str"),
        ([[1], [2], [3]], r"the group of row 0 is \[1\]; take a string"),
    ],
)
def test_groups_that_are_none_are_told(groups: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_groups(groups, 3)
