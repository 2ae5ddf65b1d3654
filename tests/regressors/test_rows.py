"""UnateRegressor where rows lack columns, count unequally, or have several targets."""

from __future__ import annotations

import copy
import json
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from disordered_crystals import disordered_crystals
from few_trees import trees
from real_crystals import crystals
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_predict

from matminer_unate import TightBindingStats, UnateRegressor, ordered_structure, progress
from matminer_unate.cli import main as cli
from matminer_unate.crystals import checked, symmetry
from matminer_unate.errors import InputError, StructureError, UnateWarning
from matminer_unate.progress import WorkBar
from matminer_unate.regressors import recipe as recipe_columns
from matminer_unate.regressors.error_bars import ConformalScale
from matminer_unate.regressors.kernel_ridge import BlockKernelRidge

GAPS = {"Si": 1.1, "NaCl": 8.5, "ZnO wurtzite": 3.4, "TiO2 rutile": 3.0}
STRAINS = (-0.03, -0.02, -0.01, 0.0, 0.01, 0.02, 0.03)
SMALL = 40
"""Orbitals: more than the primitive cells of those with 2 to 4 atoms have, TiO2 with its d shells
has 42."""
TB = "tight_binding"
LABELS = [f"group {k % 7}" for k in range(28)]


@pytest.fixture(autouse=True, scope="module")
def few_trees():
    with trees(60):
        yield


@pytest.fixture(scope="module")
def structures() -> list:
    named, found = crystals(), []
    for name in GAPS:
        cell = named[name].get_primitive_structure()
        found += [cell.copy().apply_strain(strain, inplace=False) for strain in STRAINS]
    return found


@pytest.fixture(scope="module")
def y() -> np.ndarray:
    return np.array([gap - 5 * strain for gap in GAPS.values() for strain in STRAINS])


@pytest.fixture(scope="module")
def groups() -> np.ndarray:
    return np.tile(np.arange(len(STRAINS)), len(GAPS))


@pytest.fixture(scope="module")
def regressor(tiny_weights: Path) -> UnateRegressor:
    return UnateRegressor(tiny_weights, device="cpu", n_folds=3, progress=False)


@pytest.fixture(scope="module")
def table(regressor, structures) -> pd.DataFrame:
    return regressor.featurize(structures)


@pytest.fixture(scope="module")
def fitted(regressor, table, y, groups) -> UnateRegressor:
    return clone(regressor).fit(table, y, groups=groups)


def without(table: pd.DataFrame, rows, begin: str) -> pd.DataFrame:
    changed = table.copy()
    changed.loc[table.index[rows], [c for c in table if c.startswith(begin)]] = np.nan
    return changed


# -- rows that lack a block


def test_a_cell_too_large_for_tight_binding_is_predicted_as_its_small_cell_is(
    fitted, structures, table, y, monkeypatch
) -> None:
    monkeypatch.setattr(
        recipe_columns,
        "tight_binding_stats",
        lambda: TightBindingStats(max_orbitals=SMALL, on_error="nan"),
    )
    k = list(STRAINS).index(0.0)
    cells = [structures[k], structures[len(STRAINS) + k]]  # Si and NaCl
    large = [cell * (2, 2, 2) for cell in cells]
    for seed, cell in enumerate(large):
        cell.perturb(0.004, seed=seed)  # or the primitive cell would be taken
    with pytest.warns(UnateWarning, match="2 of 2 rows lack the 'tight binding' columns .*row 0.*"):
        found, std = fitted.predict(large, return_std=True)
    own = y[[k, len(STRAINS) + k]]
    np.testing.assert_allclose(found, own, atol=0.6)
    # The same as for the cells themselves, were these columns missing.
    with pytest.warns(UnateWarning, match="row 3"):
        small, small_std = fitted.predict(without(table, [k, len(STRAINS) + k], TB), True)
    rows = [k, len(STRAINS) + k]
    np.testing.assert_allclose(found, small[rows], atol=0.3)
    np.testing.assert_allclose(std, small_std[rows], rtol=0.5)


