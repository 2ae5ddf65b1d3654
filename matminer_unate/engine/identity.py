"""Which input a run reads: what tells whether it has changed since."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matminer_unate.io.input_rows import Source

WHOLE_BYTES = 256 * 2**20
"""Files up to this size are read whole; of others, as much in pieces that are spread evenly."""

_PIECE = 2**20


def input_identities(sources: Sequence[Source]) -> list[dict[str, Any]]:
    """One for each input, in their order; folders of other names may hold the same."""
    return [
        {"name": Path(source.path).name, "rows": source.n_rows, **_identity(source)}
        for source in sources
    ]


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
