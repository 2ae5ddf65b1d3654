"""Files of site targets, made by teachers that are small enough to check by hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pymatgen.core import Lattice, Structure
from real_crystals import crystals
from small_corpora import as_crystal, prototypes, write_parquet

from corpora.crystal import Crystal
from site_targets import chgnet, computing
from site_targets.computing import Teacher
from site_targets.files import SiteVectors, read_site_targets
from teachers import main

CRYSTALS = [as_crystal(s) for s in prototypes()[:9]]
LARGEST = max(len(c.atomic_numbers) for c in CRYSTALS)


def coordinates(crystals: Sequence[Crystal]) -> list[SiteVectors | None]:
    """A teacher that says the atomic number and the coordinates of each site."""
    return [np.column_stack([c.atomic_numbers, c.frac_coords]).astype(np.float32) for c in crystals]


@pytest.fixture
def teach(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Run the command with a given teacher on ``CRYSTALS``, two a part file; the output path."""
    monkeypatch.setattr(computing, "PART_CRYSTALS", 2)
    data = write_parquet(tmp_path / "data.parquet", CRYSTALS)

    def run(targets=coordinates, out: str = "sites.parquet", *options: str, name: str = "fake"):
        monkeypatch.setitem(computing.TEACHERS, name, Teacher(targets, lambda: "1"))
        path = tmp_path / out
        arguments = ["--teacher", name, "--data", data, "--part", "all", "--out", str(path)]
        main([*arguments, *options])
        return path

    return run


def test_vectors_come_back_site_by_site_under_the_identifier(teach):
    targets = read_site_targets(teach())
    assert targets.keys() == {c.identifier for c in CRYSTALS}
    for crystal in CRYSTALS:
        vectors = targets[crystal.identifier]
        assert vectors.dtype == np.float32
        np.testing.assert_array_equal(vectors[:, 0], crystal.atomic_numbers)
        np.testing.assert_allclose(vectors[:, 1:], crystal.frac_coords, atol=1e-3)


def test_file_says_who_made_it_and_holds_small_cells_first(teach):
    path = teach()
    about = pq.read_schema(path).metadata[b"site_targets"].decode()
    assert '"teacher": "fake"' in about
    assert "teachers.py --teacher fake" in about
    table = pq.read_table(path)
    sizes = table["n_sites"].to_pylist()
    assert sizes == sorted(sizes)
    assert set(table["n_targets"].to_pylist()) == {4}


def test_stopped_run_can_be_read_and_goes_on_where_it_was(teach, tmp_path):
    taught: list[str] = []

    def stopping(crystals):
        if len(taught) == 4:
            raise KeyboardInterrupt
        taught.extend(c.identifier for c in crystals)
        return coordinates(crystals)

    with pytest.raises(KeyboardInterrupt):
        teach(stopping)
    with pytest.raises(ValueError, match=r"unfinished: repeat its command, or read .*\.parts"):
        read_site_targets(tmp_path / "sites.parquet")
    assert list(read_site_targets(tmp_path / "sites.parquet.parts")) == taught

    again: list[str] = []

    def counting(crystals):
        again.extend(c.identifier for c in crystals)
        return coordinates(crystals)

    resumed = read_site_targets(teach(counting))
    whole = read_site_targets(teach(coordinates, "whole.parquet"))
    assert not set(again) & set(taught)
    assert list(resumed) == list(whole)
    for name, vectors in whole.items():
        np.testing.assert_array_equal(resumed[name], vectors)
    assert not (tmp_path / "sites.parquet.parts").exists()


def test_finished_file_grows_by_the_crystals_that_are_new(teach):
    path = teach(coordinates, "sites.parquet", "--max-sites", "4")
    few = read_site_targets(path)
    assert 0 < len(few) < len(CRYSTALS)
    assert len(read_site_targets(teach())) == len(CRYSTALS)


def test_crystals_that_the_teacher_cannot_judge_are_left_out_and_named(teach, capsys):
    def choosy(crystals):
        return [v if len(v) < LARGEST else None for v in coordinates(crystals)]

    targets = read_site_targets(teach(choosy))
    left_out = [c.identifier for c in CRYSTALS if c.identifier not in targets]
    assert left_out
    assert all(name in capsys.readouterr().out for name in left_out[:1])
    with pytest.raises(ValueError, match="could judge none"):
        teach(lambda crystals: [None] * len(crystals), "none.parquet")


def test_teachers_and_versions_are_not_mixed_in_one_file(teach):
    teach()
    with pytest.raises(ValueError, match=r"made by fake, 1, and not by other, 1; give another"):
        teach(name="other")


