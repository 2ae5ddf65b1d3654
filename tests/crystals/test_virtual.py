"""The average of a disordered crystal."""

from __future__ import annotations

import numpy as np
import pytest
from disordered_crystals import another_cell, disordered_crystals
from pymatgen.core import Lattice, Structure
from real_crystals import crystals

from matminer_unate import SiteDescriptorStats, UnateFeaturizer, UnateIndex, UnateNovelty
from matminer_unate.crystals.checked import CheckedCrystal
from matminer_unate.crystals.ordering import PartialSites
from matminer_unate.crystals.structures import crystal_arrays
from matminer_unate.crystals.virtual import VirtualCrystal
from matminer_unate.errors import InputError, UnateWarning
from matminer_unate.featurizers.pooling import pool
from matminer_unate.featurizers.rows import PreparedCrystal
from matminer_unate.network.weights import weights_config

DISORDERED = disordered_crystals()
CUTOFF = weights_config("mp_v3").cutoff


@pytest.fixture(scope="module")
def featurizer() -> UnateFeaturizer:
    pooling = ("mean", "std", "min", "max")
    return UnateFeaturizer(pooling=pooling, device="cpu", disorder="average")


def halves(name: str) -> VirtualCrystal:
    """An ordered crystal whose every atom is in two parts, as if they were two elements."""
    lattice, frac_coords, numbers = crystal_arrays(crystals()[name])
    elements = sorted(set(numbers.tolist()))
    held = np.equal.outer(numbers, elements)
    occupancy = np.hstack([0.3 * held, 0.7 * held])
    given = lattice, frac_coords, (*elements, *elements), occupancy, np.zeros_like(occupancy)
    return VirtualCrystal(PartialSites(*given))


@pytest.mark.parametrize("name", ["NaCl", "SrTiO3", "SiO2 quartz"])
def test_parts_of_the_same_element_are_the_whole_atom(
    name: str, featurizer: UnateFeaturizer
) -> None:
    graph = halves(name).graph(CUTOFF)
    ((_, found),) = featurizer._describe(iter([(0, PreparedCrystal(graph, frozenset()))]))
    expected = featurizer.transform([crystals()[name]])
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_the_graph_joins_all_parts_of_two_sites_and_none_of_one() -> None:
    alloy = Structure(Lattice.cubic(3.0), [{"Cu": 0.25, "Au": 0.5}, "Zn"], [[0, 0, 0], [0.5] * 3])
    crystal = CheckedCrystal(alloy, "average")
    assert crystal.resolution == "average"
    graph = crystal.graph(2.9)
    assert graph.atomic_numbers.tolist() == [29, 79, 30]
    assert graph.occupancy is not None
    np.testing.assert_allclose(graph.occupancy, [0.25, 0.5, 1])
    pairs, counts = np.unique(graph.edge_index.T, axis=0, return_counts=True)
    assert pairs.tolist() == [[0, 2], [1, 2], [2, 0], [2, 1]]
    assert counts.tolist() == [8, 8, 8, 8]
    assert (np.diff(graph.edge_index[1]) >= 0).all()
    with_images = crystal.graph(3.1)
    own = with_images.edge_index[:, with_images.edge_index.max(axis=0) < 2]
    assert len(own.T) == 6 * 4  # both parts see both, in the next cells
    assert crystal.formula == "Zn1Cu0.25Au0.5"


def test_split_positions_do_not_see_each_other() -> None:
    split = Structure(
        Lattice.cubic(4.0),
        ["Cl", {"Na": 0.5}, {"Na": 0.5}],
        [[0.5, 0.5, 0.5], [0, 0, 0.08], [0, 0, -0.08]],
    )
    graph = CheckedCrystal(split, "average").graph(3.9)
    assert np.linalg.norm(graph.edge_vector, axis=1).min() > 2
    assert graph.atomic_numbers.tolist() == [17, 11, 11]


@pytest.mark.parametrize("name", DISORDERED)
def test_columns_are_the_same_in_every_cell(name: str, featurizer: UnateFeaturizer) -> None:
    structures = [DISORDERED[name], another_cell(DISORDERED[name])]
    with pytest.warns(UnateWarning, match=r"2 row\(s\) hold .*; their elements count with their"):
        one, other = featurizer.transform(structures)
    np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)


def test_occupancies_of_0_and_1_are_the_ordered_crystal_and_others_lie_between(
    featurizer: UnateFeaturizer,
) -> None:
    def titanate(x: float) -> Structure:
        species = [{"Ba": 1 - x, "Sr": x}, "Ti", "O", "O", "O"]
        places = [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
        return Structure(Lattice.cubic(3.95), species, places)

    given = [titanate(x) for x in (0, 1e-5, 0.5, 1 - 1e-5, 1)]
    with pytest.warns(UnateWarning, match=r"3 row\(s\) hold sites of mixed or partial"):
        barium, nearly, half, nearly_all, strontium = featurizer.transform(given)
    whole = UnateFeaturizer(pooling=featurizer.pooling, device="cpu")
    expected = whole.transform([given[0], given[-1]])
    np.testing.assert_allclose([barium, strontium], expected, rtol=1e-5, atol=1e-5)
    means = ["_mean_l" in label for label in whole.feature_labels()]
    np.testing.assert_allclose(nearly[means], barium[means], atol=1e-4)
    np.testing.assert_allclose(nearly_all[means], strontium[means], atol=1e-4)
    far = np.linalg.norm(strontium[means] - barium[means])
    middle = (barium[means] + strontium[means]) / 2
    assert np.linalg.norm(half[means] - middle) < 0.3 * far


def test_pooling_counts_sites_with_their_occupancies() -> None:
    sites = np.array([[1.0], [3.0], [5.0], [2.0]], np.float32)
    start, occupancy = np.array([0, 3, 4]), np.array([0.5, 0.5, 1.0, 0.25], np.float32)
    found = pool(sites, start, ("mean", "std", "min", "max", "sum"), occupancy)
    repeated = np.array([1.0, 3.0, 5.0, 5.0])
    expected = [[3.5, repeated.std(), 1, 5, 7], [2, 0, 2, 2, 0.5]]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_an_index_finds_an_alloy_between_its_ends() -> None:
    named = crystals()
    mixed = named["ZnO wurtzite"].copy()
    mixed.replace_species({"Zn": {"Zn": 0.5, "Mg": 0.5}})
    index = UnateIndex([named["Si"], named["ZnO wurtzite"]], device="cpu", disorder="average")
    with pytest.warns(UnateWarning, match="mixed or partial"):
        assert index.query(mixed, k=1)["row"].tolist() == [1]


@pytest.mark.parametrize("made", [SiteDescriptorStats, UnateNovelty])
def test_what_knows_no_averages_says_so(made: type) -> None:
    with pytest.raises(InputError, match=r"got 'average'; averages are of UnateFeaturizer, "):
        made(disorder="average").transform([DISORDERED["CuZn"]])
