"""Contributions of sites: what is exact, and what they sum to."""

from __future__ import annotations

import copy

import numpy as np
import pandas as pd
import pytest
from disordered_crystals import disordered_crystals
from real_crystals import crystals
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from matminer_unate import (
    UnateFeaturizer,
    UnateRegressor,
    ordered_structure,
    site_contributions,
)
from matminer_unate.errors import InputError, StructureError
from matminer_unate.explanation.site_columns import learned_of_sites
from matminer_unate.explanation.site_contributions import along_the_diagonal
from matminer_unate.regressors import blend as regressor_parts

NAMED = crystals()
S = list(NAMED.values())
Y = np.array([s.density for s in S])
SPINEL = NAMED["MgAl2O4 spinel"]

replaced = pytest.mark.filterwarnings("ignore:1 row.s. hold:matminer_unate.errors.UnateWarning")
"""What is said of a crystal that an ordered one stands for."""


@pytest.fixture(scope="module")
def featurizer(tiny_weights) -> UnateFeaturizer:
    return UnateFeaturizer(tiny_weights, pooling=("std", "mean"), device="cpu")


@pytest.fixture(scope="module")
def columns(featurizer) -> np.ndarray:
    return featurizer.transform(S)


def check_sum(found) -> None:
    total = found.base + found.sites.sum() + found.rest
    assert total == pytest.approx(found.prediction, abs=1e-9)


def test_contributions_to_a_linear_model_are_its_weights_times_the_sites(
    featurizer, columns
) -> None:
    model = Ridge(1.0).fit(columns, Y)
    found = site_contributions(model, SPINEL, columns, featurizer, n_steps=3)
    vectors = learned_of_sites(featurizer, SPINEL).astype(np.float64)
    weights, mean = model.coef_[vectors.shape[1] :], columns.mean(axis=0)[vectors.shape[1] :]
    expected = (vectors - mean) @ weights / len(SPINEL)
    np.testing.assert_allclose(found.sites, expected, atol=1e-7)
    own = featurizer.transform([SPINEL])[0].astype(np.float64)
    rest = (own - columns.mean(axis=0))[: vectors.shape[1]] @ model.coef_[: vectors.shape[1]]
    assert found.rest == pytest.approx(rest, abs=1e-6)
    assert found.base == pytest.approx(Y.mean(), abs=1e-6)
    assert found.prediction == pytest.approx(model.predict(own[None])[0])
    check_sum(found)


@pytest.mark.parametrize("name", ["kernel", "trees"])
def test_contributions_sum_to_the_prediction_of_any_model(name, featurizer, columns) -> None:
    of_kernel = make_pipeline(StandardScaler(), KernelRidge(kernel="rbf", gamma=0.01, alpha=1e-3))
    trees = ExtraTreesRegressor(20, random_state=0)
    model = {"kernel": of_kernel, "trees": trees}[name].fit(columns, Y)
    for structure in (SPINEL, NAMED["P2I4 (triclinic)"]):
        found = site_contributions(model, structure, columns, featurizer, n_steps=8)
        assert found.prediction == pytest.approx(
            model.predict(featurizer.transform([structure]).astype(np.float64))[0]
        )
        check_sum(found)


def test_contributions_to_a_kernel_model_are_integrated_gradients(featurizer, columns) -> None:
    gamma, alpha = 0.02, 1e-3
    model = KernelRidge(kernel="rbf", gamma=gamma, alpha=alpha).fit(columns.astype(np.float64), Y)
    found = site_contributions(model, SPINEL, columns, featurizer)
    vectors = learned_of_sites(featurizer, SPINEL).astype(np.float64)
    start, end = columns.mean(axis=0), featurizer.transform([SPINEL])[0].astype(np.float64)
    nodes, weights = np.polynomial.legendre.leggauss(60)
    slope = np.zeros(len(start))
    for t, w in zip((nodes + 1) / 2, weights / 2, strict=True):
        x = start + t * (end - start)
        kernel = np.exp(-gamma * ((x - columns) ** 2).sum(axis=1))
        slope += w * ((model.dual_coef_ * kernel) @ (-2 * gamma * (x - columns)))
    n = vectors.shape[1]
    expected = (vectors - start[n:]) @ slope[n:] / len(SPINEL)
    np.testing.assert_allclose(found.sites, expected, atol=1e-4 * np.abs(expected).max())


def test_contributions_are_those_of_every_cell_and_of_equal_sites(featurizer, columns) -> None:
    model = KernelRidge(kernel="rbf", gamma=0.02, alpha=1e-3).fit(columns.astype(np.float64), Y)
    quartz = NAMED["SiO2 quartz"]
    one = site_contributions(model, quartz, columns, featurizer)
    two = site_contributions(model, quartz * (2, 1, 1), columns, featurizer)
    np.testing.assert_allclose(two.sites, np.repeat(one.sites, 2) / 2, atol=1e-5)
    assert two.rest == pytest.approx(one.rest, abs=1e-5)
    for element in ("Si", "O"):
        same = one.sites[[k for k, site in enumerate(quartz) if site.specie.symbol == element]]
        np.testing.assert_allclose(same, same[0], rtol=1e-12)


