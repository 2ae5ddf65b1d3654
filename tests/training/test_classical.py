"""The table of classical regressors: properties, cases, statistics, and that it can be resumed."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from places import SHARED
from real_crystals import crystals
from scipy.stats import ttest_1samp
from sklearn.metrics import roc_auc_score
from small_corpora import prototypes

import classical
from benchmarks.columns import cases as cases
from benchmarks.columns import column_cache as blocks
from benchmarks.columns import feature_sets as feature_sets_module
from benchmarks.columns import regressors as heads
from benchmarks.columns import subsets as tasks
from benchmarks.columns.cases import Case, Choices, HeadErrors, fit_heads, write_case
from benchmarks.columns.column_cache import Blocks
from benchmarks.columns.feature_sets import feature_sets, is_feasible
from benchmarks.columns.figures import classical_figures
from benchmarks.columns.own_features import OWN_BLOCKS
from benchmarks.columns.peer_features import soap, structural
from benchmarks.columns.regressors import (
    Rows,
    fit_kernel_ridge,
    kernel_column,
    random_forest,
    roc_errors,
)
from benchmarks.columns.statistics import add_comparisons, count_wins, paired_p
from benchmarks.columns.subsets import label_counts, property_rows, read_property_table
from benchmarks.properties import PROPERTIES
from harness.result_tables import read_results
from matminer_unate import UnateRegressor
from matminer_unate.errors import InputError
from matminer_unate.regressors import blend as regressor_parts
from matminer_unate.regressors.recipe import Recipe
from matminer_unate.regressors.recipe_estimator import RECIPE_WEIGHTS

PARTS = {  # train, val, test rows
    "gap": (15820, 1865, 1933),
    "metal": (15820, 1865, 1933),
    "formation_energy": (15820, 1865, 1933),
    "bulk_modulus": (5430, 627, 620),
    "shear_modulus": (4604, 531, 536),
    "piezoelectric": (742, 99, 100),
    "tbmbj_gap": (4459, 515, 569),
    "exfoliation": (650, 91, 71),
}


@pytest.fixture(scope="module")
def problem() -> tuple[heads.Matrix, Rows]:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(160, 6)).astype(np.float32)
    y = X[:, 0] + 0.5 * X[:, 1] + 0.05 * rng.normal(size=160)
    parts = [rng.permutation(100), np.arange(100, 130), np.arange(130, 160)]
    return X, Rows(y, *parts, groups=np.arange(160) // 2)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder with prototypes, and in place of a property something that can be learned."""
    table = pd.DataFrame(
        {
            "material_id": str(k),
            "lattice": s.lattice.matrix.ravel(),
            "frac_coords": s.frac_coords.ravel(),
            "species": s.atomic_numbers,
            "n_sites": len(s),
            "formula_reduced": s.composition.reduced_formula,
            "volume_per_atom_ang3": s.volume / len(s),
            "spacegroup_number": 1 + k,
            "formula_split": ("train", "train", "train", "val", "test")[k % 5],
            "piezo_eij_max_c_per_m2": float(np.mean(s.atomic_numbers)),
        }
        for k, s in enumerate(prototypes()[:90])
    )
    table.to_parquet(tmp_path / "mp_piezoelectric.parquet")
    return tmp_path


# -- tasks -----------------------------------------------------------------------------------------


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"the real data sets are not at {SHARED}")
@pytest.mark.parametrize("name", PROPERTIES)
def test_every_task_is_in_the_real_files_and_its_parts_share_no_formula(name: str) -> None:
    task = PROPERTIES[name]
    table = read_property_table(SHARED, task.crystals)
    assert table["n_sites"].max() <= task.max_sites
    counts = label_counts(task, table)
    assert counts[:2] == [250, 500]
    assert counts[-1] == "all"
    (rows,) = property_rows(task, table, "all")
    assert tuple(map(len, (rows.train, rows.val, rows.test))) == PARTS[name]
    for part, index in (("train", rows.train), ("val", rows.val), ("test", rows.test)):
        assert (table["formula_split"].to_numpy()[index] == part).all()
        assert np.isfinite(rows.y[index]).all()
        assert rows.y[index].min() >= rows.minimum
        assert not task.classes or set(rows.y[index]) == {0.0, 1.0}
    assert not set(rows.groups[rows.train]) & set(rows.groups[rows.unseen])
    assert not set(rows.groups[rows.val]) & set(rows.groups[rows.test])


