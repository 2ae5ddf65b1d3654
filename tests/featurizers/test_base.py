"""All featurizers under what matminer, scikit-learn, pandas and notebooks ask of them."""

from __future__ import annotations

import html
import itertools
import re
import subprocess
import sys
import warnings
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from disordered_crystals import disordered_crystals
from matminer.featurizers.base import MultipleFeaturizer
from matminer.featurizers.structure import DensityFeatures
from pymatgen.core import Lattice, Structure
from real_crystals import crystals
from sklearn.dummy import DummyRegressor
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline

import matminer_unate
from matminer_unate import (
    SiteDescriptorStats,
    TightBindingStats,
    UnateFeaturizer,
    ordered_structure,
)
from matminer_unate.errors import InputError, StructureError, UnateWarning
from matminer_unate.featurizers.base import StructureFeaturizer
from matminer_unate.featurizers.notebook_view import summary_of
from matminer_unate.network.weights import read_config

NAMES = ("NaCl", "Si", "SrTiO3")


@pytest.fixture(params=["UnateFeaturizer", "SiteDescriptorStats", "TightBindingStats", "CellStats"])
def featurizer(request: pytest.FixtureRequest, tiny_weights: Path) -> StructureFeaturizer:
    if request.param == "UnateFeaturizer":
        return UnateFeaturizer(tiny_weights, device="cpu")
    return getattr(matminer_unate, request.param)()


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    named = crystals()
    return pd.DataFrame({"structure": [named[n] for n in NAMES], "y": [1.0, 2.0, 3.0]}, index=NAMES)


@pytest.fixture(scope="module")
def frame_with_a_bad_row(frame: pd.DataFrame) -> pd.DataFrame:
    bad = frame.copy()
    bad.iloc[1, 0] = None
    return bad


# -- matminer's MultipleFeaturizer


COMBINATIONS = list(
    itertools.product([False, True], ["raise", "ignore", "tell"], [1, 2], [True, False])
)


@pytest.mark.parametrize(("multiindex", "errors", "n_jobs", "over_entries"), COMBINATIONS)
def test_in_a_multiple_featurizer_columns_and_rows_are_as_matminers_own(
    featurizer: StructureFeaturizer,
    frame: pd.DataFrame,
    frame_with_a_bad_row: pd.DataFrame,
    multiindex: bool,
    errors: str,
    n_jobs: int,
    over_entries: bool,
) -> None:
    given = frame if errors == "raise" else frame_with_a_bad_row
    options = {
        "ignore_errors": errors != "raise",
        "return_errors": errors == "tell",
        "multiindex": multiindex,
        "pbar": False,
    }

    def featurized(*members: Any) -> pd.DataFrame:
        several = MultipleFeaturizer(list(members), iterate_over_entries=over_entries)
        several.set_n_jobs(n_jobs)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # Python's own on forks
            return several.featurize_dataframe(given.copy(), "structure", **options)

    def keys(labels: list[str], name: str) -> list[Any]:
        told = [*labels, f"{name} Exceptions"] if errors == "tell" else labels
        return [(name, label) for label in told] if multiindex else told

    twin, name = DensityFeatures(), type(featurizer).__name__
    before = [("Input Data", c) for c in given.columns] if multiindex else list(given.columns)
    own = keys(featurizer.feature_labels(), name)
    others = keys(twin.feature_labels(), "DensityFeatures")
    expected = featurizer.transform(frame["structure"])
    by_twin = featurized(twin)
    for members, labels in [
        ((featurizer,), own),
        ((twin, featurizer), others + own),
    ]:
        out = featurized(*members)
        assert list(out.columns) == before + labels
        assert out.index.equals(given.index)
        if errors == "tell":
            problems = out[own[-1]].to_list()
            twins = by_twin[others[-1]].to_list()
            assert [isinstance(p, str) for p in problems] == [False, True, False]
            assert [isinstance(p, str) for p in twins] == [False, True, False]
            assert "StructureError: the structure is missing" in problems[1]
        values = out[own[: len(expected[0])]].to_numpy(dtype=float)
        for row in range(len(given)):
            if errors != "raise" and row == 1:
                assert np.isnan(values[row]).all()
            else:
                np.testing.assert_allclose(values[row], expected[row], atol=1e-5)
        if len(members) == 2:
            pd.testing.assert_frame_equal(out[others], by_twin[others])


