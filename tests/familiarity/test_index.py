"""UnateIndex: nearest crystals, duplicates, and what is saved."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from disordered_crystals import disordered_crystals
from pymatgen.core import Structure
from real_crystals import crystals

from matminer_unate import UnateIndex, UnateNovelty
from matminer_unate.datasets import load_semiconductors
from matminer_unate.errors import InputError, StructureError, UnateWarning, WeightsError
from matminer_unate.familiarity import index as index_module

NAMED = crystals()


@pytest.fixture
def index(tiny_weights: Path) -> UnateIndex:
    return UnateIndex(pd.Series(NAMED), weights=tiny_weights, device="cpu")


def test_a_supercell_finds_its_crystal_and_then_others_by_distance(index: UnateIndex) -> None:
    found = index.query(NAMED["SrTiO3"] * (2, 1, 1), k=3)
    assert list(found) == ["row", "id", "formula", "distance"]
    assert found.loc[0, "id"] == "SrTiO3"
    assert found.loc[0, "distance"] == pytest.approx(0, abs=1e-4)
    assert found["distance"].is_monotonic_increasing
    assert found["distance"][1] > 1e-3


def test_many_queries_are_as_single_ones_and_by_brute_force(
    index: UnateIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_module, "_QUERIES_AT_ONCE", 2)
    many = index.query(list(NAMED.values()), k=4)
    E = index.embeddings.astype(np.float64)
    apart = np.linalg.norm(E[:, None] - E, axis=-1)
    expected = np.argsort(apart, axis=1, kind="stable")[:, :4]
    assert many["row"].to_numpy().reshape(-1, 4).tolist() == expected.tolist()
    rows = many.groupby("query")
    for number, structure in enumerate(NAMED.values()):
        one = index.query(structure, k=4)
        assert list(rows.get_group(number)["row"]) == list(one["row"])


def test_polymorphs_and_their_kin_come_first() -> None:
    df = load_semiconductors().head(50)  # all have neighbours within the cutoff
    index = UnateIndex(df["structure"], df["prototype"])
    carbides = index.query(df["structure"][3], k=3)
    assert list(carbides["formula"]) == ["SiC", "SiC", "SiC"]
    phosphide = index.query(df["structure"][5], k=3)
    assert list(phosphide["formula"]) == ["AlP", "AlAs", "GaP"]
    assert set(phosphide["id"]) == {"zincblende"}


def test_duplicates_are_other_cells_of_a_crystal_and_not_its_polymorphs() -> None:
    df = load_semiconductors()
    carbides = df["structure"][df["formula"] == "SiC"].tolist()
    moved = carbides[0].copy()
    moved.translate_sites(range(len(moved)), [0.1, 0.2, 0.3])
    index = UnateIndex([*carbides, df["structure"][0], carbides[0] * 2, moved])
    n = len(carbides)
    assert index.duplicates().tolist() == [*range(n + 1), 0, 0]
    assert index.duplicates(100.0).tolist() == [0] * n + [n, 0, 0]
    with pytest.raises(InputError, match="0 or more"):
        index.duplicates(-1)


def test_an_index_is_saved_and_loaded(
    index: UnateIndex, tmp_path: Path, tiny_weights: Path, other_weights: Path
) -> None:
    index.save(tmp_path)
    again = UnateIndex.load(tmp_path, device="cpu")
    assert (again.ids, again.formulas) == (index.ids, index.formulas)
    np.testing.assert_array_equal(again.embeddings, index.embeddings)
    again.add([NAMED["Si"]], ["once more"])
    assert len(again) == len(index) + 1
    assert list(again.query(NAMED["Si"], 2)["row"]) == [1, len(index)]
    with pytest.raises(WeightsError, match="other weights"):
        UnateIndex.load(tmp_path, other_weights)
    rows = json.loads((tmp_path / "rows.json").read_text())
    (tmp_path / "rows.json").write_text(json.dumps(rows | {"ids": []}))
    with pytest.raises(WeightsError, match="truncated or changed"):
        UnateIndex.load(tmp_path)


def test_unusable_structures_are_like_no_other(tiny_weights: Path) -> None:
    given = [NAMED["Si"], None, NAMED["NaCl"]]
    with pytest.raises(StructureError, match="row 1"):
        UnateIndex(given, weights=tiny_weights)
    with pytest.warns(UnateWarning, match="1 of 3 rows"):
        index = UnateIndex(given, weights=tiny_weights, on_error="nan")
    assert index.formulas == ["Si", "", "NaCl"]
    assert sorted(index.query(NAMED["NaCl"])["row"]) == [0, 2]
    assert index.duplicates().tolist() == [0, 1, 2]
    with pytest.warns(UnateWarning, match="1 of 2 rows"):
        assert set(index.query([None, NAMED["Si"]])["query"]) == {1}


def test_a_disordered_crystal_is_as_its_ordered_cell(tiny_weights: Path, tmp_path: Path) -> None:
    alloy = disordered_crystals()["CuZn"]
    with pytest.warns(UnateWarning, match=r"1 row\(s\) hold (such )?sites"):
        index = UnateIndex([NAMED["Si"], alloy], weights=tiny_weights, disorder="ordered")
    assert index.formulas == ["Si", "ZnCu"]
    index.save(tmp_path)
    loaded = UnateIndex.load(tmp_path, disorder="ordered")
    with pytest.warns(UnateWarning, match="hold (such )?sites"):
        assert loaded.query(alloy, k=1)["distance"].tolist() == pytest.approx([0], abs=1e-5)


def test_an_iterator_is_read_once(tiny_weights: Path) -> None:
    some = list(NAMED.values())[:3]
    index = UnateIndex((s for s in some[:2]), ["a", "b"], tiny_weights, device="cpu")
    index.add(iter(some[2:]), ["c"])
    assert (len(index), len(index.formulas), len(index.embeddings)) == (3, 3, 3)
    assert index.query(some[2], 1)["id"].tolist() == ["c"]
    with pytest.raises(InputError, match="an iterator can be read only once"):
        UnateNovelty(tiny_weights, device="cpu").fit(iter(some))


def test_mistakes_are_told(index: UnateIndex, tiny_weights: Path) -> None:
    silicon: Structure = NAMED["Si"]
    with pytest.raises(InputError, match="holds no crystals"):
        UnateIndex(weights=tiny_weights).query(silicon)
    with pytest.raises(InputError, match="1 structures need 1 ids, got 2"):
        index.add([silicon], ["a", "b"])
    for k in (0, 1.5, True):
        with pytest.raises(InputError, match="whole number"):
            index.query(silicon, k)