def test_subsets_are_nested_differ_by_seed_and_skip_rows_without_a_label() -> None:
    n = 400
    table = pd.DataFrame(
        {
            "bulk_modulus_vrh_gpa": np.where(np.arange(n) % 7 == 0, np.nan, 1.0 + np.arange(n)),
            "formula_split": np.where(np.arange(n) < 380, "train", "test"),
            "formula_reduced": [f"A{k}" for k in range(n)],
        }
    )
    task = PROPERTIES["bulk_modulus"]
    small, large = property_rows(task, table, 250), property_rows(task, table, "all")
    assert len(small) == 5
    assert len(large) == 1
    np.testing.assert_array_equal(small[0].train, large[0].train[:250])
    assert set(small[0].train) != set(small[1].train)
    assert not (large[0].train % 7 == 0).any()
    np.testing.assert_allclose(10 ** large[0].y[5], 6.0)
    assert label_counts(task, table) == [250, "all"]
    with pytest.raises(InputError, match="500 labels wanted, 325 there"):
        property_rows(task, table, 500)


# -- errors of classes -----------------------------------------------------------------------------


def test_roc_errors_have_the_mean_and_the_scatter_of_the_area_under_the_curve() -> None:
    rng = np.random.default_rng(0)
    y = (rng.random(300) < 0.4).astype(float)
    scores = np.round(y + rng.normal(size=300), 1)  # with ties
    found = roc_errors(y, scores)
    assert found.mean() == pytest.approx(1 - roc_auc_score(y, scores))
    draws = [rng.integers(300, size=300) for _ in range(300)]
    areas = [1 - roc_auc_score(y[d], scores[d]) for d in draws]
    means = [found[d].mean() for d in draws]
    assert np.corrcoef(areas, means)[0, 1] > 0.98
    assert np.std(means) == pytest.approx(np.std(areas), rel=0.1)


def test_roc_errors_of_one_class_are_refused() -> None:
    with pytest.raises(InputError, match="rows of both classes"):
        roc_errors(np.ones(3), np.arange(3.0))


def test_every_head_ranks_classes(problem: tuple[heads.Matrix, Rows]) -> None:
    X, rows = problem
    rows = replace(rows, y=(rows.y > 0).astype(float), classes=True)
    for head, errors in fit_heads(X, X, [rows]).items():
        assert errors.test.mean() < 0.15, head


# -- heads -----------------------------------------------------------------------------------------


def test_kernel_ridge_by_landmarks_is_the_exact_one_when_every_row_is_a_landmark(
    problem: tuple[heads.Matrix, Rows], monkeypatch: pytest.MonkeyPatch
) -> None:
    X, rows = problem
    choice = (0.3, 0.03)
    monkeypatch.setattr(heads, "CHOICE_ROWS", 50)
    exact = fit_kernel_ridge(X, rows, choice)
    column = kernel_column(X, rows, exact)
    monkeypatch.setattr(heads, "EXACT_ROWS", 50)
    landmarks = fit_kernel_ridge(X, rows, choice)
    np.testing.assert_allclose(landmarks.unseen, exact.unseen, atol=1e-3)
    np.testing.assert_allclose(kernel_column(X, rows, landmarks), column, atol=1e-3)
    monkeypatch.setattr(heads, "LANDMARKS", 60)
    fewer = fit_kernel_ridge(X, rows, choice)
    assert 0 < np.abs(fewer.unseen - exact.unseen).max() < 0.5


