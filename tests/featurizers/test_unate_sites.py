"""UnateSiteFeaturizer: values, matminer's site contract, and what is computed how often."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from disordered_crystals import disordered_crystals
from matminer.featurizers.base import MultipleFeaturizer
from matminer.featurizers.site import GaussianSymmFunc
from matminer.featurizers.structure import SiteStatsFingerprint
from pymatgen.core import Lattice, Structure
from pymatgen.core.operations import SymmOp
from real_crystals import crystals
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils import estimator_checks

from matminer_unate import (
    SiteDescriptorStats,
    TightBindingStats,
    UnateFeaturizer,
    UnateSiteFeaturizer,
    ordered_structure,
)
from matminer_unate.crystals.checked import CheckedCrystal
from matminer_unate.errors import StructureError, UnateWarning
from matminer_unate.featurizers import site_tables
from matminer_unate.featurizers.unate_sites import SITE_COLUMNS

NAMES = ("NaCl", "SrTiO3", "ZnO wurtzite")
DISORDERED = disordered_crystals()
LEARNED_AND_PHYSICS = ("embedding", "tight-binding", "physics", "fingerprint")


@pytest.fixture
def featurizer(tiny_weights: Path) -> UnateSiteFeaturizer:
    return UnateSiteFeaturizer(tiny_weights, LEARNED_AND_PHYSICS, device="cpu")


@pytest.fixture
def frame() -> pd.DataFrame:
    """All sites of three crystals, a row each."""
    named = crystals()
    rows = [(named[n], k, f"{n}-{k}") for n in NAMES for k in range(len(named[n]))]
    return pd.DataFrame(rows, columns=["structure", "site_index", "label"]).set_index("label")


@pytest.fixture
def described(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many crystals each call of what describes them got."""
    counts: list[int] = []
    compute = site_tables._site_tables

    def counting(some: Any, groups: Any) -> Any:
        counts.append(len(some))
        return compute(some, groups)

    site_tables._kept_table.cache_clear()
    monkeypatch.setattr(site_tables, "_site_tables", counting)
    return counts


# -- values


def test_the_embedding_is_that_of_embed_sites(tiny_weights: Path) -> None:
    structure = crystals()["SrTiO3"]
    expected = UnateFeaturizer(tiny_weights, device="cpu").embed_sites(structure)
    featurizer = UnateSiteFeaturizer(tiny_weights, device="cpu")
    for idx, vector in enumerate(expected):
        np.testing.assert_allclose(featurizer.featurize(structure, idx), vector, atol=1e-6)
    assert featurizer.feature_labels() == [f"unate_tiny_z_{k:03d}" for k in range(8)]


@pytest.mark.parametrize(
    ("columns", "stats"),
    [
        ("tight-binding", TightBindingStats(pooling="mean")),
        ("physics", SiteDescriptorStats(pooling="mean")),
        ("fingerprint", SiteDescriptorStats(pooling="mean", descriptors="fingerprint")),
        ("predicted", UnateFeaturizer(pooling="mean", device="cpu")),
    ],
)
@pytest.mark.parametrize("name", ["MgAl2O4 spinel", "SiO2 quartz"])
def test_means_over_sites_are_those_of_the_featurizers_of_crystals(
    columns: str, stats: Any, name: str
) -> None:
    structure = crystals()[name]
    sites = UnateSiteFeaturizer(columns=columns, device="cpu").featurize_sites(structure)
    pooled = pd.Series(stats.featurize(structure), stats.feature_labels())
    for label in sites.columns[3:]:
        mean = label.replace("mp_v3_", "mp_v3_mean_") if columns == "predicted" else f"{label}_mean"
        assert sites[label].mean() == pytest.approx(pooled[mean], abs=2e-4), label


