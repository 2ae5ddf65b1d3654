"""Runs of the command line that end early, for the tests."""

from __future__ import annotations

from typing import Any

import pytest

from matminer_unate.engine import running


def stop_in_part(
    monkeypatch: pytest.MonkeyPatch, n: int, error: BaseException | None = None
) -> None:
    """Let the n-th part from now on (from 1) fail, by default of Ctrl-C."""
    write, calls = running.write_part, []

    def failing(*args: Any) -> Any:
        calls.append(args)
        if len(calls) == n:
            raise error or KeyboardInterrupt
        return write(*args)

    monkeypatch.setattr(running, "write_part", failing)