def test_a_pipeline_of_structures_needs_no_featurizer(featurizer, columns) -> None:
    whole = make_pipeline(featurizer, StandardScaler(), Ridge(1.0)).fit(S, Y)
    parts = make_pipeline(StandardScaler(), Ridge(1.0)).fit(columns, Y)
    found = site_contributions(whole, SPINEL, S)
    expected = site_contributions(parts, SPINEL, columns, featurizer)
    np.testing.assert_allclose(found.sites, expected.sites, atol=1e-7)
    named = featurizer.set_output(transform="pandas").transform(S)
    featurizer.set_output(transform="default")
    of_frame = site_contributions(Ridge(1.0).fit(named, Y), SPINEL, named, featurizer)
    check_sum(of_frame)


def test_what_each_step_brings_is_exact_for_a_product() -> None:
    # f = a b from (0, 0) to (2, 3): both contribute half.
    steps = np.array([[2.0, 0.0], [0.0, 3.0]])
    ends, found = along_the_diagonal(lambda rows: rows.prod(axis=1), np.zeros(2), steps, 4)
    assert ends == (0.0, 6.0)
    np.testing.assert_allclose(found, [3.0, 3.0])


@replaced
def test_the_regressor_of_the_recipe_is_taken_apart_too(tiny_weights, monkeypatch) -> None:
    monkeypatch.setattr(regressor_parts, "N_TREES", 20)
    model = UnateRegressor(tiny_weights, device="cpu", n_folds=3, progress=False).fit(S, Y)
    for structure in (SPINEL, NAMED["ZnO wurtzite"]):
        found = site_contributions(model, structure, n_steps=10)
        assert found.prediction == pytest.approx(float(model.predict([structure])[0]), abs=1e-5)
        check_sum(found)
        assert np.ptp(found.sites) > 0
    alloy = disordered_crystals()["Li0.5CoO2"]
    found = site_contributions(model.set_params(disorder="ordered"), alloy, n_steps=10)
    assert found.structure == ordered_structure(alloy)
    assert found.prediction == pytest.approx(float(model.predict([alloy])[0]), abs=1e-5)
    check_sum(found)
    two = UnateRegressor(tiny_weights, tight_binding=False, device="cpu", n_folds=3, progress=False)
    two.fit(S, np.column_stack([Y, -Y]))
    with pytest.raises(InputError, match="one target"):
        site_contributions(two, SPINEL)


@replaced
@pytest.mark.parametrize("name", ["CuAu", "Li0.5CoO2"])
def test_of_a_disordered_crystal_they_are_those_of_the_ordered_one(name, tiny_weights) -> None:
    given = disordered_crystals()[name]
    featurizer = UnateFeaturizer(tiny_weights, device="cpu", disorder="ordered")
    model = make_pipeline(featurizer, Ridge(1.0)).fit(S, Y)
    found = site_contributions(model, given, S, n_steps=2)
    assert found.structure == ordered_structure(given)
    assert len(found.sites) == len(found.structure)
    expected = site_contributions(model, found.structure, S, n_steps=2)
    np.testing.assert_allclose(found.sites, expected.sites, atol=1e-6)
    assert found.prediction == pytest.approx(model.predict([given])[0], abs=1e-5)
    check_sum(found)
    model[0].set_params(disorder="average")
    with pytest.raises(InputError, match="are averages, contributions are of whole atoms"):
        site_contributions(model, given, S)
    model[0].set_params(disorder="raise")
    with pytest.raises(StructureError, match="disorder='ordered'"):
        site_contributions(model, given, S)


def test_unusable_rows_of_the_reference_are_left_out(tiny_weights, columns) -> None:
    featurizer = UnateFeaturizer(
        tiny_weights, pooling=("std", "mean"), device="cpu", on_error="nan"
    )
    model = Ridge().fit(columns, Y)
    expected = site_contributions(model, SPINEL, columns, featurizer, n_steps=2)
    with_nan = np.vstack([np.full_like(columns[:1], np.nan), columns])
    frame = pd.DataFrame(with_nan, columns=featurizer.feature_labels())
    frame = frame[frame.columns[::-1]].assign(gap=1.0)
    for reference in (with_nan, frame):
        found = site_contributions(model, SPINEL, reference, featurizer, n_steps=2)
        assert found.base == pytest.approx(expected.base, abs=1e-6)
        np.testing.assert_allclose(found.sites, expected.sites, atol=1e-6)
    for reference, message in [
        (with_nan[:1], "no row of the reference is usable"),
        (frame.iloc[:, 1:], "the reference has no column"),
    ]:
        with pytest.raises(InputError, match=message):
            site_contributions(model, SPINEL, reference, featurizer)


def test_a_model_whose_options_were_changed_is_to_be_fitted_again(fitted) -> None:
    changed = copy.copy(fitted).set_params(tight_binding=not fitted.tight_binding)
    with pytest.raises(InputError, match="fit again, or set"):
        site_contributions(changed, SPINEL)


def test_what_does_not_go_together_is_told(featurizer, columns) -> None:
    model = Ridge().fit(columns, Y)
    for arguments, message in [
        ((model, SPINEL, columns), "pass featurizer="),
        ((model, SPINEL, None, featurizer), "reference= needs"),
        ((model, SPINEL, columns[:, 1:], featurizer), "the reference has"),
        ((model, SPINEL, columns, featurizer, 0), "n_steps"),
        (
            (Ridge().fit(columns, np.column_stack([Y, Y])), SPINEL, columns, featurizer),
            "it must be one",
        ),
        (
            (model, SPINEL, columns, UnateFeaturizer(featurizer.weights, "std")),
            "no means over sites",
        ),
    ]:
        with pytest.raises(InputError, match=message):
            site_contributions(*arguments)