@pytest.mark.parametrize("over_entries", [True, False])
def test_an_error_in_a_multiple_featurizer_names_no_row_that_it_cannot_know(
    featurizer: StructureFeaturizer, frame_with_a_bad_row: pd.DataFrame, over_entries: bool
) -> None:
    several = MultipleFeaturizer([featurizer], iterate_over_entries=over_entries)
    several.set_n_jobs(1)
    # matminer hands over one entry at a time, or all of them without their index.
    start = "the structure is missing" if over_entries else "row 1: the structure is missing"
    with pytest.raises(StructureError, match=f"^{start}.*"):
        several.featurize_dataframe(frame_with_a_bad_row, "structure", pbar=False)


def test_multiindex_labels_are_those_matminer_makes(featurizer: StructureFeaturizer) -> None:
    for return_errors in (False, True):
        labels = featurizer._generate_column_labels(True, return_errors)
        assert isinstance(labels, pd.MultiIndex)
        assert list(labels.levels[0]) == [type(featurizer).__name__]
        assert len(labels) == len(featurizer.feature_labels()) + return_errors


# -- what holds structures


def forms(structures: list[Structure]) -> dict[str, Any]:
    return {
        "generator": (s for s in structures),
        "map": map(Structure.copy, structures),
        "values of a dict": dict(enumerate(structures)).values(),
        "Index": pd.Index(pd.Series(structures)),
        "pandas array": pd.Series(structures).array,
        "Series": pd.Series(structures),
        "tuple": tuple(structures),
        "frame of another library": OtherFrame(structures),
    }


class OtherFrame:
    """A frame that is not pandas', as polars has it: Python objects, and ``to_pandas``."""

    def __init__(self, structures: list[Structure]) -> None:
        self.structures = structures

    def to_pandas(self) -> pd.DataFrame:
        return pd.DataFrame({"structure": self.structures})


def test_whatever_holds_structures_in_order_is_taken(frame: pd.DataFrame) -> None:
    featurizer = SiteDescriptorStats()
    structures = list(frame["structure"])
    expected = featurizer.transform(structures)
    for name, form in forms(structures).items():
        np.testing.assert_array_equal(featurizer.fit(form).transform(form), expected, name)
    model = make_pipeline(featurizer, DummyRegressor()).fit((s for s in structures), frame["y"])
    np.testing.assert_allclose(model.predict(s for s in structures), [2, 2, 2])


@pytest.mark.parametrize(
    ("entries", "got"),
    [
        ({"a": 1}, "dict"),
        ({1, 2}, "set"),
        (None, "NoneType"),
        (deque([1]), r"collections\.deque"),
        (crystals()["Si"], r"pymatgen\.core\.structure\.Structure"),
    ],
)
def test_what_is_no_column_of_structures_is_named_with_its_module(entries: Any, got: str) -> None:
    with pytest.raises(InputError, match=f"got {got}; wrap a single structure in a list, or pass"):
        SiteDescriptorStats().transform(entries)


def test_a_path_or_a_whole_table_is_told_what_to_pass(frame: pd.DataFrame) -> None:
    for path in ("cifs", Path("cifs/Si.cif")):
        with pytest.raises(InputError, match=r"'cifs.*matminer_unate.read_structures\(path\)"):
            SiteDescriptorStats().transform(path)
    with pytest.raises(InputError, match=r"got 2 columns; pass .*, as df\['structure'\]"):
        SiteDescriptorStats().transform(frame)
    with pytest.raises(InputError, match=r"as df\['crystal'\]"):
        SiteDescriptorStats().transform(frame.rename(columns={"structure": "crystal"}))


def test_frames_of_other_libraries_become_pandas(frame: pd.DataFrame) -> None:
    featurizer, structures = SiteDescriptorStats(pooling="mean"), list(frame["structure"])
    expected = featurizer.featurize_dataframe(frame, "structure", pbar=False)
    out = featurizer.featurize_dataframe(OtherFrame(structures), "structure", pbar=False)
    assert isinstance(out, pd.DataFrame)
    labels = featurizer.feature_labels()
    np.testing.assert_array_equal(out[labels], expected[labels])
    assert featurizer.precheck_dataframe(OtherFrame(structures), "structure") == 1
    with pytest.raises(InputError, match=r"inplace=True needs a pandas .*, got .*OtherFrame;"):
        featurizer.featurize_dataframe(OtherFrame(structures), "structure", inplace=True)


