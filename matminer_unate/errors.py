"""The package's exceptions and warnings, and what rows are called in them.

Every mistake a caller can make is an :class:`UnateError` and a ``ValueError``. The constructors
take one string, because matminer re-raises errors as ``type(error)(message)``.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_PACKAGE = Path(__file__).parent
_HOSTS = (
    "sklearn",
    "matminer",
    "pandas",
    "joblib",
    "threading",
    "concurrent.futures",
    "multiprocessing",
    "dask",
    "distributed",
)
"""Packages that call this one on behalf of its users."""

_SHOWN: set[tuple[str, str, int]] = set()
"""Warnings given: text, file, line."""


class UnateError(Exception):
    """Base class of everything this package raises on purpose."""


class StructureError(UnateError, ValueError):
    """An input that is not a usable crystal structure."""


class WeightsError(UnateError, ValueError):
    """A weights folder that is missing, damaged, or of another format version."""


class InputError(UnateError, ValueError):
    """An argument, file or table that holds no usable structures."""


class UnateWarning(UserWarning):
    """Something the caller should know about rows that were encoded all the same."""


def warn_user(text: str) -> None:
    """Warn with :class:`UnateWarning` as if from the line of the user that led here.

    That is the first frame outside this package and outside the libraries that call it for the
    user, as scikit-learn's wrappers of ``transform`` and matminer's of ``featurize`` do.

    Where Python's filters say "default", the same text comes once from a line. Python forgets what
    it has shown whenever anyone changes the filters, as scikit-learn does for each fold.
    """
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and _is_inside(frame.f_code.co_filename, frame.f_globals):
        frame, level = frame.f_back, level + 1
    place = (text, frame.f_code.co_filename, frame.f_lineno)
    if _action(text) == "default":
        if place in _SHOWN:
            return
        _SHOWN.add(place)
    warnings.warn(text, UnateWarning, stacklevel=level)


def _action(text: str) -> str:
    """What the filters do with such a warning, those for single modules and lines apart."""
    for action, message, category, module, line in warnings.filters:
        fits = message is None or message.match(text)
        if fits and issubclass(UnateWarning, category) and module is None and not line:
            return action
    return "default"


def _is_inside(file: str, names: dict[str, object]) -> bool:
    module = str(names.get("__name__", ""))
    return _PACKAGE in Path(file).parents or any(
        module == host or module.startswith(f"{host}.") for host in _HOSTS
    )


def row_name(row: int, index: Sequence[Any] | None) -> str:
    """``row 2``, or ``row 2 (index 'NaCl')``."""
    return f"row {row}" + ("" if index is None else f" (index {plain_label(index[row])!r})")


def plain_label(label: Any) -> Any:
    """A label as people write it: ``2`` and not ``np.int64(2)``."""
    if isinstance(label, tuple):
        return tuple(plain_label(part) for part in label)
    return label.item() if hasattr(label, "item") else label