def test_columns_do_not_change_with_setting_order_or_cell(tiny_weights: Path) -> None:
    featurizer = UnateSiteFeaturizer(tiny_weights, LEARNED_AND_PHYSICS, device="cpu")
    structure = crystals()["ZrO2 baddeleyite (monoclinic)"]
    expected = featurizer.featurize_sites(structure).iloc[:, 3:].to_numpy()
    turned = structure.copy()
    turned.apply_operation(SymmOp.from_axis_angle_and_translation([1, 2, 3], 40, False, [1, 2, 3]))
    order = np.random.default_rng(0).permutation(len(structure))
    cell = structure * [[1, 1, 0], [0, 1, 0], [0, 0, 2]]
    for other, of in [
        (turned, np.arange(len(structure))),
        (Structure.from_sites([structure[k] for k in order]), order),
        (cell, np.repeat(np.arange(len(structure)), 2)),
    ]:
        found = featurizer.featurize_sites(other).iloc[:, 3:].to_numpy()
        np.testing.assert_allclose(found, expected[of], atol=2e-4)


def test_a_cation_is_positive_and_names_say_so() -> None:
    table = UnateSiteFeaturizer(columns=("predicted", "tight-binding")).featurize_sites(
        crystals()["NaCl"]
    )
    for charge in ("tight_binding_charge", "unate_mp_v3_tight_binding_charge"):
        by_element = table.groupby("element")[charge].mean()
        assert by_element["Na"] > 0 > by_element["Cl"]
    meanings = UnateSiteFeaturizer(columns=SITE_COLUMNS).describe_columns().set_index("name")
    assert list(meanings.loc["tight_binding_band_energy"]) == ["eV", "band energy: Σ 2 f E pᵢ"]
    assert meanings.loc["unate_mp_v3_shortest_bond", "meaning"] == (
        "prediction of shortest bond (min d)"
    )
    assert meanings.index.is_unique
    assert meanings["meaning"].is_unique


# -- all sites


def test_featurize_sites_names_crystal_site_and_element(featurizer: UnateSiteFeaturizer) -> None:
    structures = [crystals()[name] for name in NAMES]
    table = featurizer.featurize_sites(structures)
    assert list(table.columns) == ["row", "site", "element", *featurizer.feature_labels()]
    assert list(table["row"].unique()) == [0, 1, 2]
    assert set(table.dtypes.iloc[3:]) == {np.dtype("float32")}
    for row, structure in enumerate(structures):
        part = table[table["row"] == row]
        assert list(part["site"]) == list(range(len(structure)))
        assert list(part["element"]) == [site.specie.symbol for site in structure]
        alone = featurizer.featurize_sites(structure)
        assert (alone["row"] == 0).all()
        np.testing.assert_allclose(alone.iloc[:, 3:], part.iloc[:, 3:], atol=1e-5)
    assert featurizer.featurize_sites([]).shape == (0, table.shape[1])


def test_an_unusable_crystal_among_many_has_no_rows_or_is_named(
    featurizer: UnateSiteFeaturizer,
) -> None:
    rows = pd.Series([crystals()["Si"], None, crystals()["NaCl"]], index=["a", "b", "c"])
    with pytest.raises(StructureError, match=r"^row 1 \(index 'b'\): the structure is missing"):
        featurizer.featurize_sites(rows)
    lenient = clone(featurizer).set_params(on_error="nan")
    with pytest.warns(UnateWarning, match=r"1 of 3 rows .* have no rows; .*'b'"):
        table = lenient.featurize_sites(rows)
    assert list(table["row"].unique()) == [0, 2]
    with pytest.raises(StructureError, match=r"^the structure is missing"):
        lenient.featurize_sites(None)


# -- disordered crystals


@pytest.mark.parametrize(
    "name", ["Li0.5CoO2", "Sr2FeMoO6", "Fe2.5Ti0.5O4, its iron mixed in valence"]
)
@pytest.mark.parametrize(
    ("disorder", "columns"), [("ordered", ("embedding", "physics")), ("average", "embedding")]
)
def test_sites_of_a_disordered_crystal_have_their_rows_in_their_order_in_every_cell(
    tiny_weights: Path, name: str, disorder: Any, columns: Any
) -> None:
    featurizer = UnateSiteFeaturizer(tiny_weights, columns, "cpu", disorder=disorder)
    structure = DISORDERED[name]
    order = np.random.default_rng(0).permutation(len(structure))
    with pytest.warns(UnateWarning, match="mixed or partial"):
        given, shuffled, larger = (
            featurizer.featurize_sites(other)
            for other in (
                structure,
                Structure.from_sites([structure[k] for k in order]),
                structure * [[1, 1, 0], [0, 1, 0], [0, 0, 2]],
            )
        )
    np.testing.assert_allclose(shuffled.iloc[:, 3:], given.iloc[order, 3:], atol=2e-4)
    repeated = given.loc[given.index.repeat(2)]
    np.testing.assert_allclose(larger.iloc[:, 3:], repeated.iloc[:, 3:], atol=2e-4)
    whole = [k for k, site in enumerate(structure) if site.is_ordered]
    assert [given["element"][k] for k in whole] == [structure[k].specie.symbol for k in whole]


