"""How much memory a process takes."""

from __future__ import annotations

import ctypes
from pathlib import Path


def memory_mb(kind: str = "VmRSS", process: int | str = "self") -> float:
    """Resident memory of a process: now (``VmRSS``), or the most so far (``VmHWM``).

    0 if it has ended.
    """
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(kind)), 0.0)


def held_mb() -> float:
    """Resident memory of this process, once what is free is given back."""
    ctypes.CDLL(None).malloc_trim(0)
    return memory_mb()


def forget_peak() -> None:
    """Let ``VmHWM`` of this process begin anew."""
    Path("/proc/self/clear_refs").write_text("5")
