"""UnateCompositionFeaturizer: values, formulas of all kinds, and the contracts of its hosts."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matminer.featurizers.base import MultipleFeaturizer
from matminer.featurizers.composition import ElementFraction
from pymatgen.core import Composition
from sklearn.base import clone
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils import estimator_checks

from matminer_unate import UnateCompositionFeaturizer, UnateElementData
from matminer_unate.datasets import load_semiconductors
from matminer_unate.errors import InputError, StructureError, UnateWarning

FORMULAS = ["NaCl", "SrTiO3", "Si", "Ga0.3In0.7As"]


@pytest.fixture
def featurizer(weights_with_elements: Path) -> UnateCompositionFeaturizer:
    return UnateCompositionFeaturizer(weights_with_elements)


@pytest.fixture
def frame() -> pd.DataFrame:
    compositions = [Composition(formula) for formula in FORMULAS]
    return pd.DataFrame({"composition": compositions, "y": [1.0, 2.0, 3.0, 4.0]}, index=FORMULAS)


def test_columns_are_statistics_of_the_vectors_over_atoms_and_elements(
    featurizer: UnateCompositionFeaturizer, weights_with_elements: Path
) -> None:
    data = UnateElementData(weights_with_elements)
    atoms = np.array([data.vector(e) for e in ("Sr", "Ti", "O", "O", "O")], dtype=float)
    expected = [atoms.mean(0), atoms.std(0), atoms.min(0), atoms.max(0), np.ptp(atoms, axis=0)]
    found = np.array(featurizer.featurize("SrTiO3"))
    np.testing.assert_allclose(found, np.concatenate(expected), atol=1e-6)
    labels = featurizer.feature_labels()
    assert labels[0] == "unate_tiny_composition_mean_z_000"
    assert labels[-1] == "unate_tiny_composition_range_z_007"
    assert len(set(labels)) == len(labels) == len(found)
    table = featurizer.describe_columns()
    assert list(table["name"]) == labels
    assert table["meaning"].is_unique


@pytest.mark.parametrize(
    "same",
    [
        Composition("SrTiO3"),
        "Sr2Ti2O6",
        {"Sr": 1, "Ti": 1, "O": 3},
        {"O": 0.6, "Ti": 0.2, "Sr": 0.2},
        Composition({"Sr2+": 1, "Ti4+": 1, "O2-": 3}),
        Composition("SrTiO3").fractional_composition,
    ],
)
def test_only_the_shares_of_the_atoms_count(
    featurizer: UnateCompositionFeaturizer, same: Any
) -> None:
    expected = featurizer.featurize("SrTiO3")
    np.testing.assert_allclose(featurizer.featurize(same), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (None, "formula is missing"),
        (float("nan"), "formula is missing"),
        ("", "'' is no formula"),
        ("banana", "'banana' is no formula"),
        ("Fe-2", "is no formula"),
        ("Fe0", "holds no atoms"),
        ({}, "holds no atoms"),
        ("XO2", "is no formula"),
        (7, "expected a formula .*, got int"),
        (["Fe"], "got list"),
        ("PoO2", "'tiny' have no vector of Po, which 'PoO2' holds"),
    ],
)
def test_bad_formulas_are_named_or_rows_of_nan(
    featurizer: UnateCompositionFeaturizer, bad: Any, message: str
) -> None:
    with pytest.raises(StructureError, match=message):
        featurizer.featurize(bad)
    assert not featurizer.precheck(bad)
    rows = pd.Series(["NaCl", bad], index=["salt", "other"], dtype=object)
    with pytest.raises(StructureError, match=rf"^row 1 \(index 'other'\): .*{message}"):
        featurizer.transform(rows)
    lenient = clone(featurizer).set_params(on_error="nan")
    with pytest.warns(UnateWarning, match=rf"1 of 2 rows could not .*{message}"):
        found = lenient.transform(rows)
    assert np.isfinite(found[0]).all()
    assert np.isnan(found[1]).all()
    with pytest.warns(UnateWarning, match="^the formula could not be encoded"):
        assert np.isnan(lenient.featurize(bad)).all()


@pytest.mark.parametrize("names", ["mode", (), ("mean", "mean"), 3])
def test_wrong_statistics_are_named(featurizer: UnateCompositionFeaturizer, names: Any) -> None:
    with pytest.raises(InputError, match="mean, std, min, max, range"):
        featurizer.set_params(statistics=names).featurize("NaCl")


@pytest.mark.parametrize("over_entries", [True, False])
@pytest.mark.parametrize("multiindex", [True, False])
def test_in_a_multiple_featurizer_rows_are_its_own(
    featurizer: UnateCompositionFeaturizer,
    frame: pd.DataFrame,
    over_entries: bool,
    multiindex: bool,
) -> None:
    expected = featurizer.transform(frame["composition"])
    bad = frame.assign(composition=[*frame["composition"][:3], None])
    both = MultipleFeaturizer([ElementFraction(), featurizer], iterate_over_entries=over_entries)
    both.set_n_jobs(1)
    out = both.featurize_dataframe(
        bad, "composition", ignore_errors=True, multiindex=multiindex, pbar=False
    )
    assert out.index.equals(frame.index)
    values = out.iloc[:, -expected.shape[1] :].to_numpy(dtype=float)
    np.testing.assert_allclose(values[:3], expected[:3], atol=1e-6)
    assert np.isnan(values[3]).all()


def test_frames_keep_rows_index_and_errors(
    featurizer: UnateCompositionFeaturizer, frame: pd.DataFrame
) -> None:
    shuffled = frame.sample(frac=1, random_state=1)
    out = featurizer.featurize_dataframe(shuffled, "composition", pbar=False)
    assert out.index.equals(shuffled.index)
    assert set(out.dtypes.iloc[2:]) == {np.dtype("float32")}
    texts = pd.DataFrame({"formula": ["NaCl", "x!"]})
    told = featurizer.featurize_dataframe(
        texts, "formula", ignore_errors=True, return_errors=True, pbar=False
    )
    assert "'x!' is no formula" in told["UnateCompositionFeaturizer Exceptions"][1]
    assert featurizer.precheck_dataframe(texts, "formula") == 0.5
    assert featurizer.featurize_many([], pbar=False) == []


def test_pipelines_and_searches_over_statistics_work(
    featurizer: UnateCompositionFeaturizer,
) -> None:
    df = load_semiconductors().head(30)
    pipeline = make_pipeline(featurizer, Ridge())
    choices = {"unatecompositionfeaturizer__statistics": ["mean", ("mean", "std")]}
    with warnings.catch_warnings():
        warnings.simplefilter("error", UnateWarning)
        search = GridSearchCV(pipeline, choices, cv=3, error_score="raise")
        search.fit(df["formula"], df["gap_ev"])
    named = clone(featurizer).set_output(transform="pandas").transform(df["formula"])
    assert named.index.equals(df.index)
    assert list(named) == featurizer.feature_labels()


CHECKS = [
    estimator_checks.check_estimator_cloneable,
    estimator_checks.check_estimator_tags_renamed,
    estimator_checks.check_valid_tag_types,
    estimator_checks.check_estimator_repr,
    estimator_checks.check_no_attributes_set_in_init,
    estimator_checks.check_parameters_default_constructible,
    estimator_checks.check_get_params_invariance,
    estimator_checks.check_set_params,
]


@pytest.mark.parametrize("check", CHECKS)
def test_scikit_learns_own_checks_pass(check: Any, featurizer: UnateCompositionFeaturizer) -> None:
    check("UnateCompositionFeaturizer", featurizer)


def test_matminers_mixin_order_is_the_one_known_departure(
    featurizer: UnateCompositionFeaturizer,
) -> None:
    # BaseFeaturizer lists BaseEstimator before TransformerMixin and a subclass cannot reorder them.
    with pytest.raises(AssertionError, match="mixin"):
        estimator_checks.check_mixin_order("UnateCompositionFeaturizer", featurizer)