def test_kernel_choice_comes_from_the_first_rows(
    problem: tuple[heads.Matrix, Rows], monkeypatch: pytest.MonkeyPatch
) -> None:
    X, rows = problem
    monkeypatch.setattr(heads, "CHOICE_ROWS", 40)
    few = fit_kernel_ridge(X, replace(rows, train=rows.train[:40]))
    found = fit_kernel_ridge(X, rows)
    assert (found.width, found.alpha) == (few.width, few.alpha)


def test_missing_values_are_no_obstacle(problem: tuple[heads.Matrix, Rows]) -> None:
    X, rows = problem
    X = X.copy()
    X[::9, 2] = np.nan
    X[:, 3] = np.nan
    for head, errors in fit_heads(X, X, [rows]).items():
        assert np.isfinite(errors.test).all(), head
    assert np.isfinite(random_forest(X, rows)[1]).all()


def test_wide_columns_get_the_plain_setting_only_where_it_is_clearly_better() -> None:
    fitted = []

    def errors_with(plain: float, wide: bool, n_rows: int = 9) -> HeadErrors:
        fitted.clear()

        def fit(settings: str):  # type: ignore[no-untyped-def]
            def predict(rows: Rows, k: int):  # type: ignore[no-untyped-def]
                fitted.append((settings, k))
                error = plain if settings == "plain" else 1.0
                return np.full(1, error), np.full(1, error)

            return predict

        one = np.array([1])
        problems = [Rows(np.zeros(3), np.zeros(n_rows, int), one, one, np.arange(3))] * 3
        return cases._better_settings(fit, problems, wide, choices, "lightgbm")

    choices = Choices()
    assert errors_with(0.995, True).settings == "dense"
    assert fitted == [("plain", 0), ("dense", 0), ("dense", 1), ("dense", 2)]
    assert errors_with(0.98, True).settings == "plain"
    errors_with(0.98, True, n_rows=5000)
    assert fitted == [("plain", 0), ("plain", 1), ("plain", 2)]
    narrow = errors_with(0.995, False)
    assert narrow.settings == "plain"
    assert len(fitted) == 6
    assert narrow.test.shape == (3, 1)


# -- columns ---------------------------------------------------------------------------------------


def test_feature_sets_are_made_of_known_blocks() -> None:
    known = {*OWN_BLOCKS, *blocks.PEER_BLOCKS, "untrained", "mine"}
    for trees, everything in feature_sets(["mine"]).values():
        assert set(trees) <= set(everything) <= known
    assert set(feature_sets(["a", "b"])) >= {
        "a",
        "magpie+b",
        "control+a",
        "control+tight-binding+b",
    }


def test_slow_and_missing_blocks_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_feasible("structural", 900)
    assert not is_feasible("structural", 20_000)
    monkeypatch.setattr(feature_sets_module, "find_spec", lambda name: None)
    assert not is_feasible("soap", 10)
    assert is_feasible("magpie", 20_000)


def test_columns_of_other_packages_have_one_row_a_crystal() -> None:
    pytest.importorskip("chgnet")
    from benchmarks.columns.peer_features import chgnet, megnet_elements

    structures = prototypes()[:3]
    formulas = [s.composition.reduced_formula for s in structures]
    table = pd.DataFrame({"formula_reduced": formulas, "structure": list(structures)})
    assert megnet_elements(table).shape == (3, 80)
    assert chgnet(table).shape == (3, 256)


def test_soap_tells_species_apart() -> None:
    pytest.importorskip("dscribe")
    salt = crystals()["NaCl"]
    oxide = salt.copy()
    oxide.replace_species({"Na": "Mg", "Cl": "O"})
    structures = [salt, oxide]
    species = [list(s.atomic_numbers) for s in structures]
    one, other = soap(pd.DataFrame({"structure": structures, "species": species}))
    assert abs(one - other).max() > 0.1 * abs(one).max()


