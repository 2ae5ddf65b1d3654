"""Crystals to fit to."""

from __future__ import annotations

import pytest
from small_corpora import prototypes


@pytest.fixture(scope="module")
def structures(request: pytest.FixtureRequest) -> list:
    """As many structure types, of elements that the tiny weights know, as the module has in N."""
    return [s for s in prototypes() if max(s.atomic_numbers) <= 83][: request.module.N]
