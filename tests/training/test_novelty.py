"""Crystals that ``training/novelty.py`` makes of ordinary ones."""

from __future__ import annotations

import numpy as np
import pytest
from real_crystals import crystals

from novelty import CHANGES, exchanged, molecules, replaced

NAMED = crystals()
RNG = np.random.default_rng(0)


def test_changes_change_what_they_say() -> None:
    zinc = NAMED["ZnO wurtzite"]
    swapped = exchanged(zinc, RNG)
    assert swapped is not None
    assert sorted(swapped.atomic_numbers) == sorted(zinc.atomic_numbers)
    assert list(swapped.atomic_numbers) != list(zinc.atomic_numbers)
    assert exchanged(NAMED["Si"], RNG) is None
    other = replaced(zinc, RNG)
    assert other is not None
    assert len(set(other.atomic_numbers) & set(zinc.atomic_numbers)) == 1
    larger = CHANGES["volume + 15 %"](zinc, RNG)
    assert larger is not None
    assert larger.volume == pytest.approx(1.15 * zinc.volume)


def test_molecules_stand_alone() -> None:
    pytest.importorskip("ase")
    for molecule in molecules()[:5]:
        assert min(molecule.lattice.abc) >= 8
