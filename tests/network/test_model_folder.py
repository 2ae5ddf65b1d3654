"""Folders that keep models: checked when read, whole when written."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest

from matminer_unate.errors import WeightsError
from matminer_unate.network.model_folder import CONFIG, MODEL, FolderConfig, from_json, kind_of


@dataclass(frozen=True)
class Part:
    size: int
    share: float | None


@dataclass(frozen=True, kw_only=True)
class Toy(FolderConfig):
    KIND: ClassVar[str] = "toy"
    NOUN: ClassVar[str] = "saved toy"
    VERSION: ClassVar[int] = 3
    UPGRADES: ClassVar[dict[int, Any]] = {2: lambda old: {**old, "part": {"size": 1, "share": 1}}}

    name: str
    part: Part


TOY = Toy(name="bear", part=Part(2, 0.5))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def change(folder: Path, **changes: object) -> None:
    content = json.loads((folder / CONFIG).read_text())
    content = {k: v for k, v in (content | changes).items() if v is not None}
    (folder / CONFIG).write_text(json.dumps(content))


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    written = TOY.write(tmp_path / "new" / "toy", {MODEL: b"a"}, {"README.md": "for people"})
    found = Toy.read(tmp_path / "new" / "toy")
    assert found == written
    assert found.read_files(tmp_path / "new" / "toy") == {MODEL: b"a"}
    assert kind_of(tmp_path / "new" / "toy") == "toy"
    assert names(tmp_path / "new" / "toy") == ["README.md", CONFIG, MODEL]


def test_an_older_version_is_upgraded(tmp_path: Path) -> None:
    TOY.write(tmp_path, {MODEL: b"a"})
    change(tmp_path, format_version=2, part=None)
    assert Toy.read(tmp_path).part == Part(1, 1.0)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / CONFIG).unlink(), "is no saved toy: it has no config.json"),
        (lambda f: (f / CONFIG).write_text("{"), "not readable JSON.*write the folder again"),
        (lambda f: (f / CONFIG).write_bytes(b"\xff"), "not readable JSON"),
        (lambda f: (f / CONFIG).write_text("[]"), "holds no JSON object"),
        (lambda f: change(f, kind="other"), "is no saved toy: it holds 'other'"),
        (lambda f: change(f, format_version=4), "format 4, this version.*reads 2, 3; install"),
        (lambda f: change(f, format_version=1), "format 1, this version"),
        (lambda f: change(f, format_version="3"), "format '3', this version"),
        (lambda f: change(f, name=None), r"malformed: .*missing entries \['name'\]"),
        (lambda f: change(f, more=1), r"malformed: .*unknown entries \['more'\]"),
        (lambda f: change(f, name=3), "malformed: name is 3"),
        (lambda f: change(f, part=[]), r"malformed: part is \[\]"),
        (lambda f: change(f, part={"size": 1.5, "share": None}), "malformed: part.size is 1.5"),
        (lambda f: change(f, part={"size": True, "share": None}), "malformed: part.size is True"),
        (lambda f: change(f, files={MODEL: 3}), "malformed: files.model.safetensors is 3"),
        (lambda f: change(f, files={}), "malformed: files lacks model.safetensors"),
        (lambda f: (f / MODEL).unlink(), "has no model.safetensors; copy the whole folder"),
        (
            lambda f: (f / MODEL).write_text("b"),
            "model.safetensors is truncated or changed: its sha256",
        ),
    ],
)
def test_a_damaged_folder_says_what_is_wrong(
    tmp_path: Path, damage: Callable[[Path], Any], message: str
) -> None:
    TOY.write(tmp_path, {MODEL: b"a"})
    damage(tmp_path)
    with pytest.raises(WeightsError, match=message):
        Toy.read(tmp_path).read_files(tmp_path)


def test_a_file_in_place_of_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "toy").write_text("")
    with pytest.raises(WeightsError, match=r"is no saved toy: it has no config\.json"):
        Toy.read(tmp_path / "toy")


def test_what_the_folder_held_before_goes_and_other_files_stay(tmp_path: Path) -> None:
    TOY.write(tmp_path, {MODEL: b"a", "trees_0.txt": b"0", "trees_1.txt": b"1"}, {"README.md": "x"})
    (tmp_path / "mine.txt").write_text("notes")
    TOY.write(tmp_path, {MODEL: b"b", "trees_0.txt": b"2"})
    assert names(tmp_path) == ["README.md", CONFIG, "mine.txt", MODEL, "trees_0.txt"]
    (tmp_path / "trees_0.txt").write_bytes(b"changed by hand")
    TOY.write(tmp_path, {MODEL: b"c"})
    assert "trees_0.txt" in names(tmp_path)


def test_what_cannot_be_written_leaves_the_old_folder_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    TOY.write(tmp_path, {MODEL: b"a"})
    write = Path.write_bytes

    def full(self: Path, data: bytes) -> int:
        if self.name == "b.txt":
            raise OSError("no space left on device")
        return write(self, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="no space"):
        TOY.write(tmp_path, {MODEL: b"other", "b.txt": b"b"})
    assert Toy.read(tmp_path).read_files(tmp_path) == {MODEL: b"a"}
    assert names(tmp_path) == [CONFIG, MODEL]


def test_lists_and_tuples_of_json_become_what_the_hints_say() -> None:
    assert from_json(dict[str, tuple[int, ...]], {"a": [1, 2]}) == {"a": (1, 2)}
    assert from_json(list[float], [1, 2.5]) == [1.0, 2.5]
    with pytest.raises(TypeError, match=r"a\[1\] is 'x'"):
        from_json(list[int], [1, "x"], "a")
