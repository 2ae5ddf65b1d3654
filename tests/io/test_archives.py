"""Archives: members as the files that they are, damage in its place, nothing on the disk."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from pathlib import Path

import pytest
from real_crystals import crystals

from matminer_unate.errors import InputError, StructureError
from matminer_unate.io.input_rows import InputRow
from matminer_unate.io.readers import iter_inputs, open_inputs

NAMES = ("NaCl", "Si", "SrTiO3", "TiO2 rutile")
CIFS = {f"{name}.cif": str(crystals()[name].to(fmt="cif")) for name in NAMES}


def packed(path: Path, members: dict[str, str]) -> Path:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, text in members.items():
                archive.writestr(name, text)
        return path
    with tarfile.open(path, f"w:{path.suffix[1:].replace('tgz', 'gz').replace('tar', '')}") as tar:
        for name, text in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(text.encode())
            tar.addfile(info, io.BytesIO(text.encode()))
    return path


def read(path: Path) -> list[InputRow]:
    return list(iter_inputs([path]))


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz", "a.tgz", "a.tar.bz2", "a.tar.xz", "a.zip"])
def test_members_are_read_as_the_files_that_they_are(tmp_path: Path, name: str) -> None:
    members = {f"some/{name}": text for name, text in CIFS.items()} | {
        "POSCAR": crystals()["Si"].to(fmt="poscar"),
        "some/._Si.cif": "x",
        "notes.txt": "x",
    }
    path = packed(tmp_path / name, members)
    (source,) = open_inputs([path])
    rows = list(source.rows())
    assert source.n_rows == len(rows) == 5
    assert source.skipped == (Path("notes.txt"),)
    for row, member in zip(rows, [*(f"some/{n}.cif" for n in NAMES), "POSCAR"], strict=True):
        assert row.place == row.identifier == str(path / member)
        assert row.structure is not None
        formula = crystals()[Path(member).stem if "cif" in member else "Si"].formula
        assert row.structure.formula == formula
    assert [n for n, _ in source.fetch([range(1, 2), range(3, 4)])] == [1, 3]
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz"])
def test_an_archive_that_was_cut_short_fails_from_there_on(tmp_path: Path, name: str) -> None:
    path = packed(tmp_path / name, CIFS)
    content = path.read_bytes()
    # In the third member, counted in what is unpacked.
    plain = gzip.decompress(content) if name.endswith("gz") else content
    cut = plain[: plain.index(b"SrTiO3.cif") + 700]
    path.write_bytes(gzip.compress(cut)[:-9] if name.endswith("gz") else cut)
    (source,) = open_inputs([path])
    rows = list(source.rows())
    assert source.n_rows == len(rows) == 3
    assert [row.structure is not None for row in rows] == [True, True, False]
    assert rows[2].place == str(path / "SrTiO3.cif")
    assert "the archive is damaged or cut short from here on" in str(rows[2].error)


def test_a_damaged_member_of_a_zip_fails_alone(tmp_path: Path) -> None:
    path = packed(tmp_path / "a.zip", CIFS)
    content = bytearray(path.read_bytes())
    start = content.index(b"Si.cif") + 20
    content[start : start + 40] = b"\xff" * 40
    path.write_bytes(content)
    rows = read(path)
    assert [row.structure is not None for row in rows] == [True, False, True, True]
    assert isinstance(rows[1].error, StructureError)
    assert "the member could not be read" in str(rows[1].error)
    assert rows[1].place == str(path / "Si.cif")


def test_what_is_no_archive_or_holds_no_structures_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.tar.gz").write_bytes(b"no archive at all")
    with pytest.raises(InputError, match=r"a\.tar\.gz: the archive is damaged"):
        read(tmp_path / "a.tar.gz")
    for name in ("b.tar", "b.zip"):
        with pytest.raises(InputError, match=r"no structure files .* but for example table\.csv"):
            read(packed(tmp_path / name, {"table.csv": "a"}))