def test_polars_frames_and_columns_are_taken(frame: pd.DataFrame) -> None:
    polars = pytest.importorskip("polars")
    featurizer, structures = SiteDescriptorStats(pooling="mean"), list(frame["structure"])
    expected = featurizer.transform(structures)
    table = polars.DataFrame({"structure": structures, "y": [1, 2, 3]})
    out = featurizer.featurize_dataframe(table, "structure", pbar=False)
    np.testing.assert_array_equal(out[featurizer.feature_labels()], expected)
    for column in (table["structure"], table.select("structure")):
        np.testing.assert_array_equal(featurizer.transform(column), expected)


def test_an_arrow_table_is_read_like_a_frame_of_what_it_holds() -> None:
    table = pa.table({"structure": ["no crystal", None]})
    featurizer = SiteDescriptorStats(pooling="mean")
    out = featurizer.featurize_dataframe(table, "structure", ignore_errors=True, pbar=False)
    assert out.iloc[:, 1:].isna().all(axis=None)
    with pytest.raises(StructureError, match=r"row 0"):
        featurizer.transform(table)


def test_frames_that_cannot_be_had_in_pandas_are_named() -> None:
    class Lazy:
        def to_pandas(self) -> None:
            raise RuntimeError("collect it first")

    with pytest.raises(
        InputError, match=r"Lazy could not be converted.*collect it first.*as a lis"
    ):
        SiteDescriptorStats().transform(Lazy())

    class Frame:
        def __dataframe__(self) -> None:
            return None

    with pytest.raises(InputError, match=r"expected a pandas DataFrame, got .*test_base.*Frame;"):
        SiteDescriptorStats().featurize_dataframe(Frame(), "structure")


@pytest.mark.parametrize(
    ("index", "shown"),
    [
        (pd.Index([5, 6, 7]), "index 6"),
        (pd.Index([0.5, 1.5, 2.5]), r"index 1\.5"),
        (pd.MultiIndex.from_product([["mp"], [5, 6, 7]]), r"index \('mp', 6\)"),
        (pd.Index(["a", "b", "c"]), "index 'b'"),
    ],
)
def test_labels_in_messages_are_as_people_write_them(
    frame_with_a_bad_row: pd.DataFrame, index: pd.Index, shown: str
) -> None:
    with pytest.raises(StructureError, match=rf"^row 1 \({shown}\): the structure is missing"):
        SiteDescriptorStats().transform(frame_with_a_bad_row.set_axis(index)["structure"])


# -- warnings


def lone(symbol: str) -> Structure:
    return Structure(Lattice.cubic(12), [symbol], [[0, 0, 0]])


def caught(call: Callable[[], Any]) -> list[warnings.WarningMessage]:
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        call()
    return [w for w in found if issubclass(w.category, UnateWarning)]


def test_warnings_point_at_the_users_line_and_name_the_first_row(
    featurizer: StructureFeaturizer,
) -> None:
    frame = pd.DataFrame(
        {"structure": [crystals()["Si"], lone("Ar"), lone("Kr")]},
        index=["silicon", "argon", "krypton"],
    )
    y, n = np.arange(3.0), 1
    named = type(featurizer)(**featurizer.get_params()).set_output(transform="pandas")
    entries = MultipleFeaturizer([featurizer])
    rows = MultipleFeaturizer([featurizer], iterate_over_entries=False)
    for several in (entries, rows):
        several.set_n_jobs(1)
    model = make_pipeline(named, DummyRegressor())
    labelled = rf"2 row\(s\) hold atoms .*; the first is row {n} \(index 'argon'\)$"
    calls: list[tuple[str, Callable[[], Any]]] = [
        (labelled, lambda: featurizer.transform(frame["structure"])),
        (labelled, lambda: named.fit_transform(frame["structure"])),
        (labelled, lambda: featurizer.featurize_dataframe(frame, "structure", pbar=False)),
        (labelled, lambda: featurizer.fit_featurize_dataframe(frame, "structure", pbar=False)),
        (labelled, lambda: model.fit(frame["structure"], y)),
        (rf"first is row {n}$", lambda: featurizer.featurize_many(frame["structure"], pbar=False)),
        (rf"first is row {n}$", lambda: rows.featurize_dataframe(frame, "structure", pbar=False)),
        ("structure holds atoms", lambda: featurizer.featurize(lone("Ar"))),
        (
            "structure holds atoms",
            lambda: entries.featurize_dataframe(frame, "structure", pbar=False),
        ),
    ]
    if isinstance(featurizer, UnateFeaturizer):
        calls.append(("structure holds atoms", lambda: featurizer.embed_sites(lone("Ar"))))
    for text, call in calls:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            found = caught(call)
        isolated = [w for w in found if "no neighbour" in str(w.message)]
        assert {w.filename for w in found} == {__file__}
        assert [w.lineno for w in isolated] == [call.__code__.co_firstlineno] * len(isolated)
        assert isolated
        assert all(re.search(text, str(w.message)) for w in isolated)