def test_a_run_that_goes_on_keeps_the_settings_of_the_cells_that_are_there(tmp_path: Path) -> None:
    errors = HeadErrors(np.ones(1), np.ones((1, 2), np.float32), 1.0, "dense")
    few, many = tmp_path / "few.npz", tmp_path / "many.npz"
    write_case(few, {"stack": errors}, {"n_train": 500, "n_columns": 400})
    write_case(many, {"lightgbm": errors}, {"n_train": 20_000, "n_columns": 400})
    choices = Choices()
    choices.remember(few)
    choices.remember(many)
    assert choices.settings == {"stack": "dense"}


@pytest.mark.slow
def test_structural_columns_are_numbers() -> None:
    structures = [crystals()[name] for name in ("NaCl", "TiO2 rutile")]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # matminer's own
        found = structural(pd.DataFrame({"structure": structures}))
    assert found.dtype == np.float32
    assert found.shape[0] == 2
    assert np.isfinite(found).mean() > 0.9


# -- statistics ------------------------------------------------------------------------------------


def make_result() -> tuple[pd.DataFrame, dict, dict[str, pd.Series]]:
    rng = np.random.default_rng(1)
    base = rng.gamma(2, size=200)
    scale = {"magpie": 1.0, "control": 0.9, "mp_v3": 1.0, "control+mp_v3": 0.7, "untrained": 1.3}
    rows, errors = [], {}
    for features, factor in scale.items():
        for head, worse in (("lightgbm", 1.0), ("stack", 1.1)):
            found = base * factor * worse * rng.uniform(0.9, 1.1, size=200)
            errors["gap", "250", features, head] = found
            row = {"task": "gap", "labels": "250", "features": features, "head": head}
            rows.append(row | {"val_error": found.mean(), "test_error": found.mean()})
    formulas = pd.Series([f"A{k // 2}" for k in range(200)])
    return pd.DataFrame(rows), errors, {"gap": formulas}


def test_changes_are_against_the_head_that_is_best_on_val() -> None:
    table, errors, formulas = make_result()
    found = add_comparisons(table, errors, formulas).set_index(["features", "head"])
    assert found.loc[("magpie", "lightgbm"), "vs_magpie_best_pct"] == 0
    row = found.loc[("control+mp_v3", "lightgbm")]
    means = {k[2:]: e.mean() for k, e in errors.items()}
    expected = 100 * (means["control+mp_v3", "lightgbm"] / means["control", "lightgbm"] - 1)
    assert row["vs_control_best_pct"] == pytest.approx(expected, abs=0.01)
    assert row["vs_control_best_low"] < expected < row["vs_control_best_high"]


def test_wins_need_a_p_value_that_survives_holms_correction() -> None:
    table, errors, formulas = make_result()
    wins = count_wins(table, errors, formulas, ["mp_v3"]).set_index(["features", "against"])
    assert wins.loc[("control+mp_v3", "control"), "verdict"] == "win"
    assert wins.loc[("mp_v3", "untrained"), "verdict"] == "win"
    assert wins.loc[("mp_v3", "magpie"), "verdict"] == "tie"
    assert (wins["p_holm"] >= wins["p"]).all()


def test_rows_of_one_formula_are_one_difference() -> None:
    rng = np.random.default_rng(0)
    differences = rng.normal(0.1, size=40)
    found = paired_p(np.repeat(differences, 3), np.zeros(120), np.repeat(np.arange(40), 3))
    assert found == pytest.approx(ttest_1samp(differences, 0).pvalue)


def test_figures_are_drawn_from_the_table(tmp_path: Path) -> None:
    table, _, _ = make_result()
    table["best_head_on_val"] = table["head"] == "lightgbm"
    table = table.assign(n_train=2000, labels=2000, featurize_cpu_s_per_1000=1.5)
    out = tmp_path / "classical.csv"
    table.to_csv(out, index=False)
    classical_figures(out)
    drawn = {p.stem for p in tmp_path.glob("*.png")}
    assert drawn == {"classical_curves", "classical_gap"}


