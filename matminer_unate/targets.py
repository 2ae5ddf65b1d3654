"""What regressors are given to learn → targets and weights of rows, checked."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Set
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from matminer_unate.errors import InputError, plain_label, row_name

LARGEST = 1e100
"""Absolute value of a target that can be squared."""


def read_targets(
    y: Any, n_rows: int, index: pd.Index | None = None
) -> tuple[NDArray[np.float64], list[str] | None]:
    """One or several targets a row as numbers, and their names.

    Where there are several, NaN is a target that is not known.

    Parameters
    ----------
    y : (n_rows,) or (n_rows, n_targets)
    n_rows : int
    index : Index or None
        Labels of the rows of ``X``.

    Returns
    -------
    targets : (n_rows, n_targets)
    names : list of str or None
        Of a Series or DataFrame.

    Raises
    ------
    InputError
        They are not numbers, not finite, not as many rows, or labelled as other rows than those of
        ``X``; or a row has none.
    """
    names = None
    if isinstance(y, pd.DataFrame):
        names = [str(name) for name in y.columns]
    elif isinstance(y, pd.Series) and y.name is not None:
        names = [str(y.name)]
    if names and len(set(names)) < len(names):
        raise InputError(f"two targets have the same name: {', '.join(names)}; rename one")
    table = read_true_values(y, n_rows, index, names)
    if n_rows < 2:
        raise InputError(f"at least two structures are needed, got {n_rows}")
    if table.shape[1] > 1:
        _check_known(table, names, labels_of(y, index))
    return table, names


def read_true_values(
    y: Any, n_rows: int, index: pd.Index | None = None, names: list[str] | None = None
) -> NDArray[np.float64]:
    """One or several targets a row as numbers, (n_rows, n_targets).

    As :func:`read_targets`, but of any number of rows, and of several targets a row may have none.

    Raises
    ------
    InputError
        As there.
    """
    labels = labels_of(y, index)
    table = _numbers(y, "the targets", labels)
    several = table.ndim == 2 and table.shape[1] != 1
    shape = table.shape
    table = table[:, None] if table.ndim == 1 else table
    if table.ndim != 2 or len(table) != n_rows or not table.shape[1]:
        what = "rows of targets" if several else "targets"
        raise InputError(f"{n_rows} structures need {n_rows} {what}, got shape {shape}")
    check_order(y, index, "y")
    if several:
        for row, k in np.argwhere(np.isinf(table)):
            name = repr(names[k]) if names else k
            raise InputError(
                f"target {name} of {row_name(row, labels)} is infinite; make it NaN if it is not "
                "known"
            )
    elif not np.isfinite(table).all():
        bad = np.flatnonzero(~np.isfinite(table[:, 0]))
        raise InputError(
            f"{len(bad)} targets are not finite, the first is {row_name(bad[0], labels)}; drop "
            "these rows"
        )
    return table


def _check_known(
    table: NDArray[np.float64], names: list[str] | None, labels: pd.Index | None
) -> None:
    empty = np.flatnonzero(np.isnan(table).all(axis=1))
    if len(empty):
        raise InputError(
            f"{len(empty)} row(s) have no target, the first is {row_name(empty[0], labels)}; drop "
            "these rows"
        )
    unknown = np.flatnonzero(np.isnan(table).all(axis=0))
    if len(unknown):
        name = repr(names[unknown[0]]) if names else unknown[0]
        raise InputError(f"target {name} is not known of any row; leave it out")


def check_squares(targets: NDArray[np.float64], labels: pd.Index | None) -> None:
    """Refuse targets, (n_rows, n_targets), whose squares are beyond what a computer has.

    Raises
    ------
    InputError
        The message names the row of the largest.
    """
    sizes = np.nan_to_num(np.abs(targets))
    row, k = np.unravel_index(np.argmax(sizes), sizes.shape)
    if sizes[row, k] > LARGEST:
        raise InputError(
            f"the target of {row_name(int(row), labels)} is {targets[row, k]:g}; if that stands "
            "for a value that is not known, drop the row, else take another unit"
        )


def read_classes(
    y: Any, n_rows: int, index: pd.Index | None = None
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Labels of classes in their order, and the place among them of each row's.

    Parameters
    ----------
    y : (n_rows,)
    n_rows : int
    index : Index or None
        Labels of the rows of ``X``.

    Returns
    -------
    classes : (n_classes,)
        Strings, booleans or whole numbers.
    codes : (n_rows,)

    Raises
    ------
    InputError
        They are not one a row, one is missing, they are neither of these or not all of one kind,
        they are labelled as other rows than those of ``X``, or there is one class only.
    """
    given = read_labels(y, n_rows, index)
    labels = labels_of(y, index)
    kinds = [_kind_of_label(label) for label in given]
    odd = next((row for row, kind in enumerate(kinds) if kind is None or kind != kinds[0]), None)
    if odd is not None:
        raise InputError(
            "labels must be strings, booleans or whole numbers, all of one kind, and "
            f"{row_name(odd, labels)} has {given.iloc[odd]!r}; for numbers that measure something, "
            "use a regressor"
        )
    classes, codes = np.unique(given.to_numpy().astype(kinds[0]), return_inverse=True)
    if len(classes) < 2:
        raise InputError(f"all labels are {classes.tolist()[0]!r}; there is nothing to tell apart")
    return classes, codes.astype(np.int64)


