"""DataFrames, Series, lists and arrays → one structure a row."""

from __future__ import annotations

from collections.abc import Iterator, ValuesView
from os import PathLike
from typing import Any

import numpy as np
import pandas as pd

from matminer_unate.errors import InputError
from matminer_unate.io.objects import SHOWN_TEXT


def pandas_frame(df: Any, inplace: bool = False) -> pd.DataFrame:
    """A frame as pandas has it; those of polars, pyarrow and others by their ``to_pandas``.

    Raises
    ------
    InputError
        ``df`` is no frame, or cannot be converted; or is to be changed and not pandas'.
    """
    if inplace and not isinstance(df, pd.DataFrame):
        raise InputError(
            f"inplace=True needs a pandas DataFrame, got {type_name(df)}; take the result instead"
        )
    df = in_pandas(df)
    if not isinstance(df, pd.DataFrame):
        raise InputError(
            f"expected a pandas DataFrame, got {type_name(df)}; pass a DataFrame with a column of "
            "structures, or only the structures to transform()"
        )
    return df


def column_of(df: Any, col_id: Any) -> Any:
    """The column of structures of a frame.

    Raises
    ------
    InputError
        ``df`` is no DataFrame, or has not exactly one column of that name.
    """
    df = pandas_frame(df)
    if isinstance(col_id, list):
        if len(col_id) != 1:
            raise InputError(f"name one column of structures, got {col_id!r}")
        (col_id,) = col_id
    try:
        column = df[col_id]
    except (KeyError, TypeError):
        near = ", ".join(repr(c) for c in df.columns[:10]) or "no columns at all"
        raise InputError(f"the frame has no column {col_id!r}; it has {near}") from None
    if isinstance(column, pd.DataFrame) and column.shape[1] > 1:
        raise InputError(f"the name {col_id!r} stands for {column.shape[1]} columns; rename them")
    return column


def entries_of(X: Any) -> list[Any]:
    """One structure a row from whatever list-like came in.

    A pymatgen Structure is itself a sequence of sites, so arrays are never made of them.

    Raises
    ------
    InputError
        ``X`` is not a list, tuple, Series, Index, one-column DataFrame, array or iterator.
    """
    X = in_pandas(X)
    if isinstance(X, pd.DataFrame):
        if X.shape[1] != 1:
            raise InputError(
                f"expected one column of structures, got {X.shape[1]} columns; pass the one that "
                f"holds them, as df[{structure_column(X)!r}]"
            )
        return list(X.iloc[:, 0])
    if isinstance(X, pd.Series | pd.Index | pd.api.extensions.ExtensionArray):
        return list(X)
    if isinstance(X, np.ndarray):
        if X.ndim == 2 and X.shape[1] == 1:
            return list(X[:, 0])
        if X.ndim != 1:
            raise InputError(
                f"an array of shape {X.shape} is not a column of structures; NumPy takes a list of "
                "structures of equal size apart into sites: pass the list itself"
            )
        return list(X)
    if isinstance(X, str | PathLike):
        raise InputError(
            f"expected structures, got {type_name(X)} {str(X)[:SHOWN_TEXT]!r}; read files first, "
            "with matminer_unate.read_structures(path)['structure'], and pass formulas or texts as "
            "a list"
        )
    if not is_many(X):
        raise InputError(
            f"'entries' must be a list, Series, DataFrame or array of structures, got "
            f"{type_name(X)}; wrap a single structure in a list, or pass list(…) of a collection"
        )
    return [x[0] if _is_one_tuple(x) else x for x in X]


def structure_column(df: pd.DataFrame) -> Any:
    """Name of the column that is likely the one of structures."""
    if not len(df) or "structure" in df.columns:
        return "structure"
    objects = [name for name, value in df.iloc[0].items() if not pd.api.types.is_scalar(value)]
    return objects[0] if objects else "structure"


def is_many(X: Any) -> bool:
    """Whether this is list-like, and not one structure (which is a sequence of its sites)."""
    pandas = pd.DataFrame | pd.Series | pd.Index | pd.api.extensions.ExtensionArray
    return isinstance(X, list | tuple | Iterator | ValuesView | np.ndarray | pandas) or hasattr(
        X, "to_pandas"
    )


def type_name(x: Any) -> str:
    """``polars.dataframe.frame.DataFrame``; without the module for Python's own types."""
    module, name = type(x).__module__, type(x).__qualname__
    return name if module == "builtins" else f"{module}.{name}"


def index_of(X: Any) -> pd.Index | None:
    """Labels of the rows of a frame or column, for messages."""
    return X.index if isinstance(X, pd.Series | pd.DataFrame) else None


def in_pandas(x: Any) -> Any:
    """What another library's frame or column is in pandas; everything else as it is.

    Raises
    ------
    InputError
        It cannot be converted.
    """
    if isinstance(x, pd.DataFrame | pd.Series) or not hasattr(x, "to_pandas"):
        return x
    try:
        return x.to_pandas()
    except Exception as e:
        raise InputError(
            f"{type_name(x)} could not be converted to pandas ({type(e).__name__}: {e}); pass the "
            "structures as a list"
        ) from e


def _is_one_tuple(x: Any) -> bool:
    """Whether a row wraps its entry, as matminer does for featurizers of several inputs."""
    return (
        x.shape == (1,) if isinstance(x, np.ndarray) else type(x) in (list, tuple) and len(x) == 1
    )