def test_nan_rows_are_told_with_the_users_line(tiny_weights: Path) -> None:
    featurizer = UnateFeaturizer(tiny_weights, on_error="nan").set_output(transform="pandas")
    (found,) = caught(lambda: featurizer.transform(pd.Series([None], index=np.array([7]))))
    assert str(found.message).startswith("1 of 1 rows could not be encoded and are NaN; the first")
    assert "is row 0 (index 7): the structure is missing" in str(found.message)
    (found,) = caught(lambda: featurizer.featurize(None))
    assert str(found.message).startswith("the structure could not be encoded and its columns are")
    assert found.filename == __file__


def test_cross_validation_shows_each_warning_once() -> None:
    code = """
import pandas as pd
from pymatgen.core import Lattice, Structure
from sklearn.dummy import DummyRegressor
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from matminer_unate import SiteDescriptorStats
X = pd.Series([Structure(Lattice.cubic(12 + i), ["Kr"], [[0, 0, 0]]) for i in range(4)])
cross_val_score(make_pipeline(SiteDescriptorStats(), DummyRegressor()), X, range(4), cv=2)
"""
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    lines = [line for line in shown.stderr.splitlines() if "UnateWarning" in line]
    # Two folds transform four times: rows 0 to 1 and 2 to 3, each to learn from and to predict.
    assert [line.split(":")[0] for line in lines] == ["<string>"] * 2
    assert lines[0].endswith("first is row 0 (index 2)")
    assert lines[1].endswith("first is row 0 (index 0)")


def test_warnings_of_a_cross_validation_point_at_its_line() -> None:
    X, y = pd.Series([lone("Ar")] * 4), [0.0, 1.0, 2.0, 3.0]
    model = make_pipeline(SiteDescriptorStats().set_output(transform="pandas"), DummyRegressor())
    found = caught(lambda: cross_val_score(model, X, y, cv=2))
    assert {w.filename for w in found} == {__file__}


# -- notebooks and the interpreter


NO_ESTIMATORS = {"UnateElementData", "UnateIndex"}
ESTIMATORS = [
    name for name in matminer_unate.__all__ if name[0].isupper() and name not in NO_ESTIMATORS
]


@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_notebook_shows_what_an_estimator_is_and_which_weights_and_warns_of_nothing(
    name: str,
) -> None:
    estimator = getattr(matminer_unate, name)()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for shown in (estimator, make_pipeline(estimator)):
            (caption,) = re.findall(r'<div class="caption">(.*?)</div>', shown._repr_html_())
            assert summary_of(type(estimator)) in html.unescape(caption)
            if hasattr(estimator, "weights"):
                assert f"mp_v3 (sha256 {read_config('mp_v3').sha256[:12]}…)" in caption
    assert "on_error" in estimator._repr_html_()


def test_weights_that_are_not_there_are_told_where_an_estimator_is_shown() -> None:
    assert "neither shipped" in UnateFeaturizer("nowhere")._repr_html_()


def test_dir_lists_the_public_classes() -> None:
    code = (
        "import sys, matminer_unate as m; print(sorted(set(m.__all__) - set(dir(m)))); "
        "print('torch' in sys.modules)"
    )
    assert run("-c", code).stdout.split("\n")[:2] == ["[]", "False"]


def test_the_package_runs_as_the_command_line() -> None:
    assert run("-m", "matminer_unate", "--version").stdout.startswith("unate ")
    assert "usage: unate" in run("-m", "matminer_unate", "--help").stdout


def run(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *args], capture_output=True, text=True, check=True)


def test_the_cure_is_one_that_every_method_has(tiny_weights: Path) -> None:
    featurizer = UnateFeaturizer(tiny_weights, device="cpu")
    for call in (featurizer.featurize, lambda bad: featurizer.transform([bad])):
        with pytest.raises(StructureError, match=r"NaN instead, set on_error='nan'\."):
            call(None)


