"""Frames of ASE: extended XYZ, databases and trajectories, each frame a row of its own."""

from __future__ import annotations

import gzip
import importlib
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from matminer_unate import UnateFeaturizer
from matminer_unate.cli import main as cli
from matminer_unate.errors import InputError, StructureError
from matminer_unate.io.input_rows import InputRow, Source
from matminer_unate.io.readers import open_inputs

ase_build = pytest.importorskip("ase.build")

SUFFIXES = ["extxyz", "xyz", "traj", "db", "json", "extxyz.gz"]


def frames() -> list[Any]:
    """Three crystals with energies and other values."""
    from ase.calculators.singlepoint import SinglePointCalculator

    made = [
        ase_build.bulk("NaCl", "rocksalt", a=5.64),
        ase_build.bulk("Fe", "bcc", a=2.87, cubic=True),
        ase_build.bulk("Si"),
    ]
    for n, atoms in enumerate(made):
        atoms.info.update(config=f"c{n}", gap=n / 2, step=n)
        atoms.calc = SinglePointCalculator(
            atoms, energy=-1.5 * n, forces=np.zeros((len(atoms), 3)), stress=np.arange(6.0)
        )
    return made


def written(path: Path, some: list[Any]) -> Path:
    from ase.db import connect
    from ase.io import write

    if path.suffix in (".db", ".json"):
        with connect(path) as database:
            for atoms in some:
                database.write(atoms, **atoms.info)
    elif path.suffix == ".gz":
        plain = written(path.with_suffix(""), some)
        path.write_bytes(gzip.compress(plain.read_bytes()))
    else:
        write(path, some, format="extxyz" if path.suffix == ".xyz" else None)
    return path


def opened(path: Path) -> tuple[Source, list[InputRow]]:
    (source,) = open_inputs([path])
    return source, list(source.rows())


def reason(row: InputRow) -> str:
    assert row.structure is None
    assert isinstance(row.error, StructureError)
    return str(row.error)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_each_frame_is_a_crystal_with_its_values(tmp_path: Path, suffix: str) -> None:
    path = written(tmp_path / f"a.{suffix}", frames())
    before = path.read_bytes()
    source, rows = opened(path)
    assert source.n_rows == 3
    assert [row.structure.formula for row in rows if row.structure] == ["Na1 Cl1", "Fe2", "Si2"]
    for row, atoms in zip(rows, frames(), strict=True):
        assert row.structure is not None
        np.testing.assert_allclose(row.structure.lattice.matrix, atoms.cell, atol=1e-7)
        np.testing.assert_allclose(row.structure.cart_coords, atoms.positions, atol=1e-7)
    values = [row.carried for row in rows]
    assert values == [
        {"config": f"c{n}", "gap": n / 2, "step": n, "energy": -1.5 * n} for n in range(3)
    ]
    assert source.carried["energy"] == pa.float64()
    first = 1 if suffix in ("db", "json") else 0
    assert [row.identifier for row in rows] == [f"{path}#{n + first}" for n in range(3)]
    assert path.read_bytes() == before


def test_arrays_of_a_frame_are_named_as_left_behind(tmp_path: Path) -> None:
    source, _ = opened(written(tmp_path / "a.extxyz", frames()))
    assert source.left_behind == ("stress",)


