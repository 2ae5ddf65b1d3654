"""UnateElementData under what matminer asks of a data source."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matminer.featurizers.composition import ElementProperty
from matminer.utils.data import AbstractData
from pymatgen.core import Composition, Element, Species

from matminer_unate import UnateCompositionFeaturizer, UnateElementData
from matminer_unate.errors import InputError


@pytest.fixture
def data(weights_with_elements: Path) -> UnateElementData:
    return UnateElementData(weights_with_elements)


def test_it_is_a_data_source_of_matminer(data: UnateElementData) -> None:
    assert isinstance(data, AbstractData)
    assert data.prop_names == [f"z_{k:03d}" for k in range(8)]
    iron = [data.get_elemental_property(Element("Fe"), name) for name in data.prop_names]
    assert all(type(value) is float for value in iron)
    np.testing.assert_array_equal(iron, data.to_frame().loc["Fe", data.prop_names])
    for same in ("Fe", Species("Fe", 3), "Fe3+"):
        assert data.get_elemental_property(same, "z_003") == iron[3]
    assert data.get_elemental_property(Element("D"), "z_000") == data.get_elemental_property(
        "H", "z_000"
    )
    both = data.get_elemental_properties(["Fe", "O"], "z_001")
    assert both == [iron[1], data.get_elemental_property("O", "z_001")]


def test_unknown_elements_are_nan_or_the_mean_over_the_elements(
    data: UnateElementData, weights_with_elements: Path
) -> None:
    assert np.isnan(data.get_elemental_property("Po", "z_000"))
    filled = UnateElementData(weights_with_elements, impute_nan=True)
    expected = data.to_frame()["z_000"].mean()
    assert filled.get_elemental_property("Po", "z_000") == pytest.approx(expected, abs=1e-6)
    assert filled.get_elemental_property("Fe", "z_000") == data.get_elemental_property(
        "Fe", "z_000"
    )


@pytest.mark.parametrize(
    ("elem", "name", "message"),
    [
        ("Qq", "z_000", "'Qq' is no element"),
        (26, "z_000", "26 is no element"),
        ("Fe", "Number", "no property 'Number'; there are z_000 to z_007"),
        ("Fe", "z_008", "no property 'z_008'"),
        ("Fe", "z_", "no property 'z_'"),
    ],
)
def test_what_is_no_element_or_property_is_named(
    data: UnateElementData, elem: Any, name: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        data.get_elemental_property(elem, name)


def test_in_element_property_it_gives_the_columns_of_the_composition_featurizer(
    data: UnateElementData, weights_with_elements: Path
) -> None:
    featurizer = ElementProperty(
        data, data.prop_names, ["mean", "minimum", "maximum", "range"], impute_nan=False
    )
    assert featurizer.feature_labels()[0] == "UnateElementData mean z_000"
    ours = UnateCompositionFeaturizer(weights_with_elements, ["mean", "min", "max", "range"])
    for formula in ("SrTiO3", "Fe", "Li0.9Ni1.1O2"):
        theirs = np.array(featurizer.featurize(Composition(formula))).reshape(8, 4)
        np.testing.assert_allclose(ours.featurize(formula), theirs.T.ravel(), atol=1e-5)
    assert np.isnan(featurizer.featurize(Composition("PoO2"))).any()


def test_it_says_what_it_is_and_its_pickle_holds_no_table(data: UnateElementData) -> None:
    assert repr(UnateElementData()) == "UnateElementData(weights='mp_v3', impute_nan=False)"
    data.to_frame()
    content = pickle.dumps(data)
    assert len(content) < 500
    assert pickle.loads(content).to_frame().equals(data.to_frame())


def test_the_frame_tells_how_much_of_a_vector_is_the_elements_own() -> None:
    frame = UnateElementData().to_frame()
    assert frame.shape == (89, 130)
    assert frame.loc["He", "n_crystals"] == 2
    assert frame.loc["He", "own_share"] < frame.loc["Xe", "own_share"] < 1