def read_labels(y: Any, n_rows: int, index: pd.Index | None = None) -> pd.Series:
    """A label a row, (n_rows,), of any kind.

    Raises
    ------
    InputError
        They are not one a row, one is missing, or they are labelled as other rows than those of
        ``X``.
    """
    labels = labels_of(y, index)
    several = ", several labels a row; give one column of y at a time"
    given = pd.Series(_one_each(y, n_rows, "labels", several), dtype=object)
    for row, label in enumerate(given):
        if isinstance(label, list | tuple | np.ndarray):
            raise InputError(
                f"{row_name(row, labels)} has several labels; give one column of y at a time"
            )
    check_order(y, index, "y")
    missing = np.flatnonzero(given.isna())
    if len(missing):
        raise InputError(
            f"{len(missing)} labels are missing, the first is of {row_name(missing[0], labels)}; "
            "drop these rows"
        )
    return given


def read_groups(groups: Any, n_rows: int, index: pd.Index | None = None) -> NDArray[Any] | None:
    """The group of each row, (n_rows,) of any hashable kind; None where there are none.

    Raises
    ------
    InputError
        They are not one a row, one is missing or cannot be hashed, or they are labelled as other
        rows than those of ``X``.
    """
    if groups is None:
        return None
    if isinstance(groups, str | Mapping | Set) or not isinstance(groups, Collection):
        raise InputError(
            f"groups must be a list, Series or array, got {type(groups).__name__}; pass df['group']"
        )
    labels = labels_of(groups, index)
    # A tuple is one label.
    given = pd.Series(_one_each(groups, n_rows, "groups", "; give one column"), dtype=object)
    check_order(groups, index, "groups")
    missing = np.flatnonzero(given.isna())
    if len(missing):
        raise InputError(
            f"{len(missing)} groups are missing (NaN or None), the first is that of "
            f"{row_name(missing[0], labels)}; give these rows a group, or drop them"
        )
    for row, label in enumerate(given):
        try:
            hash(label)
        except TypeError as e:
            raise InputError(
                f"the group of {row_name(row, labels)} is {label!r}; take a string, a number or a "
                "tuple of these"
            ) from e
    return given.to_numpy()


def _one_each(values: Any, n_rows: int, what: str, several: str) -> list[Any]:
    """The values of rows in a list; ``several`` says what is wrong with more than one column."""
    table = values.to_numpy(object) if isinstance(values, pd.DataFrame) else values
    if isinstance(table, np.ndarray):
        if table.ndim > 1 and table.shape[1:] != (1,):
            raise InputError(
                f"{n_rows} structures need {n_rows} {what}, got shape {table.shape}{several}"
            )
        table = table.ravel().tolist()
    given = list(table)
    if len(given) != n_rows:
        raise InputError(f"{n_rows} structures need {n_rows} {what}, got {len(given)}")
    return given