def test_error_bars_of_rows_that_lack_columns_are_those_of_their_model(fitted, table) -> None:
    expected, model = fitted.predict(table), fitted.fitted_.targets[0].models[1]
    assert model.without == {"tight binding"}
    with pytest.warns(UnateWarning, match="row 5"):
        found, std = fitted.predict(without(table, [5, 9], TB), return_std=True)
    others = np.setdiff1d(np.arange(len(table)), [5, 9])
    np.testing.assert_allclose(found[others], expected[others], rtol=1e-12)
    columns = table.iloc[:, 1:].to_numpy(np.float64)
    alone, size, _ = model.predict(columns, fitted.fitted_.layout, fitted.minimum_)
    np.testing.assert_allclose(found[[5, 9]], alone[[5, 9]])
    np.testing.assert_allclose(std[[5, 9]], model.scale.reach(size[[5, 9]], 0.6827))
    with pytest.warns(UnateWarning, match="row 5"):
        ends = fitted.predict_interval(without(table, [5, 9], TB), 0.8)
    np.testing.assert_allclose(np.ptp(ends[5]), 2 * model.scale.reach(size[5:6], 0.8)[0])
    assert fitted.held_out_error_without_ == {"tight binding": model.held_out_error}


def test_the_model_without_a_block_does_not_see_it(fitted, table) -> None:
    model = fitted.fitted_.targets[0].models[1]
    columns = table.iloc[:, 1:].to_numpy(np.float64)
    changed = columns.copy()
    changed[:, [c.startswith(TB) for c in table.columns[1:]]] = 1e3
    for a, b in zip(
        model.predict(columns, fitted.fitted_.layout, 0.0),
        model.predict(changed, fitted.fitted_.layout, 0.0),
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)


def test_training_rows_that_lack_a_block_teach_only_the_model_without_it(
    regressor, table, y, groups
) -> None:
    holes = without(table, [2, 11], TB).set_axis([f"id{k}" for k in range(len(table))])
    with pytest.warns(
        UnateWarning, match=r"2 of 28 rows lack .*; the first is row 2 \(index 'id2'"
    ):
        model = clone(regressor).fit(holes, y, groups=groups)
    main, other = model.fitted_.targets[0].models
    assert (len(main.kernel.basis), len(other.scale.scores)) == (26, 28)
    assert np.isfinite(model.held_out_predictions_).all()
    assert model.n_rows_ == 28


def test_columns_that_most_training_rows_lack_are_left_out(regressor, table, y, groups) -> None:
    with pytest.warns(UnateWarning, match="20 of 28 rows lack .* left out of the model"):
        model = clone(regressor).fit(without(table, np.arange(20), TB), y, groups=groups)
    assert [m.without for m in model.fitted_.targets[0].models] == [{"tight binding"}]
    # It then says the same of all rows, and of no row that something is missing.
    np.testing.assert_array_equal(
        model.predict(table), model.predict(without(table, np.arange(28), TB))
    )
    assert model.importances().filter(like=TB).sum() == 0


def test_other_blocks_cannot_be_done_without(regressor, fitted, table, y, groups) -> None:
    for begin, block in [
        ("site_", "'fingerprint' and 'sites'"),
        ("cell_spacegroup", "'composition and cell'"),
        ("unate_tiny_mean_l1_003", "'unate .*tiny_weights0'"),
    ]:
        holes = without(table, [6], begin)
        lacking = rf"row 6 \(index 6\): it lacks the columns of {block}"
        message = f"{lacking}, which no model does without; drop"
        with pytest.raises(InputError, match=message):
            fitted.predict(holes)
        with pytest.raises(InputError, match=message):
            clone(regressor).fit(holes, y, groups=groups)
    lenient = copy.copy(fitted).set_params(on_error="nan")
    with pytest.warns(
        UnateWarning, match="1 of 28 rows lack columns .*row 6 .*: it lacks the columns"
    ):
        found, std = lenient.predict(holes, return_std=True)
    assert np.flatnonzero(np.isnan(found)).tolist() == np.flatnonzero(np.isnan(std)).tolist() == [6]


