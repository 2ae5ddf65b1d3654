"""Small fine-tuned regressors, for the tests."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pymatgen.core import Structure
from small_corpora import prototypes

from matminer_unate import UnateFineTuneRegressor
from matminer_unate.errors import StructureError
from matminer_unate.featurizers.tight_binding_stats import TightBindingStats
from matminer_unate.finetuning import fitting


def structures(n: int = 24) -> list[Structure]:
    """Of elements that the tiny weights know."""
    known = [s for s in prototypes() if max(s.atomic_numbers) <= 83]
    return known[:n]


def volumes(crystals: list[Structure]) -> np.ndarray:
    """Å³ per atom."""
    return np.array([s.volume / len(s) for s in crystals])


def make(weights: Path, **options: object) -> UnateFineTuneRegressor:
    defaults: dict[str, object] = {
        "epochs": 3, "batch_size": 8, "n_members": 1, "tight_binding": False, "progress": False,
        "device": "cpu",
    }  # fmt: skip
    return UnateFineTuneRegressor(weights, **defaults | options)


def no_tight_binding(self: TightBindingStats, structure: object) -> None:
    raise StructureError("it is too large")


class KilledError(Exception):
    """Ends a fit as a failure of the machine does."""


def kill_at(monkeypatch: pytest.MonkeyPatch, call: int) -> None:
    """Keep the training after each step, and end it at the n-th."""
    inner, calls = fitting.set_rates, iter(range(1, 10**9))

    def dying(*args: Any) -> None:
        if next(calls) == call:
            raise KilledError
        inner(*args)

    monkeypatch.setattr(fitting, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(fitting, "set_rates", dying)


def press_ctrl_c(monkeypatch: pytest.MonkeyPatch, place: Any, name: str, call: int) -> list[float]:
    """Press it when a function is called for the n-th time; the list tells when that was."""
    inner: Callable[..., Any] = getattr(place, name)
    times, calls = list[float](), iter(range(1, 10**9))

    def pressed(*args: Any, **options: Any) -> Any:
        if next(calls) == call:
            times.append(time.monotonic())
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        return inner(*args, **options)

    monkeypatch.setattr(place, name, pressed)
    return times
