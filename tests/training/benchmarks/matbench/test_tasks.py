"""Official tasks: rows, ids, folds and crystals from files and from the package."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matbench_folder import N_ROWS, write_tasks
from places import SHARED
from small_corpora import prototypes

from benchmarks.matbench import tasks
from benchmarks.matbench.tasks import MAX_VAL, TASKS, Fold, read_installed, read_local
from matminer_unate.errors import InputError


@pytest.mark.parametrize("name", TASKS)
def test_rows_have_official_ids_and_the_folds_part_them(name: str, tmp_path: Path) -> None:
    rows = read_local(write_tasks(tmp_path), name)
    assert rows.ids[0] == f"mb-{name.replace('_', '-')}-{'0' * (name[:2] == 'mp')}00001"
    assert len(rows) == N_ROWS
    folds = [rows.official(number) for number in range(5)]
    assert sorted(np.concatenate([f.judged for f in folds])) == list(range(N_ROWS))
    for fold in folds:
        assert not set(fold.train) & set(fold.judged)
    some = np.array([40, 3, 59, 3])
    for row, (lattice, coords, numbers) in zip(some, rows.crystals(some), strict=True):
        expected = prototypes()[row]
        np.testing.assert_allclose(lattice, expected.lattice.matrix)
        np.testing.assert_allclose(coords, expected.frac_coords)
        assert tuple(numbers) == expected.atomic_numbers


def test_gap_and_metal_share_crystals_but_not_folds(tmp_path: Path) -> None:
    folder = write_tasks(tmp_path)
    gap, metal = read_local(folder, "mp_gap"), read_local(folder, "mp_is_metal")
    assert gap.crystal_set == metal.crystal_set
    np.testing.assert_array_equal(gap.crystal_ids, metal.crystal_ids)
    np.testing.assert_array_equal(metal.y, gap.y == 0)
    assert (gap.fold != metal.fold).any()


def test_quick_looks_are_at_training_rows_and_nested() -> None:
    fold = Fold(1, np.arange(100, 400), np.arange(100), "test")
    small, large = fold.inner(0, 50, 40), fold.inner(0, 100, 40)
    for inner in (small, large):
        assert inner.part == "val"
        assert not set(inner.train) & set(inner.judged)
        assert min(*inner.train, *inner.judged) >= 100
    np.testing.assert_array_equal(small.train, large.train[:50])
    np.testing.assert_array_equal(small.judged, large.judged)
    assert len(fold.inner(0, None, None).judged) == 30 <= MAX_VAL
    assert set(fold.inner(1, 50, 40).train) != set(small.train)
    with pytest.raises(InputError, match=r"300 training rows, too few for --n-train 290 and 40"):
        fold.inner(0, 290, 40)


def test_missing_files_columns_and_crystals_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"matbench_elastic.parquet: no such file; --data"):
        read_local(tmp_path, "log_kvrh")
    write_tasks(tmp_path)
    path = tmp_path / "mp_structures.parquet"
    pd.read_parquet(path).query("material_id != 'mp-7'").to_parquet(path)
    rows = read_local(tmp_path, "mp_gap")
    with pytest.raises(InputError, match=r"mp_structures.parquet has no crystal 'mp-7'"):
        rows.crystals(np.array([7]))
    path = tmp_path / "matbench_elastic.parquet"
    pd.read_parquet(path).drop(columns="fold").to_parquet(path)
    with pytest.raises(InputError, match="has no column 'fold'"):
        read_local(tmp_path, "log_kvrh")


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What is used of the ``matbench`` package, and of matminer's data, for thirty crystals."""
    folder = tmp_path / "matbench"
    folder.mkdir()
    about: dict[str, Any] = {
        "matbench_phonons": {"input_type": "structure", "target": "last phdos peak"},
        "matbench_glass": {"input_type": "composition", "target": "gfa"},
    }
    for entry in about.values():
        entry["task_type"] = "regression"
    names = [f"mb-phonons-{k + 1:02d}" for k in range(30)]
    splits = {f"fold_{f}": {"test": names[f::5]} for f in range(5)}
    for kind, content in {
        "dataset_metadata": about,
        "validation": {"splits": {"matbench_phonons": splits} | splits},
    }.items():
        (folder / f"matbench_v0.1_{kind}.json").write_text(json.dumps(content), encoding="utf-8")
    found = SimpleNamespace(locate_file=lambda path: tmp_path / path)
    monkeypatch.setattr(tasks, "distribution", lambda name: found)
    frame = pd.DataFrame({"structure": list(prototypes()[:30]), "last phdos peak": np.arange(30.0)})
    monkeypatch.setattr("matminer.datasets.load_dataset", lambda name: frame)
    return folder


def test_the_package_gives_all_official_rows(package: Path) -> None:
    rows = read_installed("phonons")
    assert rows.n_official == len(rows) == 30
    assert rows.ids[6] == "mb-phonons-07"
    np.testing.assert_array_equal(rows.fold, np.arange(30) % 5)
    ((_, _, numbers),) = rows.crystals(np.array([4]))
    assert tuple(numbers) == prototypes()[4].atomic_numbers


def test_tasks_of_compositions_and_unknown_ones_are_refused(package: Path) -> None:
    with pytest.raises(InputError, match="compositions only"):
        read_installed("glass")
    with pytest.raises(InputError, match="no task 'hardness', but phonons, glass"):
        read_installed("hardness")


def test_a_missing_package_says_how_to_install_it() -> None:
    try:
        tasks.distribution("matbench")
    except ImportError:
        with pytest.raises(ImportError, match="pip install --no-deps matbench"):
            read_installed("log_kvrh")
    else:
        pytest.skip("matbench is installed")


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"the real data sets are not at {SHARED}")
@pytest.mark.parametrize("name", TASKS)
def test_the_real_files_hold_most_official_rows(name: str) -> None:
    rows = read_local(SHARED, name)
    assert 0.94 < len(rows) / rows.n_official <= 1
    assert len(set(rows.ids)) == len(rows)
    assert np.isfinite(rows.y).all()
    assert np.ptp(np.bincount(rows.fold)) < 0.01 * len(rows)
