"""UnateFeaturizer: the host contracts of matminer, scikit-learn and pandas."""

from __future__ import annotations

import io
import pickle
import warnings
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
from matminer.featurizers.base import MultipleFeaturizer, StackedFeaturizer
from matminer.featurizers.function import FunctionFeaturizer
from matminer.featurizers.structure import DensityFeatures
from pymatgen.core import Lattice, Structure
from real_crystals import crystals
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.utils import estimator_checks
from sklearn.utils.validation import check_is_fitted

from matminer_unate import UnateFeaturizer
from matminer_unate.errors import InputError, StructureError, UnateWarning


@pytest.fixture
def featurizer(tiny_weights: Path) -> UnateFeaturizer:
    return UnateFeaturizer(tiny_weights, device="cpu")


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    named = crystals()
    return pd.DataFrame(
        {"structure": list(named.values()), "y": np.arange(len(named), dtype=float)},
        index=list(named),
    )


@pytest.fixture(scope="module")
def frame_with_a_bad_row(frame: pd.DataFrame) -> pd.DataFrame:
    bad = frame.copy()
    bad.iloc[2, 0] = None
    return bad


# -- values


def test_columns_are_the_pooled_site_vectors(featurizer: UnateFeaturizer) -> None:
    structure = crystals()["SiO2 quartz"]
    featurizer.set_params(pooling=("mean", "std", "min", "max", "sum"))
    mean, std, low, high, total = np.split(np.array(featurizer.featurize(structure)), 5)
    assert (low <= mean).all()
    assert (mean <= high).all()
    assert (std >= 0).all()
    np.testing.assert_allclose(total, 9 * mean, rtol=1e-5, atol=1e-5)


def test_embed_sites_gives_one_float32_vector_a_site(featurizer: UnateFeaturizer) -> None:
    vectors = featurizer.embed_sites(crystals()["SrTiO3"])
    assert vectors.shape == (5, 8)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors[2], vectors[4], atol=1e-5)  # equivalent oxygens


def test_embed_sites_of_many_gives_an_array_for_each_in_their_order(
    featurizer: UnateFeaturizer, frame: pd.DataFrame
) -> None:
    expected = [featurizer.embed_sites(structure) for structure in frame["structure"]]
    for many in (frame["structure"], list(frame["structure"]), frame[["structure"]]):
        found = featurizer.set_params(batch_size=500).embed_sites(many)
        assert [vectors.shape for vectors in found] == [(len(s), 8) for s in frame["structure"]]
        np.testing.assert_allclose(np.vstack(found), np.vstack(expected), atol=1e-5)
    assert featurizer.embed_sites([]) == []


def test_embed_sites_names_the_row_that_is_unusable_or_leaves_it_empty(
    featurizer: UnateFeaturizer,
) -> None:
    rows = pd.Series([crystals()["Si"], None, crystals()["Si"]], index=["a", "b", "c"])
    with pytest.raises(StructureError, match=r"^row 1 \(index 'b'\): the structure is missing"):
        featurizer.embed_sites(rows)
    with pytest.warns(UnateWarning, match=r"1 of 3 rows .* have no rows; .*'b"):
        found = featurizer.set_params(on_error="nan").embed_sites(rows)
    assert [vectors.shape for vectors in found] == [(8, 8), (0, 8), (8, 8)]
    with pytest.raises(StructureError, match=r"^the structure is missing"):
        featurizer.embed_sites(None)


def test_alone_in_a_batch_and_in_any_batch_size_agree(
    featurizer: UnateFeaturizer, frame: pd.DataFrame
) -> None:
    together = featurizer.transform(frame["structure"])
    alone = np.array([featurizer.featurize(s) for s in frame["structure"]])
    np.testing.assert_allclose(alone, together, atol=1e-5)
    for size in (1, 500, 10**6):
        other = clone(featurizer).set_params(batch_size=size).transform(frame["structure"])
        np.testing.assert_allclose(other, together, atol=1e-5)
    backwards = featurizer.transform(frame["structure"][::-1])[::-1]
    np.testing.assert_allclose(backwards, together, atol=1e-5)


def test_torchs_settings_are_left_as_they_were(
    featurizer: UnateFeaturizer, frame: pd.DataFrame
) -> None:
    import torch

    usual = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        featurizer.set_params(batch_size=100).transform(frame["structure"])
        assert torch.get_num_threads() == 3
        assert torch.is_grad_enabled()
        assert torch.get_default_dtype() == torch.float32
    finally:
        torch.set_num_threads(usual)