def test_bad_vectors_of_a_teacher_are_refused(teach):
    with pytest.raises(ValueError, match=r"gave shape .* expected one row a site"):
        teach(lambda crystals: [v[:-1] for v in coordinates(crystals)], "a.parquet")
    with pytest.raises(ValueError, match="not finite or too large"):
        teach(lambda crystals: [v * np.nan for v in coordinates(crystals)], "b.parquet")
    with pytest.raises(ValueError, match="not finite or too large"):
        teach(lambda crystals: [v + 1e6 for v in coordinates(crystals)], "c.parquet")
    with pytest.raises(ValueError, match="vectors of different lengths"):
        teach(lambda crystals: [v[:, : len(v)] for v in coordinates(crystals)], "d.parquet")


@pytest.mark.slow
def test_every_limit_of_sites_finds_the_duplicate_that_it_keeps(tmp_path, capsys):
    salt = crystals()["NaCl"]
    primitive = as_crystal(salt.get_primitive_structure(), "small cell", 225)
    conventional = as_crystal(salt, "large cell", 225)
    silicon = as_crystal(crystals()["Si"], "two cells", 227)
    smaller = as_crystal(crystals()["Si"].get_primitive_structure(), "two cells", 227)
    table = [conventional, primitive, silicon, smaller]
    data = [write_parquet(tmp_path / "data.parquet", table)]
    found = computing.read_all(data, ["all"], [2, 8])
    assert [c.identifier for c in found] == ["small cell", "large cell"]
    assert "1 identifiers left out" in capsys.readouterr().out
    assert len(computing.read_all(data, ["all"], [8])) == 2  # of each pair, the first


def test_damaged_files_are_refused_by_name(tmp_path):
    with pytest.raises(ValueError, match=r"no site targets at .*; make it with"):
        read_site_targets(tmp_path / "missing.parquet")

    def write(**columns) -> Path:
        path = tmp_path / "sites.parquet"
        pq.write_table(pa.table(columns), path)
        return path

    two = {"identifier": ["a", "b"], "n_sites": [1, 2]}
    good = read_site_targets(write(**two, values=[[1.0, 2.0], [3.0, 4.0, 5.0, 6.0]]))
    np.testing.assert_array_equal(good["b"], [[3, 4], [5, 6]])
    with pytest.raises(ValueError, match="b has 3 values for 2 sites, expected 2 for each"):
        read_site_targets(write(**two, values=[[1.0, 2.0], [3.0, 4.0, 5.0]]))
    with pytest.raises(ValueError, match="a has 1 values for 2 sites"):
        read_site_targets(write(identifier=["a"], n_sites=[2], values=[[1.0]]))
    with pytest.raises(ValueError, match="a comes twice"):
        read_site_targets(write(identifier=["a", "a"], n_sites=[1, 1], values=[[1.0], [2.0]]))
    with pytest.raises(ValueError, match="no column 'values'"):
        read_site_targets(write(**two))
    with pytest.raises(ValueError, match="holds no values"):
        read_site_targets(write(identifier=[], n_sites=[], values=[]))


def test_chgnet_sees_the_crystal_and_not_the_order_of_its_sites():
    pytest.importorskip("chgnet")
    salt = crystals()["NaCl"]
    order = np.random.default_rng(0).permutation(len(salt))
    shuffled = Structure.from_sites([salt[i] for i in order])
    primitive = salt.get_primitive_structure()
    vectors, permuted, reduced = chgnet.chgnet_targets(
        [as_crystal(s) for s in (salt, shuffled, primitive)]
    )
    assert vectors.shape == (8, 64)
    np.testing.assert_allclose(permuted, vectors[order], atol=1e-4)
    kinds = [salt.atomic_numbers.index(z) for z in primitive.atomic_numbers]
    np.testing.assert_allclose(reduced, vectors[kinds], atol=1e-4)
    assert np.abs(vectors[0] - vectors[4]).max() > 0.1
    (full,) = chgnet.chgnet_targets([as_crystal(salt)], readout=True)
    np.testing.assert_allclose(full[:, :64], vectors, atol=1e-4)
    assert full.shape == (8, 66)


def test_chgnet_leaves_out_what_it_cannot_judge():
    pytest.importorskip("chgnet")
    polonium = Structure(Lattice.cubic(3.35), ["Po"], [[0, 0, 0]])
    lonely = Structure(Lattice.cubic(20), ["Fe"], [[0, 0, 0]])
    salt = crystals()["NaCl"]
    found = chgnet.chgnet_targets([as_crystal(s) for s in (polonium, salt, lonely)])
    assert [v is None for v in found] == [True, False, True]


def test_two_processes_write_what_one_does(tmp_path, monkeypatch):
    pytest.importorskip("chgnet")
    monkeypatch.setattr(computing, "PART_CRYSTALS", 2)
    data = write_parquet(tmp_path / "data.parquet", CRYSTALS[:4])
    written = []
    for processes in ("1", "2"):
        out = str(tmp_path / f"{processes}.parquet")
        common = ["--teacher", "chgnet", "--part", "all", "--data", data, "--out", out]
        main([*common, "--processes", processes])
        written.append(read_site_targets(out))
    one, two = written
    assert list(one) == list(two)
    for name in one:
        np.testing.assert_allclose(one[name], two[name], atol=1e-2)