def test_infinite_columns_are_named(regressor, fitted, table, y, groups) -> None:
    wrong = table.copy()
    wrong.iloc[5, 7] = np.inf
    message = rf"row 5 \(index 5\): its column {table.columns[7]!r} is infinite"
    with pytest.raises(InputError, match=message):
        fitted.predict(wrong)
    with pytest.raises(InputError, match=message):
        clone(regressor).fit(wrong, y, groups=groups)
    lenient = clone(regressor).set_params(on_error="nan")
    with pytest.warns(UnateWarning, match="1 of 28 rows lack .* or have infinite ones"):
        lenient.fit(wrong, y, groups=groups)
    rest = np.arange(28) != 5
    expected = clone(regressor).fit(table[rest], y[rest], groups=groups[rest])
    np.testing.assert_array_equal(lenient.predict(table), expected.predict(table))


def test_without_a_space_group_no_number_is_made_up(fitted, structures, monkeypatch) -> None:
    monkeypatch.setattr(symmetry, "_plain_type", lambda *cell: None)
    monkeypatch.setattr(symmetry, "symmetry_dataset", lambda crystal, symprec: None)
    with pytest.raises(InputError, match="row 0: it lacks the columns of 'composition and cell'"):
        fitted.predict(structures[:2])


def test_a_tighter_tolerance_is_tried_where_the_usual_one_finds_no_group(monkeypatch) -> None:
    usual, asked = symmetry.symmetry_dataset, []
    monkeypatch.setattr(symmetry, "_plain_type", lambda *cell: None)

    def picky(crystal, symprec):
        asked.append(symprec)
        return usual(crystal, symprec) if symprec < 0.01 else None

    monkeypatch.setattr(symmetry, "symmetry_dataset", picky)
    assert recipe_columns.cell_columns([crystals()["Si"]])[0, 1:].tolist() == [227, 2]
    assert asked == [0.01, 1e-3]


def test_a_saved_model_keeps_the_one_without_the_electrons(fitted, table, tmp_path: Path) -> None:
    fitted.save(tmp_path / "model")
    again = UnateRegressor.load(tmp_path / "model").set_params(progress=False)
    holes = without(table, [1, 20], TB)
    with pytest.warns(UnateWarning, match="row 1"):
        expected = fitted.predict_interval(holes)
    with pytest.warns(UnateWarning, match="row 1"):
        np.testing.assert_allclose(again.predict_interval(holes), expected, rtol=1e-9)
    assert again.held_out_error_without_ == fitted.held_out_error_without_
    assert again.seed_ == fitted.seed_


def test_disordered_rows_are_those_of_their_ordered_cells(
    regressor, fitted, structures, tmp_path: Path
) -> None:
    alloys = [disordered_crystals()[name] for name in ("CuZn", "Li0.5CoO2")]
    given = [structures[0], *alloys]
    expected = regressor.featurize([structures[0], *map(ordered_structure, alloys)])
    said = r"2 row\(s\) hold sites of mixed .* stands for them; the first is row 1$|such sites"
    with pytest.warns(UnateWarning, match=said) as caught:
        table = clone(regressor).set_params(disorder="ordered").featurize(given)
    told = [str(w.message) for w in caught if w.category is UnateWarning]
    assert len(told) == 2
    assert told[1].startswith("1 row(s) hold such sites and no oxidation states")
    assert table["formula"].tolist() == ["Si", "ZnCu", "Li(CoO2)2"]
    numbers = table.drop(columns="formula"), expected.drop(columns="formula")
    np.testing.assert_allclose(*numbers, rtol=1e-3, atol=2e-3)

    fitted.save(tmp_path / "model")
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert config["parameters"]["disorder"] == "raise"
    again = UnateRegressor.load(tmp_path / "model").set_params(disorder="ordered", progress=False)
    with pytest.warns(UnateWarning, match="hold (such )?sites"):
        found = again.predict(given)
    np.testing.assert_allclose(found, fitted.predict(expected), rtol=1e-2)


