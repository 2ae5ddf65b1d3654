"""A crystal that is taken apart once."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure
from real_crystals import crystals

from matminer_unate import SiteDescriptorStats, TightBindingStats, UnateFeaturizer
from matminer_unate.crystals import checked
from matminer_unate.crystals.checked import CheckedCrystal
from matminer_unate.crystals.structures import crystal_arrays
from matminer_unate.errors import StructureError


def test_it_says_what_the_functions_say() -> None:
    structure = crystals()["TiO2 rutile"] * (2, 1, 1)
    crystal = CheckedCrystal.of(structure)
    assert CheckedCrystal.of(crystal) is crystal
    assert len(crystal) == 12
    for mine, expected in zip(crystal.arrays, crystal_arrays(structure), strict=True):
        np.testing.assert_array_equal(mine, expected)
    assert crystal.volume == pytest.approx(structure.volume)
    assert crystal.reduced_counts == ((8, 2), (22, 1))
    assert crystal.symmetry == (136, 6)
    assert len(crystal.primitive_cell[2]) == 6


@pytest.mark.parametrize(
    "featurizer",
    [
        UnateFeaturizer(device="cpu"),
        SiteDescriptorStats(descriptors="all"),
        TightBindingStats(),
    ],
    ids=lambda f: type(f).__name__,
)
def test_featurizers_take_it_in_place_of_a_structure(featurizer) -> None:
    structures = [crystals()["NaCl"], crystals()["TiO2 rutile"] * (2, 1, 1)]
    expected = featurizer.transform(structures)
    found = featurizer.transform([CheckedCrystal(s) for s in structures])
    np.testing.assert_array_equal(found, expected)


def test_it_can_be_pickled_while_more_is_found_out() -> None:
    crystal = CheckedCrystal(crystals()["TiO2 rutile"])
    graph = crystal.graph(4.5)
    state, of_graph = crystal.__getstate__(), graph.__getstate__()
    _ = crystal.formula, crystal.graph(5.0), graph.digest
    assert "formula" not in state
    assert list(state["_graphs"]) == [4.5]
    assert "digest" not in of_graph
    again = pickle.loads(pickle.dumps(crystal))
    assert again.digest == crystal.digest
    assert again.graph(4.5).digest == graph.digest


def test_graphs_are_built_once_by_cutoff_unless_they_are_not_kept(monkeypatch) -> None:
    built, usual = [], checked.radius_graph
    monkeypatch.setattr(checked, "radius_graph", lambda *a: built.append(a[-1]) or usual(*a))
    crystal = CheckedCrystal(crystals()["Si"])
    assert crystal.graph(4.5) is crystal.graph(4.5)
    crystal.graph(5.0)
    assert built == [4.5, 5.0]
    before = crystal.graph(4.5)
    crystal.forget_graphs()
    assert crystal.graph(4.5).digest == before.digest
    crystal.graph(4.5)
    assert built == [4.5, 5.0, 4.5, 4.5]


def test_atoms_that_are_too_close_are_found_with_a_graph_and_without() -> None:
    crystal = CheckedCrystal(Structure(Lattice.cubic(4), ["Na", "Cl"], [[0, 0, 0], [0, 0, 0.05]]))
    with pytest.raises(StructureError, match=r"sites 0 and 1 are 0\.2 Å apart"):
        crystal.check()
    with pytest.raises(StructureError, match=r"0\.2 Å apart"):
        crystal.graph(4.5)