@pytest.mark.parametrize("disorder", ["ordered", "average"])
def test_the_mean_over_sites_by_their_occupancies_is_that_of_what_stands_for_them(
    tiny_weights: Path, disorder: Any
) -> None:
    structure = DISORDERED["Sr2FeMoO6"]
    sites = UnateSiteFeaturizer(tiny_weights, "embedding", "cpu", disorder=disorder)
    crystal = CheckedCrystal(structure, disorder)
    with pytest.warns(UnateWarning, match="mixed or partial"):
        atoms = UnateFeaturizer(tiny_weights, device="cpu").embed_sites(crystal)
    with pytest.warns(UnateWarning, match="mixed or partial"):
        table = sites.featurize_sites(structure)
    assert table["element"].tolist() == ["Sr", "Fe0.5Mo0.5", "O", "O", "O"]
    iron, molybdenum = (atoms[crystal.atomic_numbers == z].mean(0) for z in (26, 42))
    np.testing.assert_allclose(table.iloc[1, 3:].astype(float), (iron + molybdenum) / 2, atol=1e-5)
    assert crystal.given_sites is not None
    weight = crystal.given_sites.weight
    np.testing.assert_allclose(
        table.iloc[:, 3:].mean(), weight @ atoms / weight.sum(), rtol=1e-4, atol=1e-5
    )


def test_alloys_that_differ_in_their_shares_alone_differ_in_their_rows(
    tiny_weights: Path, described: list[int]
) -> None:
    featurizer = UnateSiteFeaturizer(tiny_weights, "embedding", "cpu", disorder="average")
    lattice, places = Lattice.cubic(2.95), [[0, 0, 0], [0.5, 0.5, 0.5]]
    alloys = [Structure(lattice, [{"Cu": x, "Zn": 1 - x}] * 2, places) for x in (0.25, 0.5)]
    with pytest.warns(UnateWarning, match=r"2 row\(s\) hold sites of mixed or partial"):
        together = featurizer.featurize_sites(alloys).iloc[:, 3:]
    with pytest.warns(UnateWarning, match="the structure holds sites of mixed or partial"):
        alone = [featurizer.featurize(alloy, 1) for alloy in alloys]
    assert described == [2, 1, 1]
    np.testing.assert_allclose(together.iloc[[1, 3]], alone, atol=1e-5)
    assert np.abs(np.subtract(*alone)).max() > 1e-3


def test_a_site_that_no_atom_stands_for_is_an_error_and_shifts_no_row(tiny_weights: Path) -> None:
    nearly_empty = Structure(
        Lattice.cubic(4.1), ["Cs", {"Li": 0.01}, "Cl"], [[0, 0, 0], [0.5, 0.5, 0], [0.5, 0.5, 0.5]]
    )
    ordered = UnateSiteFeaturizer(tiny_weights, "embedding", "cpu", disorder="ordered")
    assert len(ordered_structure(nearly_empty)) == 2
    for idx in range(3):
        assert not ordered.precheck(nearly_empty, idx)
        with pytest.raises(StructureError, match=r"no atom stands for site 1, .*Li0\.01"):
            ordered.featurize(nearly_empty, idx)
    average = clone(ordered).set_params(disorder="average")
    assert average.precheck(nearly_empty, 1)
    with pytest.warns(UnateWarning, match="their elements count with their shares"):
        assert len(average.featurize_sites(nearly_empty)) == 3


# -- matminer's site contract


def test_one_site_after_another_describes_the_crystal_once(
    featurizer: UnateSiteFeaturizer, described: list[int]
) -> None:
    structure = crystals()["SrTiO3"]
    rows = [featurizer.featurize(structure, idx) for idx in range(5)]
    rows += [clone(featurizer).featurize(structure.copy(), 0)]
    assert described == [1]
    assert rows[5] == rows[0]
    assert rows[0] != rows[1]