def test_every_column_has_a_unit_and_a_meaning_of_its_own() -> None:
    for featurizer in (
        UnateFeaturizer(),
        UnateFeaturizer("mp_v2_taught", ("min", "sum")),
        SiteDescriptorStats(descriptors="all"),
        TightBindingStats(),
    ):
        table = featurizer.describe_columns()
        assert list(table) == ["name", "unit", "meaning"]
        assert list(table["name"]) == featurizer.feature_labels()
        assert table["unit"].str.len().min() > 0
        assert table["meaning"].is_unique
    meaning = UnateFeaturizer().describe_columns().set_index("name")["meaning"]
    assert meaning["unate_mp_v3_mean_l2_017"] == (
        "channel 17 of the site after layer 2, which knows its surroundings up to 2 × cutoff, mean "
        "over the sites"
    )
    assert meaning["unate_mp_v3_std_pauling_ionicity"] == (
        "prediction of Pauling ionicity (⟨1 − exp(−Δχ²/4)⟩), standard deviation over the sites"
    )
    assert meaning["unate_mp_v3_tight_binding_gap"].startswith("prediction of gap (lowest empty")
    bonds = SiteDescriptorStats().describe_columns().set_index("name")
    assert list(bonds.loc["site_shortest_bond_max"]) == [
        "Å", "shortest bond, largest of the sites: min d"
    ]  # fmt: skip


# -- disordered crystals


def test_disordered_crystals_get_the_columns_of_their_ordered_cells(
    featurizer: StructureFeaturizer, frame: pd.DataFrame
) -> None:
    alloy, battery = (disordered_crystals()[name] for name in ("CuZn", "Li0.5CoO2"))
    given = pd.Series([frame["structure"].iloc[0], alloy, battery.to(fmt="cif")], list("abc"))
    expected = featurizer.transform([given["a"], *map(ordered_structure, (alloy, battery))])
    said = (
        r"^2 row\(s\) hold sites of mixed or partial occupancy; an ordered cell .* stands for "
        r"them; the first is row 1 \(.*'b'|1 row\(s\) hold such sites"
    )
    featurizer.set_params(disorder="ordered")
    with pytest.warns(UnateWarning, match=said) as caught:
        found = featurizer.transform(given)
    told = [str(w.message) for w in caught if w.category is UnateWarning]
    assert told[1:] == [
        "1 row(s) hold such sites and no oxidation states that balance; electronegativities order "
        "them; the first is row 1 (index 'b')"
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=2e-3)
    assert featurizer.precheck(alloy)
    with pytest.warns(UnateWarning, match="the structure holds (such )?sites"):
        alone = featurizer.featurize(alloy)
    np.testing.assert_allclose(alone, found[1], rtol=1e-4, atol=1e-5)


def test_ordered_crystals_get_the_columns_that_they_had(
    featurizer: StructureFeaturizer, frame: pd.DataFrame
) -> None:
    expected = featurizer.transform(frame["structure"])
    found = featurizer.set_params(disorder="ordered").transform(frame["structure"])
    np.testing.assert_array_equal(found, expected)


def test_charges_and_isotopes_of_one_element_on_a_site_are_that_element(
    featurizer: StructureFeaturizer,
) -> None:
    charges, isotopes = {"Fe2+": 0.5, "Fe3+": 0.5}, {"H": 0.4, "D": 0.6}
    mixed, plain = (
        [
            Structure(Lattice.cubic(2.87), [iron, iron], [[0] * 3, [0.5] * 3]),
            Structure(Lattice.cubic(2.45), ["Pd", hydrogen], [[0] * 3, [0.5] * 3]),
        ]
        for iron, hydrogen in ((charges, isotopes), ("Fe", "H"))
    )
    expected = featurizer.transform(plain)
    for disorder in ("raise", "ordered"):
        featurizer.set_params(disorder=disorder)
        np.testing.assert_array_equal(featurizer.transform(mixed), expected)
    assert all(map(featurizer.precheck, mixed))


@pytest.mark.parametrize("disorder", ["drop", None, ["ordered"]])
def test_a_wrong_word_for_disorder_is_told(
    disorder: Any, featurizer: StructureFeaturizer, frame: pd.DataFrame
) -> None:
    with pytest.raises(InputError, match=r"disorder must be 'raise' or 'ordered'.*, got"):
        featurizer.set_params(disorder=disorder).transform(frame["structure"])
