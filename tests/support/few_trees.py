"""Models of fewer trees than usual, for tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import pytest

from matminer_unate.regressors import blend


@contextmanager
def trees(number: int, module: ModuleType = blend) -> Iterator[None]:
    """Let the module grow so many trees a model."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "N_TREES", number)
        yield