def _kind_of_label(label: Any) -> type | None:
    if isinstance(label, bool | np.bool_):
        return bool
    if isinstance(label, str):
        return str
    is_whole = isinstance(label, int | np.integer) or (
        isinstance(label, float | np.floating) and float(label).is_integer()
    )
    return int if is_whole else None


def read_row_weights(
    sample_weight: Any, n_rows: int, index: pd.Index | None = None
) -> NDArray[np.float64] | None:
    """Weights of rows, (n_rows,).

    Raises
    ------
    InputError
        They are not numbers, below 0, not finite, not one a row, labelled as other rows than those
        of ``X``, whose labels are ``index``, or all 0.
    """
    if sample_weight is None:
        return None
    labels = labels_of(sample_weight, index)
    weights = _numbers(sample_weight, "sample_weight", labels)
    if weights.shape != (n_rows,):
        raise InputError(
            f"{n_rows} structures need {n_rows} numbers as sample_weight, got shape {weights.shape}"
        )
    check_order(sample_weight, index, "sample_weight")
    bad = np.flatnonzero(~(np.isfinite(weights) & (weights >= 0)))
    if len(bad):
        raise InputError(
            f"the sample_weight of {row_name(bad[0], labels)} is {weights[bad[0]]:g}; weights are "
            "numbers from 0 on, and 0 leaves a row out"
        )
    if not weights.any():
        raise InputError("sample_weight is 0 in all rows, which leaves none")
    return weights


def check_order(values: Any, index: pd.Index | None, name: str) -> None:
    """Refuse a column whose labels say that it belongs to the rows of ``X`` in another order.

    Rows are paired by position, as everywhere in scikit-learn. Where both have labels of rows, and
    these are the same in another order, or some of them are, this would pair what does not belong
    together. A plain 0, 1, 2, … says nothing, unless all labels of the other are among it.

    Parameters
    ----------
    values : Series, DataFrame, or anything without labels
    index : Index or None
        Of ``X``.
    name : str
        What the caller calls the column.

    Raises
    ------
    InputError
        The message names the first row of which they differ.
    """
    own = labels_of(values, None)
    if own is None or index is None or len(own) != len(index) or own.equals(index):
        return
    shared = set(own) & set(index)
    if not shared:
        return
    if shared != set(index):
        plain = pd.RangeIndex(len(own))
        if own.equals(plain) or index.equals(plain):
            return
    row = next((k for k in range(len(own)) if own[k] != index[k]), None)
    if row is None:
        return
    what = "its rows in another order than" if shared == set(index) else "other rows than"
    labels = f"{plain_label(index[row])!r} in X and {plain_label(own[row])!r} in {name}"
    raise InputError(
        f"{name} has {what} X: the index of row {row} is {labels}; pass {name}.loc[X.index], or "
        f"{name}.to_numpy() if the rows belong together as they stand"
    )


def labels_of(values: Any, index: pd.Index | None = None) -> pd.Index | None:
    """Labels of the rows of a column, or else those of ``X``."""
    return values.index if isinstance(values, pd.Series | pd.DataFrame) else index


def _numbers(values: Any, what: str, labels: pd.Index | None) -> NDArray[np.float64]:
    try:
        if isinstance(values, pd.Series | pd.DataFrame):
            return values.to_numpy(np.float64, na_value=math.nan)
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as e:
        cells = np.atleast_1d(np.asarray(values, dtype=object))
        for (row, *_), value in np.ndenumerate(cells):
            if not _is_number(value):
                named = row_name(row, labels)
                raise InputError(f"{what} must be numbers, and {named} has {value!r}") from e
        raise InputError(f"{what} must be numbers ({e})") from e


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return value is None or value is pd.NA
    return True