def test_a_structure_that_was_changed_is_described_anew(
    featurizer: UnateSiteFeaturizer, described: list[int]
) -> None:
    structure = crystals()["SrTiO3"]
    before = featurizer.featurize(structure, 1)
    structure.replace(0, "Ba")
    changed = featurizer.featurize(structure, 1)
    assert changed != before
    structure.replace(0, "Sr")
    assert featurizer.featurize(structure, 1) == before
    assert described == [1, 1]
    assert featurizer.set_params(columns="physics").featurize(structure, 1) != before


def test_other_weights_of_the_same_folder_are_not_taken_for_the_former(
    tiny_weights: Path, other_weights: Path
) -> None:
    structure = crystals()["SrTiO3"]
    one, other = (UnateSiteFeaturizer(w, device="cpu") for w in (tiny_weights, other_weights))
    assert one.featurize(structure, 0) != other.featurize(structure, 0)
    assert one.set_params(weights=other_weights).featurize(structure, 0) == other.featurize(
        structure, 0
    )


def test_site_stats_fingerprint_pools_its_columns(
    featurizer: UnateSiteFeaturizer, described: list[int]
) -> None:
    structures = pd.DataFrame({"structure": [crystals()[name] for name in NAMES]})
    pooled = SiteStatsFingerprint(featurizer, stats=("mean", "maximum"))
    pooled.set_n_jobs(1)
    pooled.fit(structures["structure"])
    out = pooled.featurize_dataframe(structures, "structure", pbar=False)
    assert described == [1, 1, 1]
    assert list(out.columns[1:3]) == ["mean unate_tiny_z_000", "maximum unate_tiny_z_000"]
    table = featurizer.featurize_sites(structures["structure"])
    for k, how in enumerate(("mean", "max")):
        expected = table.drop(columns=["site", "element"]).groupby("row").agg(how)
        np.testing.assert_allclose(out.iloc[:, 1 + k :: 2], expected, atol=1e-4)
    assert pooled.citations() == featurizer.citations()