def test_repeated_structures_are_encoded_once(
    featurizer: UnateFeaturizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from matminer_unate.crystals import batching
    from matminer_unate.network import encoding

    seen = []

    def counting(graphs: list) -> batching.GraphBatch:
        seen.append(len(graphs))
        return batching.collate(graphs)

    monkeypatch.setattr(encoding, "collate", counting)
    a, b = crystals()["NaCl"], crystals()["Si"]
    rows = featurizer.transform([a, b, a, a.copy(), b])
    assert sum(seen) == 2
    assert (rows[[0, 0, 1]] == rows[[2, 3, 4]]).all()


# -- matminer


def test_featurize_dataframe_keeps_rows_columns_and_index(
    featurizer: UnateFeaturizer, frame: pd.DataFrame
) -> None:
    before = frame.copy()
    shuffled = frame.sample(frac=1, random_state=1)
    out = featurizer.featurize_dataframe(shuffled, "structure", pbar=False)
    assert out.index.equals(shuffled.index)
    assert list(out.columns) == ["structure", "y", *featurizer.feature_labels()]
    assert set(out.dtypes.iloc[2:]) == {np.dtype("float32")}
    expected = featurizer.transform(frame["structure"])
    np.testing.assert_allclose(out.loc[frame.index].iloc[:, 2:], expected, atol=1e-5)
    pd.testing.assert_frame_equal(frame, before)


def test_repeated_index_labels_are_kept_row_for_row(
    featurizer: UnateFeaturizer, frame: pd.DataFrame
) -> None:
    same = frame.set_axis(["x"] * len(frame))
    out = featurizer.featurize_dataframe(same, "structure", pbar=False)
    assert list(out["y"]) == list(frame["y"])
    assert out.shape == (len(frame), 2 + len(featurizer.feature_labels()))


def test_inplace_adds_the_columns_at_once(featurizer: UnateFeaturizer, frame: pd.DataFrame) -> None:
    copy = frame.copy()
    assert featurizer.featurize_dataframe(copy, "structure", inplace=True, pbar=False) is None
    pd.testing.assert_frame_equal(
        copy, featurizer.featurize_dataframe(frame, "structure", pbar=False)
    )


def test_multiindex_puts_the_columns_under_the_featurizer(
    featurizer: UnateFeaturizer, frame: pd.DataFrame
) -> None:
    before = frame.columns
    out = featurizer.featurize_dataframe(frame, "structure", multiindex=True, pbar=False)
    assert frame.columns is before
    assert set(out.columns.get_level_values(0)) == {"Input Data", "UnateFeaturizer"}
    again = UnateFeaturizer(featurizer.weights, pooling="max").featurize_dataframe(
        out, ("Input Data", "structure"), multiindex=True, pbar=False
    )
    assert again.shape[1] > out.shape[1]
    with pytest.raises(InputError, match="multiindex=True"):
        featurizer.featurize_dataframe(out, ("Input Data", "structure"), pbar=False)
    copy = frame.copy()
    with pytest.warns(UserWarning, match="changes the columns"):
        featurizer.featurize_dataframe(copy, "structure", multiindex=True, inplace=True, pbar=False)
    pd.testing.assert_frame_equal(copy, out)


def test_a_bad_row_stops_with_its_number_its_index_and_the_cure(
    featurizer: UnateFeaturizer, frame_with_a_bad_row: pd.DataFrame
) -> None:
    with pytest.raises(
        StructureError, match=r"row 2 \(index 'SrTiO3'\).*missing.*drop or fill"
    ) as e:
        featurizer.featurize_dataframe(frame_with_a_bad_row, "structure", pbar=False)
    assert "ignore_errors=True" in str(e.value)
    with pytest.raises(ValueError, match="row 2"):
        featurizer.transform(frame_with_a_bad_row["structure"])


def test_ignore_errors_gives_a_row_of_nan_and_the_others_their_values(
    featurizer: UnateFeaturizer, frame: pd.DataFrame, frame_with_a_bad_row: pd.DataFrame
) -> None:
    out = featurizer.featurize_dataframe(
        frame_with_a_bad_row, "structure", ignore_errors=True, return_errors=True, pbar=False
    )
    errors = out.pop("UnateFeaturizer Exceptions")
    assert errors.drop("SrTiO3").isna().all()
    assert "StructureError: the structure is missing" in errors["SrTiO3"]
    features = out.iloc[:, 2:]
    assert features.loc["SrTiO3"].isna().all()
    expected = featurizer.transform(frame["structure"])
    keep = frame.index != "SrTiO3"
    np.testing.assert_allclose(features[keep], expected[keep], atol=1e-5)


def test_on_error_nan_warns_once_with_the_count(
    tiny_weights: Path, frame_with_a_bad_row: pd.DataFrame
) -> None:
    featurizer = UnateFeaturizer(tiny_weights, on_error="nan")
    with pytest.warns(UnateWarning, match=r"1 of \d+ rows could not be encoded.*row 2") as caught:
        rows = featurizer.transform(frame_with_a_bad_row["structure"])
    assert len(caught) == 1
    assert np.isnan(rows[2]).all()
    assert np.isfinite(np.delete(rows, 2, axis=0)).all()


def test_return_errors_without_ignoring_them_is_refused(featurizer: UnateFeaturizer) -> None:
    with pytest.raises(ValueError, match="return_errors needs ignore_errors"):
        featurizer.featurize_many([crystals()["Si"]], return_errors=True)


def test_featurize_many_takes_any_list_like(
    featurizer: UnateFeaturizer, frame: pd.DataFrame
) -> None:
    column = frame["structure"]
    expected = featurizer.featurize_many(list(column), pbar=False)
    assert isinstance(expected[0], list)
    forms = (
        tuple(column),
        column,
        column.to_frame(),
        frame[["structure"]].values,
        column.values,
        [(s,) for s in column],
    )
    for form in forms:
        np.testing.assert_allclose(featurizer.featurize_many(form, pbar=False), expected, atol=1e-5)
    assert featurizer.featurize_many([]) == []
    assert featurizer.transform([]).shape == (0, len(expected[0]))


def test_an_empty_frame_gets_the_columns_and_no_rows(featurizer: UnateFeaturizer) -> None:
    out = featurizer.featurize_dataframe(pd.DataFrame({"structure": []}), "structure")
    assert out.shape == (0, 1 + len(featurizer.feature_labels()))


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (crystals()["Si"], "wrap a single structure in a list"),
        ((s for s in ()), "got generator"),
        (np.zeros((3, 2)), r"shape \(3, 2\).*pass the list itself"),
        (pd.DataFrame({"a": [1], "b": [2]}), "got 2 columns"),
    ],
)
def test_what_is_no_column_of_structures_is_refused(
    featurizer: UnateFeaturizer, entries: object, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        featurizer.featurize_many(entries)


def test_wrong_columns_and_options_are_named(
    featurizer: UnateFeaturizer, frame: pd.DataFrame
) -> None:
    with pytest.raises(InputError, match=r"no column 'structures'; it has 'structure', 'y'"):
        featurizer.featurize_dataframe(frame, "structures")
    with pytest.raises(InputError, match="expected a pandas DataFrame, got list"):
        featurizer.featurize_dataframe([1], "structure")
    twice = featurizer.featurize_dataframe(frame, "structure", pbar=False)
    with pytest.raises(InputError, match=r'"unate_tiny_mean_l0_000" exists in input dataframe'):
        featurizer.featurize_dataframe(twice, "structure", pbar=False)
    structure = crystals()["Si"]
    for options, message in [
        ({"pooling": "median"}, "mean, std, min, max, sum"),
        ({"pooling": ()}, "pooling must name"),
        ({"pooling": ("mean", "mean")}, "distinct"),
        ({"on_error": "ignore"}, "'raise' or 'nan'"),
        ({"batch_size": 0}, "at least 1"),
        ({"device": "tpu9"}, "auto, cpu, cuda"),
        ({"weights": "no_such"}, "neither shipped"),
    ]:
        with pytest.raises(ValueError, match=message):
            clone(featurizer).set_params(**options).featurize(structure)


def test_labels_are_fresh_unique_and_carry_the_weights_name(featurizer: UnateFeaturizer) -> None:
    labels = featurizer.feature_labels()
    assert len(set(labels)) == len(labels) == 2 * 3 * 16
    assert labels[0] == "unate_tiny_mean_l0_000"
    assert labels[-1] == "unate_tiny_std_l2_015"
    labels.append("x")
    assert "x" not in featurizer.feature_labels()
    assert all(isinstance(text, str) for text in featurizer.citations() + featurizer.implementors())


def test_progress_bar_counts_rows_and_takes_tqdm_options(
    featurizer: UnateFeaturizer, frame: pd.DataFrame
) -> None:
    text = io.StringIO()
    structures = [*frame["structure"], *frame["structure"]]
    featurizer.featurize_many(structures, pbar={"file": text, "desc": "crystals"})
    assert text.getvalue().startswith("\rcrystals")
    assert f"{len(structures)}/{len(structures)}" in text.getvalue()


@pytest.mark.parametrize("over_entries", [True, False])
def test_multiple_featurizer_works_in_both_modes(
    featurizer: UnateFeaturizer, frame: pd.DataFrame, over_entries: bool
) -> None:
    # After a call in the parent: forked workers must not hang on its threads.
    expected = featurizer.transform(frame["structure"])
    both = MultipleFeaturizer([DensityFeatures(), featurizer], iterate_over_entries=over_entries)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python's own on fork with threads
        out = both.featurize_dataframe(frame, "structure", pbar=False)
    np.testing.assert_allclose(out[featurizer.feature_labels()], expected, atol=1e-5)


def test_stacked_and_function_featurizers_chain(
    featurizer: UnateFeaturizer, frame: pd.DataFrame
) -> None:
    X = featurizer.transform(frame["structure"])
    model = Ridge().fit(X, frame["y"])
    stacked = StackedFeaturizer(featurizer, model, name="ridge")
    stacked.set_n_jobs(1)
    out = stacked.featurize_dataframe(frame, "structure", pbar=False)
    np.testing.assert_allclose(
        [float(np.squeeze(v)) for v in out["ridge prediction"]], model.predict(X), atol=1e-4
    )
    small = UnateFeaturizer(featurizer.weights, pooling="mean")
    chained = small.featurize_dataframe(frame, "structure", pbar=False)
    functions = FunctionFeaturizer(expressions=["x**2"])
    functions.set_n_jobs(1)
    columns = small.feature_labels()[:2]
    assert functions.fit_featurize_dataframe(chained, columns, pbar=False).shape[0] == len(frame)


def test_precheck_tells_good_from_bad_and_keeps_the_index(
    featurizer: UnateFeaturizer, frame_with_a_bad_row: pd.DataFrame
) -> None:
    n = len(frame_with_a_bad_row)
    assert featurizer.precheck_dataframe(frame_with_a_bad_row, "structure") == pytest.approx(
        1 - 1 / n
    )
    out = featurizer.precheck_dataframe(frame_with_a_bad_row, "structure", return_frac=False)
    assert out.index.equals(frame_with_a_bad_row.index)
    assert out["UnateFeaturizer precheck pass"].sum() == n - 1


def test_n_jobs_is_one_and_setting_it_does_nothing(featurizer: UnateFeaturizer) -> None:
    featurizer.set_n_jobs(8)
    assert featurizer.n_jobs == 1


# -- scikit-learn


def test_pipelines_and_grid_search_over_pooling_work(
    featurizer: UnateFeaturizer, frame: pd.DataFrame
) -> None:
    pipeline = Pipeline([("unate", featurizer), ("ridge", Ridge())])
    search = GridSearchCV(
        pipeline, {"unate__pooling": ["mean", ("mean", "std"), ("max",)]}, cv=3, error_score="raise"
    )
    search.fit(frame["structure"], frame["y"])
    assert np.isfinite(search.predict(frame["structure"])).all()
    assert len(search.cv_results_["params"]) == 3


def test_column_transformer_names_its_columns(
    featurizer: UnateFeaturizer, frame: pd.DataFrame
) -> None:
    for selector in ("structure", ["structure"]):
        transformer = ColumnTransformer([("u", featurizer, selector), ("y", "passthrough", ["y"])])
        out = transformer.set_output(transform="pandas").fit_transform(frame)
        assert list(out.columns[:1]) == ["u__unate_tiny_mean_l0_000"]
        assert out.index.equals(frame.index)


def test_set_output_pandas_keeps_index_and_names(
    featurizer: UnateFeaturizer, frame: pd.DataFrame
) -> None:
    out = clone(featurizer).set_output(transform="pandas").transform(frame["structure"])
    assert isinstance(out, pd.DataFrame)
    assert out.index.equals(frame.index)
    assert list(out.columns) == featurizer.feature_labels()


def test_clone_keeps_all_options(tiny_weights: Path) -> None:
    options = {
        "weights": tiny_weights,
        "pooling": ("max",),
        "device": "cpu",
        "batch_size": 100,
        "on_error": "nan",
        "disorder": "ordered",
    }
    assert clone(UnateFeaturizer(**options)).get_params() == options


def test_no_fit_is_needed_and_fit_checks_the_weights(featurizer: UnateFeaturizer) -> None:
    check_is_fitted(featurizer)
    make_pipeline(featurizer).transform([crystals()["Si"]])
    assert featurizer.fit() is featurizer
    with pytest.raises(ValueError, match="neither shipped"):
        UnateFeaturizer("nowhere").fit()


@pytest.mark.parametrize(
    "check",
    [
        estimator_checks.check_estimator_cloneable,
        estimator_checks.check_estimator_tags_renamed,
        estimator_checks.check_valid_tag_types,
        estimator_checks.check_estimator_repr,
        estimator_checks.check_no_attributes_set_in_init,
        estimator_checks.check_parameters_default_constructible,
        estimator_checks.check_get_params_invariance,
        estimator_checks.check_set_params,
    ],
)
def test_scikit_learns_own_checks_pass(check, featurizer: UnateFeaturizer) -> None:
    check("UnateFeaturizer", featurizer)


def test_matminers_mixin_order_is_the_one_known_departure(featurizer: UnateFeaturizer) -> None:
    # BaseFeaturizer lists BaseEstimator before TransformerMixin and a subclass cannot reorder them.
    with pytest.raises(AssertionError, match="mixin"):
        estimator_checks.check_mixin_order("UnateFeaturizer", featurizer)


def test_a_pickle_is_small_and_holds_no_network(
    featurizer: UnateFeaturizer, frame: pd.DataFrame, tmp_path: Path
) -> None:
    expected = featurizer.transform(frame["structure"])
    content = pickle.dumps(featurizer)
    assert len(content) < 10_000
    joblib.dump(featurizer, tmp_path / "f.joblib")
    for restored in (pickle.loads(content), joblib.load(tmp_path / "f.joblib")):
        np.testing.assert_array_equal(restored.transform(frame["structure"]), expected)


def test_joblib_workers_give_the_same_rows(
    featurizer: UnateFeaturizer, frame: pd.DataFrame
) -> None:
    expected = featurizer.transform(frame["structure"])
    rows = joblib.Parallel(n_jobs=2)(
        joblib.delayed(featurizer.featurize)(s) for s in frame["structure"]
    )
    np.testing.assert_allclose(rows, expected, atol=1e-5)


# -- unusual crystals


def test_unknown_elements_are_masked_with_one_warning(featurizer: UnateFeaturizer) -> None:
    lattice = Lattice.cubic(4.0)
    rows = [Structure(lattice, [e, "O"], [[0, 0, 0], [0.5, 0.5, 0.5]]) for e in ("Po", "At", "Te")]
    with pytest.warns(
        UnateWarning, match=r"2 row\(s\) hold elements.*\(Po, At\).*masked"
    ) as caught:
        values = featurizer.transform(rows)
    assert len(caught) == 1
    assert (values[0] == values[1]).all()
    assert (values[0] != values[2]).any()


def test_isolated_atoms_are_encoded_with_one_warning(featurizer: UnateFeaturizer) -> None:
    caesium = Structure.from_spacegroup("Im-3m", Lattice.cubic(6.141), ["Cs"], [[0, 0, 0]])
    with pytest.warns(UnateWarning, match=r"1 row\(s\) hold atoms with no neighbour within 3.82 Å"):
        assert np.isfinite(featurizer.transform([caesium])).all()


def test_interrupting_is_not_taken_for_a_bad_row(
    featurizer: UnateFeaturizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from matminer_unate.featurizers import unate as module

    def interrupt(*args: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "prepare", interrupt)
    with pytest.raises(KeyboardInterrupt):
        featurizer.featurize_many([crystals()["Si"]], ignore_errors=True, pbar=False)


def test_a_large_cell_is_encoded_in_bounded_pieces(featurizer: UnateFeaturizer) -> None:
    structure = crystals()["NaCl"]
    large = structure * (6, 6, 6)
    np.testing.assert_allclose(
        featurizer.featurize(large), featurizer.featurize(structure), atol=1e-4
    )
