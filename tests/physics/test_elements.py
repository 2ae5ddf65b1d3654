"""Tabulated properties of the elements."""

from __future__ import annotations

import numpy as np
import pytest
from matminer.utils.data import MagpieData
from pymatgen.core import Element

from matminer_unate.physics.elements import is_tabulated, magpie_property


@pytest.fixture(scope="module")
def magpie() -> MagpieData:
    return MagpieData(impute_nan=True)


def test_properties_are_those_of_matminer(magpie: MagpieData) -> None:
    for name in ("Electronegativity", "CovalentRadius", "NValence", "Row", "GSbandgap"):
        expected = [magpie.get_elemental_property(Element.from_Z(z), name) for z in range(1, 119)]
        np.testing.assert_array_equal(magpie_property(name)[1:], expected, err_msg=name)


def test_noble_gases_and_the_heaviest_elements_are_not_tabulated() -> None:
    missing = {Element.from_Z(z).symbol for z in range(1, 119) if not is_tabulated()[z]}
    assert {"He", "Ne", "Ar", "Rn", "Bk", "Og"} <= missing
    assert not {"H", "O", "Kr", "Xe", "Cs", "La", "U", "Cm"} & missing