def test_a_value_that_only_some_frames_have_is_missing_in_the_others(tmp_path: Path) -> None:
    some = frames()
    some[1].info["note"] = "relaxed"
    some[2].info["step"] = "last"
    for suffix in ("extxyz", "traj", "db"):
        _, rows = opened(written(tmp_path / f"a.{suffix}", some))
        assert [row.carried["note"] for row in rows] == [None, "relaxed", None]
        assert [row.carried["step"] for row in rows] == ["0", "1", "last"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_frame_that_is_not_periodic_fails_alone(tmp_path: Path, suffix: str) -> None:
    some = frames()
    some[1].pbc = (True, True, False)
    some.append(ase_build.molecule("H2O"))
    _, (first, slab, third, molecule) = opened(written(tmp_path / f"a.{suffix}", some))
    assert first.structure is not None
    assert third.structure is not None
    assert "periodic along a, b only" in reason(slab)
    assert "periodic" in reason(molecule)


@pytest.mark.parametrize(
    ("change", "bad", "words"),
    [
        (lambda lines: lines[:3] + lines[4:], 0, "begins in line 1 has 1 of 2 atoms"),
        (lambda lines: ["two\n", *lines[1:]], 0, "line 1 should be the number of atoms"),
        (lambda lines: lines[:-1], 2, "has 1 of 2 atoms"),
        (lambda lines: [*lines[:2], "Na x y z\n", *lines[3:]], 0, "could not be read"),
        (lambda lines: [lines[0], "\n", *lines[2:]], 0, "has no cell, so it is not periodic"),
        (lambda lines: [line.replace("Na ", "Xx ") for line in lines], 0, "could not be read"),
    ],
)
def test_a_damaged_frame_of_xyz_fails_alone(
    tmp_path: Path, change: Any, bad: int, words: str
) -> None:
    path = written(tmp_path / "a.extxyz", frames())
    path.write_text("".join(change(path.read_text().splitlines(keepends=True))))
    _, rows = opened(path)
    assert len(rows) == 3
    assert words in reason(rows.pop(bad))
    assert all(row.structure is not None for row in rows)


def test_a_file_that_ends_in_a_shorter_coordinate_fails_in_its_last_frame(tmp_path: Path) -> None:
    whole = """2
Lattice="5.64 0 0 0 5.64 0 0 0 5.64" Properties=species:S:1:pos:R:3 gap=8.5
Na 0.0000 0.0000 0.0000
Cl 2.8200 2.8200 2.8200
"""
    path = tmp_path / "a.extxyz"
    for n in (1, 4, 5):
        path.write_text(whole + whole[: -1 - n])
        _, (first, last) = opened(path)
        assert first.structure is not None
        assert "begins in line 5 ends in a coordinate without a line end" in reason(last)
        assert last.carried == {"gap": 8.5}
    forces = whole.replace("pos:R:3", "pos:R:3:forces:R:3").replace("00\n", "00 0.10 0.10 0.10\n")
    forces = forces.rstrip()[:-1]
    # As that message says; and where no coordinate can be cut.
    for text in (whole[:-3] + "\n", whole.rstrip(), forces):
        path.write_text(text)
        assert opened(path)[1][0].structure is not None


def test_a_damaged_row_of_a_database_fails_alone(tmp_path: Path) -> None:
    path = written(tmp_path / "a.db", frames())
    with closing(sqlite3.connect(path)) as database:
        database.execute("UPDATE systems SET positions = x'00' WHERE id = 2")
        database.execute("UPDATE systems SET key_value_pairs = '{' WHERE id = 3")
        database.commit()
    _, (first, second, third) = opened(path)
    assert first.structure is not None
    assert "row 2 of the database is damaged" in reason(second)
    assert "row 3 of the database is damaged" in reason(third)

    path = written(tmp_path / "a.json", frames())
    content = json.loads(path.read_text())
    del content["1"]
    content["2"]["positions"] = 3
    path.write_text(json.dumps(content))
    _, (first, second, third) = opened(path)
    assert "row 1 of the database is damaged" in reason(first)
    assert "could not be read" in reason(second)
    assert third.structure is not None


def test_what_is_whole_of_a_truncated_trajectory_is_read(tmp_path: Path) -> None:
    path = written(tmp_path / "a.traj", frames())
    content = path.read_bytes()
    path.write_bytes(content[:-500])
    _, (first, *_, last) = opened(path)
    assert first.structure is not None
    assert "frame 2 of the trajectory is damaged" in reason(last)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.xyz", b"", "holds no frames"),
        ("a.extxyz", b"something else", "is damaged or not of this format .*'something else'"),
        ("a.db", b"something else", "is damaged or not of this format"),
        ("a.db", b"", "is damaged or not of this format"),
        ("a.traj", b"PickleTrajectory\x80", "a pickle, which is not read"),
        ("a.traj", b"- of UlmASE-Traj", "is damaged or not of this format"),
        ("a.db.gz", b"", "is packed; unpack it first"),
    ],
)
def test_a_file_that_ase_did_not_write_is_refused_by_name(
    tmp_path: Path, name: str, content: bytes, words: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=words):
        open_inputs([tmp_path / name])
    assert (tmp_path / name).read_bytes() == content


def test_another_sqlite_file_is_refused_and_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE x (y int)")
        database.commit()
    before = path.read_bytes()
    with pytest.raises(InputError, match="no such table: systems"):
        open_inputs([path])
    assert path.read_bytes() == before


def test_without_ase_the_command_names_what_to_install(
    tmp_path: Path,
    tiny_weights: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = written(tmp_path / "a.extxyz", frames())

    found = importlib.import_module

    def without_ase(name: str, *args: Any) -> Any:
        if name.startswith("ase"):
            raise ModuleNotFoundError(f"No module named {name!r}")
        return found(name, *args)

    monkeypatch.setattr(importlib, "import_module", without_ase)
    args = ["--weights", str(tiny_weights), "--device", "cpu"]
    code = cli.main(["featurize", str(path), "--out", str(tmp_path / "o.csv"), *args])
    assert code == cli.UNUSABLE
    assert 'pip install "matminer_unate[ase]"' in capsys.readouterr().err


def test_a_trajectory_becomes_a_table_on_the_command_line(
    tmp_path: Path, tiny_weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    some = [*frames(), ase_build.molecule("H2O")]
    path, out = written(tmp_path / "a.extxyz", some), tmp_path / "out.parquet"
    args = ["--out", out, "--weights", tiny_weights, "--device", "cpu"]
    assert cli.main(["featurize", str(path), *map(str, args)]) == cli.SOME_FAILED
    found = pd.read_parquet(out)
    assert list(found["config"]) == ["c0", "c1", "c2"]
    assert list(found["energy"]) == [0.0, -1.5, -3.0]
    expected = UnateFeaturizer(tiny_weights, device="cpu").transform(frames())
    columns = [name for name in found if name.startswith("unate_")]
    np.testing.assert_allclose(found[columns], expected, rtol=1e-3, atol=1e-4)
    err = capsys.readouterr().err
    assert "1 of 4 rows failed" in err
    assert "a.extxyz, frame 3" in err
    assert "not in the output: 'stress'" in err
