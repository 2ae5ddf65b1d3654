"""Protocols: which rows train, choose and test, from files in the formats they come in."""

from __future__ import annotations

import copy
import itertools
import json
import random
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from places import RECORDED
from sklearn.model_selection import KFold
from small_corpora import materials_project, prototypes

from benchmarks.networks.protocols import Labelled, load_labelled, nested_subset, shuffled_split
from corpora.formulas import formula_part
from matminer_unate.errors import InputError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("protocols")
    table = materials_project(list(prototypes()[:60]))
    for stem in ("mp_mtcgcnn", "mp_elasticity", "jarvis_dft3d_partial"):
        table.to_parquet(path / f"{stem}.parquet")
    mp20 = table.copy()
    mp20["split"] = ["val", "test"] * 30
    mp20.to_parquet(path / "mp20_val_test.parquet")
    tested = set(mp20.loc[mp20["split"] == "test", "formula_reduced"])
    index = pd.DataFrame(
        {
            "file": ["mp_mtcgcnn"] * 60 + ["mp20_val_test"] * 60,
            "row": [*range(60), *range(60)],
            "group_id": [*range(60), *range(60)],
            "formula_in_mp20_test": [f in tested for f in table["formula_reduced"]] * 2,
        }
    )
    index.to_parquet(path / "dedup_index.parquet")
    return path


def formulas_of(labelled: Labelled, part: str) -> set[str]:
    return set(labelled.formulas[labelled.parts[part]])


def test_parts_share_no_formula_and_keep_the_targets(folder: Path) -> None:
    found = load_labelled("mp-gap-20", "band_gap", str(folder))
    assert sum(len(found.parts[p]) for p in ("train", "val", "test")) == 60
    for one, other in (("train", "val"), ("train", "test"), ("val", "test"), ("train", "jarvis")):
        assert not formulas_of(found, one) & formulas_of(found, other)
    by_formula = dict(
        zip(*pd.read_parquet(folder / "mp_mtcgcnn.parquet")[["formula_reduced", "band_gap_ev"]]
            .to_numpy().T, strict=True)
    )  # fmt: skip
    assert [by_formula[f] for f in found.formulas] == pytest.approx(list(found.y))
    assert found.minimum == 0


def test_the_bulk_modulus_is_a_logarithm_of_positive_values(folder: Path) -> None:
    found = load_labelled("mp-gap-20", "log_bulk_modulus", str(folder))
    assert len(found.y) == 59  # one modulus is 0
    assert found.y.max() == pytest.approx(np.log10(200))
    assert "jarvis" not in found.parts
    assert found.minimum == -np.inf


def test_no_formula_of_the_mp20_test_part_is_trained_on(folder: Path) -> None:
    found = load_labelled("mp20-test", "band_gap", str(folder))
    assert len(found.parts["test"]) == 30
    unseen = formulas_of(found, "unseen")
    assert unseen == {f for f in formulas_of(found, "test") if formula_part(f) != "train"}
    assert not formulas_of(found, "test") & (
        formulas_of(found, "train") | formulas_of(found, "val")
    )
    assert not formulas_of(found, "train") & formulas_of(found, "val")
    # Each crystal is in both files, and is used once.
    assert len(found.parts["train"]) + len(found.parts["val"]) == 30


def jarvis_entries(target: str) -> list[dict]:
    """Entries as jarvis-tools downloads them: recorded ones, and others in the same form."""
    recorded = json.loads((RECORDED / "jarvis_dft_3d.json").read_text())
    entries = []
    for n, structure in enumerate(prototypes()[:40]):
        entry = copy.deepcopy(recorded[n % 2])
        if n >= 2:
            entry["atoms"] |= {
                "lattice_mat": structure.lattice.matrix.tolist(),
                "coords": structure.frac_coords.tolist(),
                "elements": [e.symbol for e in structure.species],
                "cartesian": False,
            }
        entries.append(entry | {"jid": f"JVASP-{n}", target: "na" if n % 4 == 3 else n / 10})
    return entries


@pytest.mark.parametrize("zipped", [False, True])
def test_jarvis_is_split_as_published(tmp_path: Path, zipped: bool) -> None:
    text = json.dumps(jarvis_entries("optb88vdw_bandgap"))
    path = tmp_path / ("dft_3d.json.zip" if zipped else "dft_3d.json")
    if zipped:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("dft_3d.json", text)
    else:
        path.write_text(text)
    found = load_labelled("jarvis-opt", "band_gap", str(path))
    # Entries with a target in file order, shuffled with Python's seed 123: 80, 10 and 10 %.
    known = [n / 10 for n in range(40) if n % 4 != 3]
    random.seed(123)
    random.shuffle(known)
    np.testing.assert_allclose(found.y[found.parts["train"]], known[:24])
    np.testing.assert_allclose(found.y[found.parts["val"]], known[24:27])
    np.testing.assert_allclose(found.y[found.parts["test"]], known[27:])


def test_the_sizes_of_mp_2018_are_those_published() -> None:
    parts = shuffled_split(69_239, 5_000, 4_239, 60_000)
    assert [len(parts[p]) for p in ("train", "val", "test")] == [60_000, 5_000, 4_239]
    assert len(np.unique(np.concatenate(list(parts.values())))) == 69_239


