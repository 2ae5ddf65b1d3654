"""The package's exceptions.

Every mistake a caller can make is an :class:`UnateError` and a ``ValueError``. The constructors
take one string, because matminer re-raises errors as ``type(error)(message)``.
"""

from __future__ import annotations

import re
import sys
import warnings
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
)
"""Packages that call this one on behalf of its users."""

_shown: set[tuple[str, int, str]] = set()
"""Warnings given: file, line, text."""


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
    user, as scikit-learn's wrappers of ``transform`` and matminer's of ``featurize`` do. Unless a
    filter says otherwise, one text is shown once for each line.
    """
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and _is_inside(frame.f_code.co_filename, frame.f_globals):
        frame, level = frame.f_back, level + 1
    # By default Python would do so too, but forgets what it has shown whenever somebody touches the
    # filters, and scikit-learn does before each fold.
    place = (frame.f_code.co_filename, frame.f_lineno, text)
    if not any(_is_for_us(text, *which) for _, *which in warnings.filters):
        if place in _shown:
            return
        _shown.add(place)
    warnings.warn(text, UnateWarning, stacklevel=level)


def _is_for_us(text: str, message: Any, category: Any, *where: Any) -> bool:
    """Whether a warning filter decides on this text, wherever it may be given."""
    return issubclass(UnateWarning, category) and (message is None or bool(re.match(message, text)))


def _is_inside(file: str, names: dict[str, object]) -> bool:
    module = str(names.get("__name__", ""))
    return _PACKAGE in Path(file).parents or any(
        module == host or module.startswith(f"{host}.") for host in _HOSTS
    )
