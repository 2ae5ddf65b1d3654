"""Crystals that ``training/disorder.py`` mixes."""

from __future__ import annotations

import numpy as np
import pytest
from real_crystals import crystals

from disorder import arrangements, disordered, ends, judge, mixed_crystals
from matminer_unate import CellStats

NAMED = crystals()


def test_half_of_an_element_is_exchanged_or_taken_away() -> None:
    (exchanged,) = mixed_crystals([NAMED["Si"], NAMED["SrTiO3"]], "exchanged")
    assert exchanged[2:] == ("Sr", "Ba")
    assert disordered(exchanged).formula == "Ba0.5 Sr0.5 Ti1 O3"
    cells = arrangements(exchanged, (2, 2, 2), 3, np.random.default_rng(0))
    assert {cell.formula for cell in cells} == {"Ba4 Sr4 Ti8 O24"}
    assert [cell.formula for cell in ends(exchanged)] == ["Sr1 Ti1 O3", "Ba1 Ti1 O3"]
    (taken,) = mixed_crystals([NAMED["NaCl"]], "taken away")
    assert taken[2:] == ("Na", None)
    assert disordered(taken).formula == "Na2 Cl4"
    (cell,) = arrangements(taken, (2, 1, 1), 1, np.random.default_rng(0))
    assert cell.formula == "Na4 Cl8"
    assert ends(taken) == [NAMED["NaCl"]]


@pytest.mark.filterwarnings("ignore::matminer_unate.errors.UnateWarning")
def test_distances_are_told_of_everything_that_may_stand_for_a_crystal() -> None:
    cases = list(mixed_crystals([NAMED["SrTiO3"]], "exchanged"))
    rows = list(judge(CellStats(), list(NAMED.values()), cases, np.random.default_rng(0)))
    assert [row["stands_for_it"] for row in rows][:2] == ["ordered", "one random supercell"]
    assert all(np.isfinite(row["distance"]) for row in rows)
