"""The package's exceptions.

Every mistake a caller can make is an :class:`UnateError` and a ``ValueError``. The constructors
take one string, because matminer re-raises errors as ``type(error)(message)``.
"""

from __future__ import annotations


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