def test_unusable_rows_are_found_before_any_is_featurized(
    regressor, structures, y, monkeypatch
) -> None:
    monkeypatch.setattr(recipe_columns.Recipe, "_values", lambda *a: pytest.fail("featurized"))
    some = [*structures[:20], None, structures[21], "Si"]
    with pytest.raises(
        StructureError, match=r"row 20: .*missing.*\n1 more row.*on_error='nan'"
    ) as e:
        clone(regressor).fit(some, y[:23])
    assert "ignore_errors" not in str(e.value)


def test_every_crystal_is_taken_apart_once_for_all_blocks(structures, monkeypatch) -> None:
    counted: list[str] = []

    def count(name: str) -> None:
        usual = getattr(checked, name)
        monkeypatch.setattr(checked, name, lambda *a: counted.append(name) or usual(*a))

    for name in ("crystal_arrays", "radius_graph", "primitive_cell", "symmetry_of"):
        count(name)
    UnateRegressor(device="cpu", progress=False).featurize(structures[:3])
    assert sorted(counted) == sorted(
        3 * ["crystal_arrays", "radius_graph", "primitive_cell", "symmetry_of"]
    )


def test_rows_whose_graphs_are_not_kept_get_the_same_columns(
    regressor, structures, table, monkeypatch
) -> None:
    monkeypatch.setattr(recipe_columns, "KEPT_EDGES", 200)
    pd.testing.assert_frame_equal(regressor.featurize(structures), table)


# -- weights of rows


def test_rows_of_weight_0_are_left_out_exactly(regressor, table, y, groups) -> None:
    weights = np.ones(len(y))
    weights[[0, 8, 15]] = 0
    changed = np.where(weights > 0, y, 1e3)
    model = clone(regressor).fit(table, changed, groups=groups, sample_weight=weights)
    kept = weights > 0
    expected = clone(regressor).fit(table[kept], y[kept], groups=groups[kept])
    np.testing.assert_array_equal(model.predict(table), expected.predict(table))
    np.testing.assert_array_equal(model.predict_interval(table), expected.predict_interval(table))
    assert model.n_rows_ == 25
    assert np.flatnonzero(np.isnan(model.held_out_predictions_)).tolist() == [0, 8, 15]
    assert model.held_out_error_ == expected.held_out_error_


def test_kernel_ridge_takes_a_row_of_weight_2_for_two_rows() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 3))
    y = np.sin(X[:, 0]) + 0.3 * rng.normal(size=40)
    counts = rng.integers(1, 4, 40)
    fold = np.arange(40) % 4
    repeated = np.repeat(np.arange(40), counts)
    weighted, repeats = BlockKernelRidge(), BlockKernelRidge()
    blocks, start = [slice(0, 2), slice(2, 3)], ((0.3, 0.3), 0.1)
    folds = [np.flatnonzero(fold == k) for k in range(4)]
    weights, many = counts.astype(float), y[repeated]

    def judge(found, rows):
        return float(weights[rows] @ np.abs(found[:, 0] - y[rows]) / weights[rows].sum())

    held_out = weighted.fit(X, blocks, y[:, None], folds, start, judge, weights)
    folds = [np.flatnonzero(fold[repeated] == k) for k in range(4)]
    expected = repeats.fit(
        X[repeated],
        blocks,
        many[:, None],
        folds,
        start,
        lambda found, rows: float(np.abs(found[:, 0] - many[rows]).mean()),
    )
    np.testing.assert_allclose(weighted.scales, repeats.scales)
    assert weighted.penalty == pytest.approx(repeats.penalty)
    np.testing.assert_allclose(weighted.predict(X)[0], repeats.predict(X)[0], atol=1e-4)
    np.testing.assert_allclose(held_out.predictions()[repeated], expected.predictions(), atol=1e-4)


def test_whole_weights_are_nearly_repeated_rows_and_only_ratios_matter(
    regressor, table, y, groups
) -> None:
    rng = np.random.default_rng(1)
    noisy = y + rng.normal(0, 0.5, len(y))
    counts = rng.integers(1, 5, len(y))
    repeated = np.repeat(np.arange(len(y)), counts)
    weighted = clone(regressor).fit(table, noisy, groups=groups, sample_weight=counts)
    repeats = clone(regressor).fit(table.iloc[repeated], noisy[repeated], groups=groups[repeated])
    assert np.abs(weighted.predict(table) - repeats.predict(table)).mean() < 0.2
    assert weighted.held_out_error_ == pytest.approx(repeats.held_out_error_, rel=0.3)
    again = clone(regressor)
    again.fit(table, noisy, groups=groups, sample_weight=1024.0 * counts)
    np.testing.assert_allclose(again.predict(table), weighted.predict(table))


