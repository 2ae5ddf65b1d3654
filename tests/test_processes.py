"""Forks, threads and pools of every kind: each call returns, with the right rows."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from places import TESTS
from process_calls import BEFORE, TASKS, WAYS, Bound, fit_models
from real_crystals import crystals

from matminer_unate import processes
from matminer_unate.network import encoding
from matminer_unate.processes import single_threaded_workers

NAMES = ("NaCl", "Si", "SiO2 quartz", "ZnO wurtzite")

QUICK = [
    ("used", "bare_fork", None),
    ("others", "forks", None),
    ("others_alone", "bare_fork", None),
]
"""Before, way, OMP_NUM_THREADS: one of each kind that has hung."""

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Crystals, models, and the rows that this process computes with them."""
    folder = tmp_path_factory.mktemp("processes")
    chosen = [crystals()[name] for name in NAMES]
    for k, structure in enumerate(chosen):
        structure.to(filename=str(folder / f"{k}.json"))
    fit_models(folder, chosen)
    rows = {name: [Bound(name, folder)(c) for c in chosen] for name in TASKS}
    np.savez(folder / "expected.npz", **rows)
    return folder


def run_calls(folder: Path, before: str, way: str, threads: str | None) -> None:
    """Run tests/process_calls.py; a hang names its call."""
    environment = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")}
    if threads is not None:
        environment["OMP_NUM_THREADS"] = threads
    process = subprocess.Popen(
        [sys.executable, str(TESTS / "support" / "process_calls.py"), folder, before, way],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    process.wait()  # it ends by itself, also where a call hangs; children that hang do not
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    output, _ = process.communicate()
    assert process.returncode == 0, output[-3000:]
    assert "done" in output.splitlines()  # Python may warn of semaphores after it


@pytest.mark.parametrize(("before", "way", "threads"), QUICK)
def test_calls_in_children_return_with_the_right_rows(
    folder: Path, before: str, way: str, threads: str | None
) -> None:
    run_calls(folder, before, way, threads)


def _others() -> list[tuple[str, str, str | None]]:
    """Everything before × both forks, and every other way, × threads."""
    scenarios = [
        *itertools.product(BEFORE, ("forks", "bare_fork"), (None, "1", "64")),
        *itertools.product(("used",), WAYS, (None, "1")),
    ]
    return [s for s in dict.fromkeys(scenarios) if s not in QUICK]


@pytest.mark.matrix
@pytest.mark.slow
@pytest.mark.parametrize(("before", "way", "threads"), _others())
def test_calls_in_workers_of_any_kind_return_with_the_right_rows(
    folder: Path, before: str, way: str, threads: str | None
) -> None:
    run_calls(folder, before, way, threads)


# -- one load, and threads as they were ------------------------------------------------------------


def test_threads_that_begin_together_load_the_network_once(
    tiny_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads: list[Path] = []
    together = threading.Barrier(8)

    def load_encoder(folder: Path) -> tuple[torch.nn.Module, None]:
        loads.append(folder)
        time.sleep(0.05)
        return torch.nn.Identity(), None

    def load() -> None:
        together.wait()
        networks.append(encoding.load(tiny_weights, "cpu")[0])

    networks: list[object] = []
    encoding._load.cache_clear()
    monkeypatch.setattr(encoding, "load_encoder", load_encoder)
    threads = [threading.Thread(target=load) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    encoding._load.cache_clear()  # no other test gets this network
    assert len(loads) == 1
    assert len(networks) == 8
    assert len(set(map(id, networks))) == 1


def test_workers_leave_every_number_of_threads_as_it_was() -> None:
    """Also where the caller's own number is not the default, and many start at once."""
    usual = torch.get_num_threads()
    torch.set_num_threads(5)  # the default for threads to come
    seen: list[tuple[int, int]] = []

    def work(own: int) -> None:
        with single_threaded_workers(3) as workers:
            inside = max(workers.map(lambda _: torch.get_num_threads(), range(3)))
        seen.append((inside, torch.get_num_threads()))

    try:
        threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert torch.get_num_threads() == 5
    finally:
        torch.set_num_threads(usual)
    assert seen == [(1, 5)] * 8


def set_blas_threads(n: int) -> None:
    """For good, and so that another thread may set it too."""
    processes.blas_libraries().limit(limits=n)
    processes._let_others_set_blas()


def test_threads_that_limit_blas_leave_its_number_as_it_was() -> None:
    before = processes.blas_threads()
    set_blas_threads(2)
    inside, leave, seen = threading.Barrier(3), threading.Event(), list[int]()

    def first() -> None:
        with processes.one_blas_thread():
            inside.wait()
            leave.wait()

    def last() -> None:
        with processes.one_blas_thread():
            inside.wait()
            threads[0].join()
            seen.append(processes._threads_of_blas())

    threads = [threading.Thread(target=target) for target in (first, last)]
    try:
        for thread in threads:
            thread.start()
        inside.wait()
        assert processes._threads_of_blas() == 1
        assert processes.blas_threads() == 2
        leave.set()
        for thread in threads:
            thread.join()
        assert seen == [1]
        assert processes._threads_of_blas() == processes.blas_threads() == 2
    finally:
        set_blas_threads(before)
        assert processes.blas_threads() == before


def test_after_an_error_nothing_begins_that_has_not_begun() -> None:
    began: list[int] = []

    def work(k: int) -> None:
        began.append(k)
        time.sleep(0.1)

    def interrupted() -> None:
        with single_threaded_workers(1) as workers:
            for k in range(50):
                workers.submit(work, k)
            while not began:
                time.sleep(0.01)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert len(began) <= 2


def test_workers_of_dask_keep_freed_memory_and_no_others_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[tuple[int, int]] = []

    class Library:
        def __init__(self, name: None) -> None:
            self.mallopt = lambda *args: calls.append(args)

    monkeypatch.setattr("ctypes.CDLL", Library)
    monkeypatch.setattr("sys.platform", "linux")
    for value, n_calls in ((None, 0), ("1000000", 0), ("65536", 2)):
        monkeypatch.delenv("MALLOC_TRIM_THRESHOLD_", raising=False)
        if value is not None:
            monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", value)
        processes.keep_freed_memory.__wrapped__()
        assert len(calls) == n_calls


def test_an_interrupt_before_any_worker_runs_is_that_interrupt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def press(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(processes.ThreadPoolExecutor, "submit", press)
    n_threads = torch.get_num_threads()
    with pytest.raises(KeyboardInterrupt), single_threaded_workers(2):
        pass
    assert torch.get_num_threads() == n_threads