# -- the script ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_run_writes_every_cell_and_a_second_one_computes_nothing(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = data / "table.csv"
    options = ["--data", str(data), "--work", str(data / "work"), "--tasks", "piezoelectric"]
    options += ["--sets", "dummy", "magpie", "mp_v3", "control", "unate_regressor"]
    options += ["--labels", "all", "--jobs", "1", "--out", str(out)]
    monkeypatch.setattr(regressor_parts, "N_TREES", 100)
    classical.main(options)
    table = read_results(str(out))
    assert len(table) == 1 + 3 * 5 + 1
    assert table["best_head_on_val"].sum() == 5
    assert table["vs_magpie_best_low"].notna().all()
    best = table[table["best_head_on_val"]].set_index("features")["test_error"]
    assert best["magpie"] < 0.7 * best["dummy"]
    assert (table.loc[table["features"] != "dummy", "featurize_cpu_s_per_1000"] > 0).all()
    wins = read_results(str(data / "table_wins.csv"))
    assert set(wins["verdict"]) <= {"win", "tie", "loss"}
    assert list(wins.loc[wins["features"] == "unate_regressor", "against"]) == ["the best other"]

    monkeypatch.setattr(Blocks, "_build", None)
    monkeypatch.setattr(cases, "fit_heads", None)
    classical.main(options)
    pd.testing.assert_frame_equal(read_results(str(out)), table)


def test_the_columns_of_the_regressor_are_those_it_computes_itself(data: Path) -> None:
    weights = list(RECIPE_WEIGHTS)
    table = read_property_table(data, PROPERTIES["piezoelectric"].crystals, structures=True)[:8]
    here = Blocks(data / "work", weights)
    wanted = feature_sets(weights)["unate_regressor"][1]
    for block in wanted:
        here.compute(block, table)
    found = UnateRegressor(device="cpu").featurize(table["structure"].tolist())
    np.testing.assert_allclose(found.iloc[:, 1:], here.join(wanted), rtol=1e-5)


def test_classes_are_told_apart_by_the_classifier(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(regressor_parts, "N_TREES", 30)
    weights = list(RECIPE_WEIGHTS)
    n, rng = 120, np.random.default_rng(0)
    X = rng.normal(size=(n, len(Recipe(tuple(weights), "cpu", True).names()))).astype(np.float32)
    y = (X[:, :400].sum(axis=1) > 0).astype(float)
    X[:, 0] += 4 * y
    train, val, test = np.split(rng.permutation(n), [80, 100])
    formulas = np.array([f"Na{k}Cl" for k in range(n)])
    rows = Rows(y, train, val, test, formulas, -np.inf, 0, True)
    on_val, on_test = cases.recipe(X, weights, classes=True)(rows, 0)
    assert ((on_val >= 0) & (on_val <= 1)).all()
    assert rows.errors(on_test, test).mean() < 0.2


def test_a_cell_of_other_columns_is_run_again(data: Path) -> None:
    work = data / "work"
    blocks_here = Blocks(work / "columns", ["mp_v3"])
    case = Case("piezoelectric", "cell", "all")
    table = read_property_table(data, PROPERTIES["piezoelectric"].crystals, structures=True)
    blocks_here.compute("cell", table)
    first = cases.case_path(work, case, blocks_here.digest(("cell",)))
    blocks_here.path("cell").unlink()
    blocks_here.compute("cell", table.assign(structure=table["structure"].tolist()[::-1]))
    assert cases.case_path(work, case, blocks_here.digest(("cell",))) != first


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--tasks", "hardness"], "'hardness' is none of gap"),
        (["--sets", "mp_v9"], "'mp_v9' is none of dummy"),
        (["--jobs", "0"], "at least 1"),
        (["--weights", "a/x", "b/x"], "different names"),
        ([], "no such file; check --data"),
    ],
)
def test_wrong_options_end_with_what_to_do(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        classical.main(["--data", str(tmp_path), *options])
    assert message in capsys.readouterr().err


def test_more_subsets_are_drawn_of_few_labels() -> None:
    assert [tasks.n_subsets(n) for n in (250, 500, 2000, 8000, "all")] == [5, 5, 3, 3, 1]