def test_the_quantile_of_weighted_errors_is_that_of_repeated_ones() -> None:
    scores, counts = np.arange(1.0, 9.0), np.array([1, 3, 2, 2, 5, 1, 1, 1])
    weighted = ConformalScale([], 1.0, scores, counts / counts.mean(), np.ones(len(scores)))
    n = len(scores)
    for coverage in (0.1, 0.4, 0.5, 0.7, 0.85):
        # A new row has the average weight, which is that of two repeated rows.
        repeated = np.repeat(scores, counts)
        rank = int(np.ceil(coverage * (n + 1) * counts.mean()))
        assert weighted.reach(np.ones(1), coverage) == repeated[rank - 1]


def test_wrong_weights_are_named(regressor, table, y, groups) -> None:
    bad = np.ones(len(y))
    bad[4] = -1
    for weights, message in [
        (bad, r"sample_weight of row 4 \(index 4\) is -1"),
        (np.where(bad < 0, np.nan, bad), r"sample_weight of row 4 \(index 4\) is nan"),
        (bad[:-1], "28 structures need 28 numbers as sample_weight"),
        (["a"] * len(y), "sample_weight must be numbers"),
        (np.zeros(len(y)), "sample_weight is 0 in all rows"),
    ]:
        with pytest.raises(InputError, match=message):
            clone(regressor).fit(table, y, groups=groups, sample_weight=weights)


def test_a_grid_search_hands_weights_on(regressor, table, y) -> None:
    weights = np.linspace(0.5, 2, len(y))
    grid = {"max_kernel_rows": np.array([10, 20])}
    search = GridSearchCV(regressor, grid, cv=2, error_score="raise")
    search.fit(table.assign(formula=LABELS), y, sample_weight=weights)
    assert search.best_params_["max_kernel_rows"] in (10, 20)


# -- several targets


def test_several_targets_are_what_each_is_alone(regressor, fitted, table, y, groups, tmp_path):
    both = pd.DataFrame({"gap": y, "other": np.where(groups == 2, np.nan, 3 - y**2)})
    model = clone(regressor).fit(table, both, groups=groups)
    assert model.target_names_ == ["gap", "other"]
    found, std = model.predict(table, return_std=True)
    assert found.shape == std.shape == (28, 2)
    alone = fitted.predict(table, return_std=True)
    np.testing.assert_array_equal(found[:, 0], alone[0])
    np.testing.assert_array_equal(std[:, 0], alone[1])
    ends = model.predict_interval(table, 0.8)
    assert ends.shape == (28, 2, 2)
    np.testing.assert_array_equal(ends[:, 0], fitted.predict_interval(table, 0.8))
    assert model.held_out_error_.shape == (2,)
    assert model.held_out_error_[0] == fitted.held_out_error_
    assert np.isnan(model.held_out_predictions_[groups == 2, 1]).all()
    assert model.held_out_error_without_["tight binding"].shape == (2,)
    assert list(model.blend_) == list(model.importances()) == ["gap", "other"]
    np.testing.assert_allclose(model.importances().sum(), 1)
    assert model.feature_importances_.sum() == pytest.approx(1)
    model.save(tmp_path / "model")
    again = UnateRegressor.load(tmp_path / "model").set_params(progress=False)
    np.testing.assert_allclose(again.predict(table), found, rtol=1e-9)
    assert again.target_names_ == ["gap", "other"]


