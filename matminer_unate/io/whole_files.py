"""Files that are there whole or not at all, however their writing ends."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from glob import escape
from pathlib import Path


@contextmanager
def fresh_file(path: Path) -> Iterator[Path]:
    """A path beside ``path`` to write to, which takes its place only if all goes well."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield part
        if part.exists():
            part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def remove_file(path: Path) -> None:
    """Remove a file, if it is there, and what processes that were killed left of writing it."""
    for part in path.parent.glob(f".{escape(path.name)}.*.part"):
        part.unlink(missing_ok=True)
    path.unlink(missing_ok=True)
