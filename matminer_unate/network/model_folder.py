"""A folder that keeps a network or a fitted model: written whole, checked when it is read.

``config.json`` says what the folder holds (``kind``), in which format (``format_version``), and the
sha256 of every other file that counts (``files``); the rest of it is a dataclass of that kind. No
pickle anywhere.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, Literal, Self, get_args, get_origin, get_type_hints

import numpy as np

from matminer_unate.errors import WeightsError

CONFIG, MODEL = "config.json", "model.safetensors"

Upgrade = Callable[[dict[str, Any]], dict[str, Any]]
"""``config.json`` of one format version → that of the next."""


@dataclass(frozen=True, kw_only=True)
class FolderConfig:
    """What ``config.json`` of one kind of folder holds; a kind is a subclass.

    Attributes
    ----------
    KIND, NOUN : str
        What the file says, and what messages say.
    VERSION : int
        Raised by one whenever older readers could misread a folder.
    UPGRADES : dict of int to callable
        For each older version that can still be read, the step to the next.
    files : dict of str to str
        SHA-256 of each file of the folder by its name.
    """

    KIND: ClassVar[str]
    NOUN: ClassVar[str]
    VERSION: ClassVar[int]
    UPGRADES: ClassVar[Mapping[int, Upgrade]] = {}

    files: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read and check ``config.json``.

        Raises
        ------
        WeightsError
            The folder or file is missing, is not JSON, is of another kind or of a version that
            cannot be read, or has unknown, missing or malformed entries.
        """
        path, content = folder / CONFIG, _read_json(folder, cls.NOUN)
        if (kind := _kind(content)) != cls.KIND:
            raise WeightsError(f"{folder} is no {cls.NOUN}: it holds {kind!r}")
        version = content.get("format_version")
        readable = [*cls.UPGRADES, cls.VERSION]
        if type(version) is not int or version not in readable:
            raise WeightsError(
                f"{path} is of format {version!r}, this version of matminer_unate reads "
                f"{', '.join(map(str, readable))}; install the version that wrote it, or write the "
                "folder again"
            )
        try:
            for step in range(version, cls.VERSION):
                content = cls.UPGRADES[step](content)
            entries = {k: v for k, v in content.items() if k not in ("kind", "format_version")}
            found: Self = from_json(cls, entries)
            if MODEL not in found.files:
                raise ValueError(f"files lacks {MODEL}")
        except (TypeError, ValueError, KeyError, AttributeError) as e:
            raise WeightsError(f"{path} is malformed: {e}; write the folder again") from e
        return found

    def read_files(self, folder: Path) -> dict[str, bytes]:
        """Contents of the files by their names.

        Raises
        ------
        WeightsError
            One is missing or not the one that was written.
        """
        return {name: _read(folder / name, digest) for name, digest in self.files.items()}

    def write(
        self, folder: Path, files: Mapping[str, bytes], notes: Mapping[str, str] | None = None
    ) -> Self:
        """Write the folder; a reader meanwhile gets all of the old, all of the new, or an error.

        Parameters
        ----------
        folder : Path
            Created if need be, ``~`` being home; files in it are replaced, and those of what it
            held before removed.
        files : dict of str to bytes
        notes : dict of str to str, optional
            Files for people, which may be changed later.

        Returns
        -------
        FolderConfig
            With the sha256 of the files.
        """
        digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
        config = replace(self, files=digests)
        content = {"kind": self.KIND, "format_version": self.VERSION, **asdict(config)}
        text = json.dumps(content, indent=1, default=plain) + "\n"
        texts = {name: note.encode() for name, note in (notes or {}).items()}
        folder = folder.expanduser()
        folder.mkdir(parents=True, exist_ok=True)
        former = _former_files(folder)
        with TemporaryDirectory(dir=folder, prefix=".writing-") as temporary:
            # config.json is the last: without its digests nothing is read.
            for name, data in {**texts, **files, CONFIG: text.encode()}.items():
                (Path(temporary) / name).write_bytes(data)
            for name in (*texts, *files, CONFIG):
                (Path(temporary) / name).replace(folder / name)
        for name in former - {*texts, *files}:
            (folder / name).unlink(missing_ok=True)
        return config


def kind_of(folder: Path) -> str:
    """What a folder holds: the ``KIND`` of some :class:`FolderConfig`.

    Raises
    ------
    WeightsError
        It has no readable ``config.json``.
    """
    return _kind(_read_json(folder, "saved model"))


def _former_files(folder: Path) -> set[str]:
    """Files of a folder that its ``config.json`` names, and that are as it says."""
    try:
        files = _read_json(folder, "")["files"]
        return {
            str(name)
            for name, digest in files.items()
            if Path(name).name == name != CONFIG and _read(folder / name, digest)
        }
    except (WeightsError, KeyError, AttributeError, TypeError, OSError):
        return set()


def _kind(content: dict[str, Any]) -> str:
    return str(content.get("kind", "weights"))  # whose first version did not say


def _read_json(folder: Path, noun: str) -> dict[str, Any]:
    path = folder / CONFIG
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise WeightsError(f"{folder} is no {noun}: it has no {CONFIG}") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as e:
        raise WeightsError(f"{path} is not readable JSON ({e}); write the folder again") from e
    if not isinstance(content, dict):
        raise WeightsError(f"{path} holds no JSON object; write the folder again")
    return content


def _read(path: Path, digest: str) -> bytes:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise WeightsError(f"{path.parent} has no {path.name}; copy the whole folder") from None
    if (found := hashlib.sha256(content).hexdigest()) != digest:
        raise WeightsError(
            f"{path} is truncated or changed: its sha256 is {found[:12]}…, {CONFIG} says "
            f"{digest[:12]}…; copy the folder again"
        )
    return content


def plain(value: Any) -> Any:
    """Searches over grids set numpy's numbers, which JSON does not know."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{value!r} cannot be written as JSON")


def from_json(hint: Any, value: Any, name: str = "") -> Any:
    """What JSON holds → what a type hint asks for, down to nested dataclasses.

    Raises
    ------
    TypeError
        It is something else, or a dataclass has unknown or missing entries; ``name`` is told.
    """
    origin, parts = get_origin(hint), get_args(hint)
    if is_dataclass(hint) and isinstance(value, dict):
        return _dataclass_from_json(hint, value, name)
    if hint is Any or (origin is Literal and value in parts):
        return value
    if hint is float and type(value) is int:
        return float(value)
    if origin is dict and isinstance(value, dict):
        return {k: from_json(parts[1], v, f"{name}.{k}") for k, v in value.items()}
    if origin in (list, tuple) and isinstance(value, list):
        return origin(from_json(parts[0], v, f"{name}[{k}]") for k, v in enumerate(value))
    if type(None) in parts:
        return None if value is None else from_json(parts[0], value, name)
    if origin is None and type(value) is hint:
        return value
    raise TypeError(f"{name} is {value!r}")


def _dataclass_from_json(kind: Any, value: dict[str, Any], name: str) -> Any:
    hints, own = get_type_hints(kind), {f.name for f in fields(kind)}
    unknown, missing = sorted(set(value) - own), sorted(own - set(value))
    if unknown or missing:
        raise TypeError(f"{name} has unknown entries {unknown}, missing entries {missing}".strip())
    dotted = f"{name}." if name else ""
    return kind(**{n: from_json(hints[n], v, dotted + n) for n, v in value.items()})