def test_the_columns_are_computed_once_for_all_targets(
    regressor, structures, y, groups, monkeypatch, tmp_path
) -> None:
    n, usual = [], recipe_columns.Recipe._values
    monkeypatch.setattr(
        recipe_columns.Recipe, "_values", lambda self, *a: n.append(1) or usual(self, *a)
    )
    model = clone(regressor).set_params(tight_binding=False)
    model.fit(structures, np.column_stack([y, -y]), groups=groups)
    assert len(n) == 1
    model.save(tmp_path / "model")
    frame = pd.DataFrame({"structure": [json.dumps(s.as_dict()) for s in structures[:3]]})
    frame.to_csv(tmp_path / "in.csv", index=False)
    arguments = ["predict", tmp_path / "model", tmp_path / "in.csv", "--out", tmp_path / "out.csv"]
    assert cli.main([*map(str, arguments), "--device", "cpu"]) == cli.OK
    found = pd.read_csv(tmp_path / "out.csv")
    assert list(found)[1:] == [f"prediction_{k}{end}" for k in (0, 1) for end in ("", "_std")]
    np.testing.assert_allclose(
        found[["prediction_0", "prediction_1"]], model.predict(structures[:3]), rtol=1e-4
    )


def test_wrong_tables_of_targets_are_named(regressor, table, y, groups) -> None:
    two = np.column_stack([y, y])
    infinite, empty, rare = two.copy(), two.copy(), two.copy()
    infinite[3, 1], empty[4], rare[3:, 1] = np.inf, np.nan, np.nan
    for targets, message in [
        (infinite, r"target 1 of row 3 \(index 3\) is infinite"),
        (empty, r"1 row\(s\) have no target, the first is row 4"),
        (two[:-1], "28 structures need 28 rows of targets"),
        (two[:, :0], "28 rows of targets"),
        (np.column_stack([y, np.full(len(y), np.nan)]), "target 1 is not known of any row"),
        (np.column_stack([y, np.where(groups > 1, np.nan, y)]), "target 1 is known for too few"),
        (pd.DataFrame(two, columns=["a", "a"]), "two targets have the same name"),
        (two[:, :, None], "28 structures need 28 targets"),
    ]:
        with pytest.raises(InputError, match=message):
            clone(regressor).fit(table, targets, groups=groups)


# -- options


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("max_kernel_rows", 100.0),
        ("max_kernel_rows", 0),
        ("n_folds", "5"),
        ("n_folds", 2),
        ("tight_binding", "no"),
        ("tight_binding", 1.0),
        ("target", "sqrt"),
        ("target", None),
        ("scoring", "r2"),
        ("minimum", "low"),
        ("minimum", np.nan),
        ("minimum", [0, 1]),
        ("n_jobs", 0),
        ("n_jobs", 1.5),
        ("on_error", None),
        ("device", None),
        ("random_state", -1),
        ("random_state", 0.0),
        ("random_state", 2**32),
        ("progress", "yes"),
    ],
)
def test_a_wrong_option_is_named_before_any_work(
    option, value, fitted, structures, y, monkeypatch
) -> None:
    monkeypatch.setattr(recipe_columns.Recipe, "describe", lambda *a: pytest.fail("worked"))
    model = copy.copy(fitted).set_params(**{option: value})
    for call in (
        lambda: model.fit(structures, y),
        lambda: model.predict(structures),
        lambda: model.predict_interval(structures),
        lambda: model.featurize(structures),
    ):
        with pytest.raises(InputError, match=f"'{option}' parameter of UnateRegressor must be"):
            call()


def test_numbers_and_booleans_of_numpy_are_options(regressor, table, y, groups, tmp_path) -> None:
    model = clone(regressor).set_params(
        max_kernel_rows=np.int64(20),
        n_folds=np.int32(3),
        tight_binding=np.bool_(True),
        minimum=np.float32(0.0),
        random_state=np.uint32(2**32 - 1),
        on_error=np.str_("raise"),
    )
    model.fit(table, y, groups=groups).save(tmp_path / "model")
    again = UnateRegressor.load(tmp_path / "model")
    assert again.get_params() == {**model.get_params(), "weights": str(model.weights)}


# -- random numbers