@pytest.mark.slow
def test_site_stats_fingerprint_works_in_its_forked_workers(
    featurizer: UnateSiteFeaturizer,
) -> None:
    structures = pd.DataFrame({"structure": [crystals()[name] for name in NAMES]})
    pooled = SiteStatsFingerprint(featurizer, stats=("mean",)).fit(structures["structure"])
    pooled.set_n_jobs(2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python's own on forks
        out = pooled.featurize_dataframe(structures, "structure", pbar=False)
    table = featurizer.featurize_sites(structures["structure"])
    expected = table.drop(columns=["site", "element"]).groupby("row").mean()
    np.testing.assert_allclose(out.iloc[:, 1:], expected, atol=1e-4)


def test_frames_of_sites_keep_rows_and_index_and_describe_each_crystal_once(
    featurizer: UnateSiteFeaturizer, frame: pd.DataFrame, described: list[int]
) -> None:
    shuffled = frame.sample(frac=1, random_state=0)
    out = featurizer.featurize_dataframe(shuffled, ["structure", "site_index"], pbar=False)
    assert described == [3]
    assert out.index.equals(shuffled.index)
    assert list(out.columns) == ["structure", "site_index", *featurizer.feature_labels()]
    table = featurizer.featurize_sites([crystals()[n] for n in NAMES])
    np.testing.assert_allclose(out.loc[frame.index].iloc[:, 2:], table.iloc[:, 3:], atol=1e-5)
    copies = shuffled.assign(structure=[s.copy() for s in shuffled["structure"]])
    again = featurizer.featurize_dataframe(copies, ["structure", "site_index"], pbar=False)
    assert described[-1] == 3
    np.testing.assert_array_equal(again.iloc[:, 2:], out.iloc[:, 2:])


def test_whatever_holds_pairs_is_taken(
    featurizer: UnateSiteFeaturizer, frame: pd.DataFrame
) -> None:
    expected = featurizer.transform(frame[["structure", "site_index"]])
    pairs = list(zip(frame["structure"], frame["site_index"], strict=True))
    forms: list[Any] = [pairs, tuple(pairs), frame.values, iter(pairs), pd.Series(pairs)]
    forms += [[list(pair) for pair in pairs], frame.astype({"site_index": float})]
    for form in forms:
        np.testing.assert_array_equal(featurizer.transform(form), expected)
    assert featurizer.featurize_many(pairs, pbar=False) == expected.tolist()
    assert featurizer.featurize_many([]) == []


@pytest.mark.parametrize("over_entries", [True, False])
@pytest.mark.parametrize("errors", ["raise", "ignore", "tell"])
@pytest.mark.parametrize("multiindex", [True, False])
def test_in_a_multiple_featurizer_rows_are_its_own(
    featurizer: UnateSiteFeaturizer,
    frame: pd.DataFrame,
    over_entries: bool,
    errors: str,
    multiindex: bool,
) -> None:
    expected = featurizer.transform(frame)
    twin = GaussianSymmFunc(etas_g2=[0.05], etas_g4=[0.05], zetas_g4=[1], gammas_g4=[1])
    both = MultipleFeaturizer([twin, featurizer], iterate_over_entries=over_entries)
    both.set_n_jobs(1)
    given = frame if errors == "raise" else frame.assign(site_index=[99, *frame["site_index"][1:]])
    out = both.featurize_dataframe(
        given.copy(),
        ["structure", "site_index"],
        ignore_errors=errors != "raise",
        return_errors=errors == "tell",
        multiindex=multiindex,
        pbar=False,
    )
    assert out.index.equals(frame.index)
    own = featurizer.feature_labels()
    keys = [("UnateSiteFeaturizer", label) for label in own] if multiindex else own
    values = out[keys].to_numpy(dtype=float)
    if errors != "raise":
        assert np.isnan(values[0]).all()
        values[0] = expected[0]
    np.testing.assert_allclose(values, expected, atol=1e-5)
    if errors == "tell":
        assert "there is no site 99: the structure has 8 sites" in out.iloc[0, -1]
        assert out.iloc[1:, -1].isna().all()


# -- bad input


@pytest.mark.parametrize(
    ("structure", "idx", "message"),
    [
        (None, 0, "the structure is missing"),
        (Structure(Lattice.cubic(3.6), [{"Cu": 0.5, "Au": 0.5}], [[0, 0, 0]]), 0, "disordered"),
        (Structure(Lattice.cubic(0.5), ["Cu"], [[0, 0, 0]]), 0, "denser than any crystal"),
        (crystals()["NaCl"], 8, "there is no site 8: the structure has 8 sites, numbered from 0"),
        (crystals()["NaCl"], -1, "there is no site -1"),
        (crystals()["NaCl"], 1.5, "whole number from 0, got 1.5"),
        (crystals()["NaCl"], float("nan"), "whole number from 0, got nan"),
        (crystals()["NaCl"], None, "whole number from 0, got None"),
        (crystals()["NaCl"], True, "whole number from 0, got True"),
        (crystals()["NaCl"], "0", "whole number from 0, got '0'"),
    ],
)
def test_bad_rows_are_named_or_nan(
    featurizer: UnateSiteFeaturizer, structure: Any, idx: Any, message: str
) -> None:
    with pytest.raises(StructureError, match=rf"(?s)^(?:.*)({message}).*set on_error='nan'\.$"):
        featurizer.featurize(structure, idx)
    assert not featurizer.precheck(structure, idx)
    good = crystals()["Si"]
    rows = [(good, 0), (structure, idx), (good, 1)]
    with pytest.raises(StructureError, match=r"^row 1: "):
        featurizer.transform(rows)
    lenient = clone(featurizer).set_params(on_error="nan")
    with pytest.warns(UnateWarning) as found:
        values = lenient.transform(rows)
    (text,) = [str(w.message) for w in found if w.category is UnateWarning]
    assert text.startswith("1 of 3 rows could not be encoded and are NaN; the first is row 1")
    assert np.isnan(values[1]).all()
    assert np.isfinite(values[[0, 2]]).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda f, s: f.transform([s, s]), "each row needs pairs .*featurize_sites takes struct"),
        (lambda f, s: f.transform(s), "expected a list, .*featurize_sites takes structures"),
        (lambda f, s: f.transform(pd.DataFrame({"a": [s]})), "expected two columns.*got 1"),
        (lambda f, s: f.transform(np.zeros((2, 3))), r"shape \(2, 3\)"),
        (
            lambda f, s: f.featurize_dataframe(pd.DataFrame({"a": [s]}), "a"),
            r"name two columns, .*\['structure', 'site_index'\]; got 'a'",
        ),
        (lambda f, s: f.featurize_dataframe(pd.DataFrame(), ["a", "b"]), "no column 'a'"),
        (lambda f, s: f.set_params(columns="charge").featurize(s, 0), "embedding, predicted, tig"),
        (lambda f, s: f.set_params(columns=()).featurize(s, 0), "columns must name"),
        (lambda f, s: f.set_params(columns="predicted").featurize(s, 0), "'tiny' predict no quant"),
        (lambda f, s: f.set_params(disorder="mean").featurize(s, 0), "'average', got 'mean'"),
        (
            lambda f, s: f.set_params(disorder="average").featurize(s, 0),
            "averages of disordered crystals have the columns embedding, predicted alone",
        ),
        (lambda f, s: f.set_params(batch_size=0).featurize(s, 0), "at least 1"),
        (lambda f, s: f.set_params(weights="nowhere").fit(), "neither shipped"),
    ],
)
def test_wrong_calls_and_options_are_named(
    featurizer: UnateSiteFeaturizer, call: Callable[[Any, Any], Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        call(featurizer, crystals()["Si"])


def test_warnings_name_the_row_and_come_once(tiny_weights: Path) -> None:
    krypton = Structure(Lattice.cubic(12), ["Kr"], [[0, 0, 0]])
    polonium = Structure(Lattice.cubic(3.3), ["Po"], [[0, 0, 0]])
    featurizer = UnateSiteFeaturizer(tiny_weights, device="cpu")
    rows = [(crystals()["Si"], 0), (krypton, 0), (polonium, 0)]
    with pytest.warns(UnateWarning) as found:
        featurizer.transform(rows)
    texts = sorted(str(w.message) for w in found)
    assert len(texts) == 2
    assert texts[0].startswith("1 row(s) hold atoms with no neighbour within 3.82 Å")
    assert texts[0].endswith("the first is row 1")
    assert texts[1].startswith("1 row(s) hold elements the weights 'tiny' have not seen (Po)")
    assert {w.filename for w in found} == {__file__}


# -- scikit-learn


def test_pipelines_searches_and_column_transformers_work(
    featurizer: UnateSiteFeaturizer, frame: pd.DataFrame
) -> None:
    y = [site.specie.X for s, k in frame.to_numpy() for site in [s[k]]]
    pipeline = make_pipeline(featurizer, Ridge())
    choices = {"unatesitefeaturizer__columns": ["embedding", ("physics", "embedding")]}
    search = GridSearchCV(pipeline, choices, cv=3, error_score="raise").fit(frame, y)
    assert np.isfinite(search.predict(frame)).all()
    transformer = ColumnTransformer([("u", featurizer, ["structure", "site_index"])])
    out = transformer.set_output(transform="pandas").fit_transform(frame)
    assert out.index.equals(frame.index)
    assert list(out) == [f"u__{label}" for label in featurizer.feature_labels()]


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
def test_scikit_learns_own_checks_pass(check: Any, featurizer: UnateSiteFeaturizer) -> None:
    check("UnateSiteFeaturizer", featurizer)


def test_matminers_mixin_order_is_the_one_known_departure(featurizer: UnateSiteFeaturizer) -> None:
    # BaseFeaturizer lists BaseEstimator before TransformerMixin and a subclass cannot reorder them.
    with pytest.raises(AssertionError, match="mixin"):
        estimator_checks.check_mixin_order("UnateSiteFeaturizer", featurizer)


def test_a_pickle_is_small_and_gives_the_same(
    featurizer: UnateSiteFeaturizer, frame: pd.DataFrame
) -> None:
    expected = featurizer.transform(frame)
    content = pickle.dumps(featurizer)
    assert len(content) < 1_000
    np.testing.assert_array_equal(pickle.loads(content).transform(frame), expected)
