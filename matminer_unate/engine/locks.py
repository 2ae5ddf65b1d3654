"""One process to an output: a lock file that says who is writing, and that it lives.

A process that is killed leaves its lock behind. On the same machine, the next one sees that it is
gone; on another, that it has given no sign of life for a while.
"""

from __future__ import annotations

import json
import os
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

from matminer_unate.errors import InputError

SIGN_SECONDS, STALE_SECONDS = 20.0, 300.0
"""Seconds between signs of life, and without one after which another machine may take over."""


@contextmanager
def locked(path: Path, say: Callable[[str], Any]) -> Iterator[None]:
    """Hold a lock for the time of the block.

    Parameters
    ----------
    path : Path
        The lock file, in a folder that exists.
    say : callable
        Is told where the lock of a process that is gone was taken over.

    Raises
    ------
    InputError
        Another process holds it.
    """
    own = {"pid": os.getpid(), "host": socket.gethostname(), "started": _started(os.getpid())}
    own["token"] = uuid.uuid4().hex
    over = Event()
    signs = Thread(target=_give_signs, args=(path, over), daemon=True)
    # Ctrl-C may come at any time from here on, and must not leave the lock behind.
    try:
        while not _made(path, own):
            holder = read_lock(path)
            if holder is None:  # it has just been let go
                continue
            if is_alive(path, holder):
                raise InputError(_refusal(path, holder))
            if _taken_away(path, holder):
                say(
                    f"took over from process {holder.get('pid')} on {holder.get('host')}, which "
                    "has ended without finishing"
                )
        signs.start()
        yield
    finally:
        over.set()
        if signs.is_alive():
            signs.join()
        if (read_lock(path) or {}).get("token") == own["token"]:
            path.unlink(missing_ok=True)


def read_lock(path: Path) -> dict[str, Any] | None:
    """Who holds a lock; None where nobody does."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        return {}  # damaged, as after a power failure: only its age tells
    return content if isinstance(content, dict) else {}


def is_alive(path: Path, holder: dict[str, Any]) -> bool:
    """Whether the process that holds a lock still runs, as far as can be told from here."""
    if holder.get("host") == socket.gethostname() and os.name == "posix":
        pid = holder.get("pid")
        return isinstance(pid, int) and _runs(pid) and _started(pid) == holder.get("started")
    try:
        return time.time() - path.stat().st_mtime < STALE_SECONDS
    except FileNotFoundError:
        return False


def living(folder: Path, pattern: str) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Locks in a folder whose processes still run, with who they are."""
    for path in folder.glob(pattern):
        holder = read_lock(path)
        if holder is not None and is_alive(path, holder):
            yield path, holder


def _refusal(path: Path, holder: dict[str, Any]) -> str:
    return (
        f"process {holder.get('pid')} on {holder.get('host')} is writing to {path.parent}; wait "
        f"for it, or write elsewhere (if it is gone, its lock ends {STALE_SECONDS / 60:.0f} "
        "minutes after its last sign of life)"
    )


def _made(path: Path, own: dict[str, Any]) -> bool:
    """Make the lock file, with its content at once; whether there was none."""
    fresh = path.with_name(f"{path.name}.{own['token']}")
    try:
        fresh.write_text(json.dumps(own), encoding="utf-8")
        return _linked(fresh, path)
    finally:
        fresh.unlink(missing_ok=True)


def _linked(fresh: Path, path: Path) -> bool:
    """Give a file a second name; whether there was none of that name."""
    try:
        os.link(fresh, path)
    except FileExistsError:
        return False
    except OSError:  # a file system without links
        try:
            with path.open("x", encoding="utf-8") as file:
                file.write(fresh.read_text(encoding="utf-8"))
        except FileExistsError:
            return False
    return True


def _taken_away(path: Path, holder: dict[str, Any]) -> bool:
    """Remove the lock of a process that is gone; false where another was quicker."""
    aside = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
    try:
        path.rename(aside)
    except FileNotFoundError:
        return False
    mine = read_lock(aside) == holder
    if not mine:  # it was taken over, and made anew, in between
        aside.rename(path)
        return False
    aside.unlink()
    return True


def _give_signs(path: Path, over: Event) -> None:
    while not over.wait(SIGN_SECONDS):
        try:
            os.utime(path)
        except OSError:
            return


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _started(pid: int) -> str | None:
    """What tells a process from a later one of the same number, where the system says it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return None