def test_no_seed_draws_one_that_is_told(regressor, table, y, groups) -> None:
    before = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    models = [
        clone(regressor).set_params(random_state=None).fit(table, y, groups=groups)
        for _ in range(2)
    ]
    assert models[0].seed_ != models[1].seed_
    again = clone(regressor).set_params(random_state=models[0].seed_).fit(table, y, groups=groups)
    np.testing.assert_array_equal(again.predict(table), models[0].predict(table))
    assert (np.random.get_state()[1] == before[0]).all()  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), before[1])


# -- intervals


def test_intervals_of_gaps_do_not_reach_below_0_and_predictions_are_kept(
    regressor, table, y, groups
) -> None:
    gaps = np.where(y < 1.2, y - 0.9, y)
    plain = clone(regressor).set_params(target="identity")
    model = clone(plain).fit(table, gaps, groups=groups)
    free = clone(plain).set_params(minimum=None).fit(table, gaps, groups=groups)
    assert (model.minimum_, model.interval_minimum_) == (-np.inf, 0.0)
    np.testing.assert_array_equal(model.predict(table), free.predict(table))
    assert free.predict_interval(table).min() < 0
    np.testing.assert_array_equal(
        model.predict_interval(table), np.maximum(free.predict_interval(table), 0)
    )


# -- progress and warnings


def test_a_bar_tells_stages_rows_and_the_time_left(
    regressor, structures, y, groups, monkeypatch, capsys
) -> None:
    monkeypatch.setattr(progress, "_is_read", lambda: True)
    monkeypatch.setattr(progress, "_INTERVAL", 0.0)
    model = clone(regressor).set_params(progress=True, tight_binding=True)
    model.fit(structures, y, groups=groups)
    shown = capsys.readouterr().err
    assert "UnateRegressor: fit (about " in shown
    for stage in ("columns: structures", "columns: tight binding 28/28 rows", "kernel", "trees"):
        assert stage in shown
    assert "without tight binding, trees" in shown
    assert "100%" in shown
    model.set_params(progress=False).predict(structures)
    assert capsys.readouterr().err == ""


def test_a_stage_begins_when_it_is_worked_on_not_when_it_is_planned(monkeypatch, capsys) -> None:
    monkeypatch.setattr(progress, "_is_read", lambda: True)
    monkeypatch.setattr(progress, "_INTERVAL", 0.0)
    with WorkBar("fit", {"kernel": 3.0, "trees": 7.0}, show=True) as bar:
        kernel, trees = bar.share("kernel"), bar.share("trees")
        kernel(0.5)
        shown = capsys.readouterr().err
        assert " 15%" in shown
        assert "trees" not in shown
        trees(0.5)
        assert " 65%" in capsys.readouterr().err


def test_there_is_no_bar_in_a_file_or_for_little_work(regressor, table, fitted, capsys) -> None:
    copy.copy(fitted).set_params(progress=True).predict(table)
    with WorkBar("short", {"a": 1.0}, show=True) as bar:
        bar.rows("a", 2)(1)
    assert capsys.readouterr().err == ""


def test_a_warning_comes_once_from_the_line_of_the_user(fitted, table) -> None:
    holes = without(table, [5], TB)
    with pytest.warns(UnateWarning) as caught:
        fitted.predict(holes)
    assert [w.filename for w in caught] == [__file__]
    holes = holes.set_axis([f"id{k}" for k in range(28)]).assign(formula=LABELS)
    with pytest.warns(UnateWarning) as caught:
        cross_val_predict(fitted, holes, np.arange(28.0), cv=2)
    texts = [str(w.message) for w in caught]
    assert len(texts) == len(set(texts)) == 2
    assert all("'id5'" in text for text in texts)


def test_the_same_warning_of_one_line_comes_once_in_folds_and_loops(fitted, table) -> None:
    holes = without(table, [5], TB).set_axis([f"row{k}" for k in range(28)]).assign(formula=LABELS)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        cross_val_predict(fitted, holes, np.arange(28.0), cv=4)
        for _ in range(3):
            fitted.predict(holes)
    assert [w.filename for w in caught] == [__file__] * 3
    texts = [str(w.message) for w in caught]
    assert len(set(texts)) == 3
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(3):
            fitted.predict(holes)
    assert len(caught) == 3
