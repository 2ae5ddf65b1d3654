"""Locks: who holds one, whether it lives, and who takes over."""

from __future__ import annotations

import json
import os
import socket
import time
from pathlib import Path

import pytest

from matminer_unate.engine import locks
from matminer_unate.engine.locks import locked, read_lock
from matminer_unate.errors import InputError


def test_a_lock_is_held_for_the_time_of_the_block(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with locked(path, print):
        holder = read_lock(path)
        assert holder is not None
        assert (holder["pid"], holder["host"]) == (os.getpid(), socket.gethostname())
        refused = pytest.raises(InputError, match=f"process {os.getpid()} on .* is writing")
        with refused, locked(path, print):
            pass
    assert list(tmp_path.iterdir()) == []


def test_the_lock_of_another_machine_ends_when_it_gives_no_signs(tmp_path: Path) -> None:
    path, said = tmp_path / "lock", list[str]()
    path.write_text(json.dumps({"pid": 1, "host": "elsewhere", "started": None}))
    refused = pytest.raises(InputError, match="process 1 on elsewhere is writing")
    with refused, locked(path, said.append):
        pass
    old = time.time() - locks.STALE_SECONDS - 1
    os.utime(path, (old, old))
    with locked(path, said.append):
        pass
    assert said == ["took over from process 1 on elsewhere, which has ended without finishing"]


def test_signs_of_life_are_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "SIGN_SECONDS", 0.01)
    path = tmp_path / "lock"
    with locked(path, print):
        os.utime(path, (0, 0))
        time.sleep(0.2)
        assert path.stat().st_mtime > 0


def test_a_lock_that_was_half_written_ends_by_its_age(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.write_text("{")
    with pytest.raises(InputError, match="is writing"), locked(path, print):
        pass
    os.utime(path, (0, 0))
    with locked(path, lambda text: None):
        assert (read_lock(path) or {})["pid"] == os.getpid()


@pytest.mark.skipif(not Path("/proc/self/stat").is_file(), reason="needs Linux")
def test_another_process_with_the_number_of_a_dead_one_is_not_it(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.write_text(json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "started": "1"}))
    with locked(path, lambda text: None):
        pass


def test_where_there_are_no_links_the_file_itself_is_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*args: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "link", no_links)
    refused = pytest.raises(InputError)
    with locked(tmp_path / "lock", print), refused, locked(tmp_path / "lock", print):
        pass
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_leaves_no_half_written_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(path: Path, text: str, encoding: str) -> int:
        path.touch()
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_text", stopped)
    with pytest.raises(KeyboardInterrupt), locked(tmp_path / "lock", print):
        pass
    assert not list(tmp_path.iterdir())
