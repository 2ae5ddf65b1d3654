"""Which input a run reads: what tells whether it has changed since."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from matminer_unate.errors import InputError
from matminer_unate.io.input_rows import Source, path_text

WHOLE_BYTES = 256 * 2**20
"""Files up to this size are read whole; of others, as much in pieces that are spread evenly."""

_PIECE = 2**20


def input_identities(sources: Sequence[Source]) -> list[dict[str, Any]]:
    """One for each input, in their order; it may be elsewhere, where no row tells where it is."""
    return [
        {
            "name": Path(source.path).name,
            "rows": source.n_rows,
            **_identity(source),
            **_told_by_rows(source),
        }
        for source in sources
    ]


def _told_by_rows(source: Source) -> dict[str, Any]:
    """What rows have of the path as it was given: their ids, and values as of ``year=2020``."""
    if source.digest:
        return {}
    path = Path(source.path)
    keys = {part: unquote(part.partition("=")[0]) for part in path.parts[:-1] if "=" in part}
    folders = [part for part in path.parts[:-1] if keys.get(part) in source.carried]
    found: dict[str, Any] = {"folders": folders} if folders else {}
    return found if _has_ids(source) else found | {"path": path_text(path)}


def _has_ids(source: Source) -> bool:
    """Whether a table has a column of ids; those of others begin with its path."""
    parse: Any = source.parse
    while isinstance(parse, partial) and parse.args and callable(parse.args[0]):
        parse = parse.args[0]
    return getattr(parse, "identifier", None) is not None


def input_change(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """What two identities of an input differ in; empty where they do not."""
    name = before["name"]
    if name != now["name"]:
        return f"the input was {name}, is {now['name']}"
    if any(before.get(k) != now.get(k) for k in {*before, *now} - {"folders", "path"}):
        return f"the input {name} has changed"
    # Earlier versions did not write these down.
    told = [(before[k], now[k]) if k in before and k in now else None for k in ("folders", "path")]
    if told[0] and told[0][0] != told[0][1]:
        return f"the input {name} was in {'/'.join(told[0][0])}, is in {'/'.join(told[0][1])}"
    if told[1] and told[1][0] != told[1][1]:
        return f"the input was given as {told[1][0]}, is {told[1][1]}, which ids begin with"
    return ""


def _identity(source: Source) -> dict[str, Any]:
    if source.digest:
        return {"database": str(source.path), "sha256": source.digest}
    if source.files == (source.path,):
        return file_identity(Path(source.path))
    # Names, sizes and times: to read a million files twice would take as long as the work.
    digest = hashlib.sha256()
    for path in source.files:
        status = path.stat()
        name = path.relative_to(source.path).as_posix()
        digest.update(f"{name}\0{status.st_size}\0{status.st_mtime_ns}\0".encode(errors="replace"))
    return {"files": len(source.files), "sha256": digest.hexdigest()}


def file_identity(path: Path) -> dict[str, Any]:
    """Size and SHA-256 of a file; of a large one, of pieces of it, and when it was changed."""
    status = path.stat()
    digest = hashlib.sha256()
    with path.open("rb") as file:
        if status.st_size <= WHOLE_BYTES:
            while piece := file.read(_PIECE):
                digest.update(piece)
            return {"bytes": status.st_size, "sha256": digest.hexdigest()}
        n_pieces = WHOLE_BYTES // _PIECE
        for k in range(n_pieces):
            file.seek((status.st_size - _PIECE) * k // (n_pieces - 1))
            digest.update(file.read(_PIECE))
    return {
        "bytes": status.st_size,
        "sha256_of_pieces": digest.hexdigest(),
        "modified": status.st_mtime_ns,
    }


class FileStates:
    """Sizes, times and inodes of the files of inputs, as they are when it is made.

    Parameters
    ----------
    sources : sequence of Source
    """

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = sources
        # Of a million files, eight megabytes.
        self._states = [array("q", map(_state, source.files)) for source in sources]

    def check(self, pieces: Iterable[tuple[int, range]] | None = None) -> None:
        """See that files are as they were.

        Parameters
        ----------
        pieces : iterable of (int, range), optional
            Numbers of sources, with ranges of the items that were read of them; by default, all
            of all sources.

        Raises
        ------
        InputError
            With the first that was changed or removed.
        """
        if pieces is None:
            pieces = [(k, range(source.n_rows)) for k, source in enumerate(self._sources)]
        for k, items in pieces:
            files, states = self._sources[k].files, self._states[k]
            # A file for each item, or one that has them all.
            one_each = len(files) == self._sources[k].n_rows
            for n in items if one_each else range(len(files)):
                if _state(files[n]) != states[n]:
                    raise InputError(
                        f"{files[n]} was changed or removed while it was read; keep other programs "
                        "from it, and give the same command again (with --overwrite, where it "
                        "then says that the input has changed)"
                    )


def _state(path: Path) -> int:
    try:
        status = path.stat()
    except OSError:
        return 0
    return hash((status.st_size, status.st_mtime_ns, status.st_ino))


def differences(before: Any, now: Any, name: str = "") -> list[str]:
    """What two descriptions of a run differ in, by name."""
    if isinstance(before, dict) and isinstance(now, dict):
        found = []
        for key in dict.fromkeys([*before, *now]):
            label = f"{name} {key}".strip()
            found += differences(before.get(key), now.get(key), label)
        return found
    return [] if before == now else [f"{name} was {_short(before)}, is {_short(now)}"]


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
