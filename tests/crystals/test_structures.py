"""Structures → arrays: which sites are whole."""

from __future__ import annotations

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from matminer_unate import UnateCompositionFeaturizer, ordered_structure
from matminer_unate.crystals.checked import CheckedCrystal
from matminer_unate.crystals.structures import crystal_arrays
from matminer_unate.errors import StructureError


def cscl(*species: object) -> Structure:
    return Structure(Lattice.cubic(3.2), list(species), [[0] * 3, [0.5] * 3])


WHOLE = {
    "two charges": (cscl({"Fe2+": 0.5, "Fe3+": 0.5}, "O"), [26, 8]),
    "three charges": (cscl({"Fe2+": 1 / 3, "Fe3+": 1 / 3, "Fe": 1 / 3}, "O2-"), [26, 8]),
    "isotopes": (cscl({"H": 0.5, "D": 0.5}, "Cl"), [1, 17]),
    "isotopes with charges": (cscl({"H+": 0.2, "D+": 0.8}, "F-"), [1, 9]),
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_site_that_one_element_shares_with_itself_is_whole(name: str) -> None:
    structure, numbers = WHOLE[name]
    assert crystal_arrays(structure)[2].tolist() == numbers
    for disorder in ("raise", "ordered", "average"):
        crystal = CheckedCrystal(structure, disorder)
        assert crystal.atomic_numbers.tolist() == numbers
        assert crystal.resolution == ""
        assert crystal.given_sites is None
    assert list(ordered_structure(structure).atomic_numbers) == numbers
    plain = cscl(*numbers)
    assert crystal.formula == CheckedCrystal(plain).formula
    formulas = [structure.composition, plain.composition]
    columns = UnateCompositionFeaturizer().transform(formulas)
    np.testing.assert_allclose(columns[0], columns[1], rtol=1e-6)


@pytest.mark.parametrize(
    "shares", [{"Fe2+": 0.5, "Fe3+": 0.4}, {"Fe2+": 0.5, "Co2+": 0.5}, {"H": 0.5, "He": 0.5}]
)
def test_a_site_with_gaps_or_of_two_elements_is_not(shares: dict[str, float]) -> None:
    with pytest.raises(StructureError, match="site 0 is disordered"):
        crystal_arrays(cscl(shares, "O"))