def test_a_part_of_mp_2018_keeps_the_proportions(tmp_path: Path) -> None:
    (tmp_path / "megnet.json").write_text(json.dumps(jarvis_entries("gap pbe")))
    found = load_labelled("mp-2018", "band_gap", str(tmp_path / "megnet.json"))
    assert [len(found.parts[p]) for p in ("train", "val", "test")] == [26, 2, 2]


def test_matbench_has_its_own_folds(tmp_path: Path) -> None:
    structures = list(prototypes()[:60])
    recorded = json.loads((RECORDED / "matminer_data_set.json").read_text())
    data = [["", "", s.as_dict(), n / 10] for n, s in enumerate(structures)]
    table = recorded | {"index": list(range(62)), "data": recorded["data"] + data}
    (tmp_path / "matbench.json").write_text(json.dumps(table))
    seen = []
    for fold in range(5):
        found = load_labelled("matbench_mp_gap", "band_gap", str(tmp_path / "matbench.json"), fold)
        expected = list(KFold(5, shuffle=True, random_state=18012019).split(found.y))[fold]
        assert list(found.parts["test"]) == list(expected[1])
        chosen = np.concatenate([found.parts["train"], found.parts["val"]])
        assert sorted(chosen) == sorted(expected[0])
        seen.extend(found.parts["test"])
    assert sorted(seen) == list(range(62))


def own_table(path: Path, **columns: object) -> str:
    """A table of 60 structures and a target, hardness, of which one is missing."""
    structures = list(prototypes()[:60])
    frame = pd.DataFrame({"structure": [json.dumps(s.as_dict()) for s in structures]})
    frame["hardness"] = np.linspace(-50, 50, 60)
    frame.loc[5, "hardness"] = np.nan
    frame.assign(**columns).to_csv(path / "mine.csv", index=False)
    return str(path / "mine.csv")


def test_any_table_with_a_target_can_be_used(tmp_path: Path) -> None:
    table = own_table(tmp_path)
    found = load_labelled("table", "hardness", table)
    assert len(found.y) == 59
    assert found.minimum == -np.inf
    assert {formula_part(f) for f in formulas_of(found, "val")} == {"val"}
    with pytest.raises(InputError, match="no column 'gap'; there are hardness"):
        load_labelled("table", "gap", table)
    with pytest.raises(InputError, match="needs --target"):
        load_labelled("table", "", table)


def test_a_table_may_say_which_row_is_for_what(tmp_path: Path) -> None:
    split = np.array(["train"] * 40 + ["val"] * 10 + ["test"] * 10)
    found = load_labelled("table", "hardness", own_table(tmp_path, split=split))
    assert [len(found.parts[p]) for p in ("train", "val", "test")] == [39, 10, 10]
    table = own_table(tmp_path, split=np.where(split == "val", "validation", split))
    with pytest.raises(InputError, match=r"row 40: split is 'validation', not one of train"):
        load_labelled("table", "hardness", table)
    table = own_table(tmp_path, split=np.where(split == "val", "train", split))
    with pytest.raises(InputError, match="of 59 rows fewer than two are for val; a column 'split'"):
        load_labelled("table", "hardness", table)


def test_a_target_that_is_no_number_names_its_row(tmp_path: Path) -> None:
    table = own_table(tmp_path, name="a crystal", hard=[*range(59), "very"])
    with pytest.raises(InputError, match=r"row 59: hard is 'very', not a number"):
        load_labelled("table", "hard", table)


def test_many_targets_of_one_least_value_are_a_floor(tmp_path: Path) -> None:
    table = own_table(tmp_path, gap=np.maximum(np.linspace(-1, 3, 60), 0))
    assert load_labelled("table", "gap", table).minimum == 0


@pytest.mark.parametrize(
    ("protocol", "name", "message"),
    [
        ("mp-gap", "band_gap", "no protocol"),
        ("mp-gap-20", "hardness", "no property"),
        ("mp20-test", "formation_energy", "is about band gaps"),
        ("jarvis-opt", "band_gap", "is no list of entries"),
        ("mp-gap-20", "band_gap", "no such file"),
    ],
)
def test_mistakes_say_what_to_do(tmp_path: Path, protocol: str, name: str, message: str) -> None:
    data = tmp_path
    if protocol == "jarvis-opt":
        data = tmp_path / "a.json"
        data.write_text("[1, 2]")
    with pytest.raises(InputError, match=message):
        load_labelled(protocol, name, str(data))


def test_smaller_subsets_lie_in_larger_ones() -> None:
    train = np.arange(100, 200)
    subsets = [set(nested_subset(train, share, seed=3)) for share in (0.25, 0.5, 0.75, 1.0)]
    assert [len(s) for s in subsets] == [25, 50, 75, 100]
    for small, large in itertools.pairwise(subsets):
        assert small < large
    assert set(nested_subset(train, 25, seed=3)) == subsets[0]
    assert set(nested_subset(train, 0.25, seed=4)) != subsets[0]
    with pytest.raises(InputError, match="1000 labels asked for of 100"):
        nested_subset(train, 1000, 0)
