"""The trials of ``training/bandgap.py``: which there are, who works on them, and their table.

Any number of processes may share a table. A process claims a trial with a lock on a file, which the
system lets go of when the process ends, however it ends; rows are appended under a lock too. So a
grid that was stopped or killed goes on where it was, without any clearing up.
"""

from __future__ import annotations

import fcntl
import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.networks.arms import ARMS
from benchmarks.networks.statistics import prediction_file
from harness.result_tables import read_results, write_table
from matminer_unate.errors import InputError


@dataclass(frozen=True)
class Trial:
    """One training of the grid."""

    protocol: str
    property: str
    arm: str
    fraction: float
    seed: int
    changes: str = ""
    """Settings of the training that are not the preset's, and the fold of a protocol of folds."""

    def __str__(self) -> str:
        text = f"{self.protocol} {self.property} {self.arm} {self.fraction:g} {self.seed}"
        return f"{text} {self.changes}".rstrip()

    def predictions(self) -> str:
        """Name of the file of its predictions."""
        return prediction_file(str(self))


KEYS = [f.name for f in fields(Trial)]


def trials(
    protocol: str,
    properties: Sequence[str],
    arms: Sequence[str],
    fractions: Sequence[float],
    seeds: Sequence[int],
) -> list[Trial]:
    """Every combination; all arms of one seed in turn, so that pairs are complete early."""
    combinations = itertools.product(properties, fractions, seeds, arms)
    return [Trial(protocol, p, arm, fraction, seed) for p, fraction, seed, arm in combinations]


def whole_grid(best: str = "finetune") -> list[Trial]:
    """The grid of the README, the most telling trials first."""
    three, five = range(3), range(5)
    main_arms = ("Z", "site", best)
    others = [arm for arm in ARMS if arm not in (*main_arms, "estimator")]
    gap = ("band_gap",)
    return [
        *trials("mp-gap-20", gap, main_arms, (0.25,), five),
        *trials("mp-gap-20", gap, main_arms, (1.0,), three),
        *trials("mp-gap-20", gap, others, (0.25,), five),
        *trials("mp-gap-20", gap, main_arms, (0.5, 0.75), three),
        *trials("mp-gap-20", gap, ("scratch",), (1.0,), three),
        *trials(
            "mp-gap-20", ("log_bulk_modulus", "formation_energy"), ("Z", best), (0.25, 1.0), three
        ),
        *trials("mp20-test", gap, ("Z", best), (1.0,), (0,)),
    ]


def predictions_folder(out: Path) -> Path:
    return out.with_name(f"{out.stem}_predictions")


@contextmanager
def locked(path: Path, wait: bool) -> Iterator[bool]:
    """Hold a lock file; the system lets go of it when its process ends, however it ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        yield True


def claim(out: Path, trial: Trial) -> Any:
    """Whether this process may run the trial, for as long as the context lasts."""
    return locked(predictions_folder(out) / f".{trial.predictions()}.lock", wait=False)


def finished(out: Path) -> set[Trial]:
    """Cells that have a row."""
    if not out.exists():
        return set()
    table = read_results(str(out))
    missing = [key for key in KEYS if key not in table]
    if missing:
        raise InputError(f"{out} has no column {missing[0]!r}; write to another file")
    rows = table[KEYS].fillna({"changes": ""}).itertuples(index=False)
    return {Trial(r[0], r[1], r[2], float(r[3]), int(r[4]), r[5]) for r in rows}


def lock_table(out: Path) -> Any:
    """Hold the table for as long as the context lasts; other processes wait."""
    return locked(predictions_folder(out) / ".table.lock", wait=True)


def append_row(out: Path, row: dict[str, Any]) -> None:
    """Add a row to the table; other processes wait."""
    with lock_table(out):
        if not out.exists():
            write_table(pd.DataFrame([row]), str(out), "a row a training, as they finish")
            return
        columns = list(read_results(str(out)).columns)
        if set(columns) != set(row):
            odd = sorted(set(columns) ^ set(row))
            raise InputError(f"{out} has other columns ({', '.join(odd)}); write to another file")
        pd.DataFrame([row])[columns].to_csv(out, mode="a", header=False, index=False)


def cut_half_row(out: Path) -> None:
    """Drop a last row that a process was writing when it was killed."""
    if not out.exists():
        return
    with lock_table(out):
        text = out.read_bytes()
        end = text.rfind(b"\n") + 1
        if text.startswith(b"# python training/") and text.count(b"\n") > 1 and end < len(text):
            out.write_bytes(text[:end])
