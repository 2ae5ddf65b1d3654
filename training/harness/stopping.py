"""Ctrl-C: steps that are finished first, and processes that do not outlive the one that asked."""

from __future__ import annotations

import multiprocessing
import signal
import subprocess
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

Item = TypeVar("Item")


@contextmanager
def interrupt_at_the_end() -> Iterator[None]:
    """Ctrl-C within the block is raised when it ends; a second one at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heard: list[bool] = []

    def hear(*_: object) -> None:
        if heard:
            raise KeyboardInterrupt
        heard.append(True)

    usual = signal.signal(signal.SIGINT, hear)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)
    if heard:
        raise KeyboardInterrupt


def whole_steps(items: Iterable[Item]) -> Iterator[Item]:
    """The items; Ctrl-C is raised between them, not while one of them is worked on."""
    for item in items:
        with interrupt_at_the_end():
            yield item


@contextmanager
def deaf_to_interrupts() -> Iterator[None]:
    """Processes that are started in this block never hear Ctrl-C: their parent ends them."""
    usual = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)


class SpawnedPool:
    """Spawned processes for a list of tasks; whatever ends the block early ends them.

    Forked ones would inherit the threads of torch.

    Parameters
    ----------
    n_processes : int
    """

    def __init__(self, n_processes: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(n_processes, mp_context=context)

    def submit(self, run: Any, *args: Any) -> Future[Any]:
        # The pool starts all its processes with the first task.
        with deaf_to_interrupts():
            return self._pool.submit(run, *args)

    def __enter__(self) -> SpawnedPool:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            for process in list(self._pool._processes.values()):
                process.terminate()
        self._pool.shutdown(cancel_futures=kind is not None)


class Children:
    """Commands that run at the same time; the end of the block ends them."""

    def __init__(self) -> None:
        self._running: set[subprocess.Popen[str]] = set()
        self._stopped = False

    def start(self, command: Sequence[str], **options: Any) -> subprocess.Popen[str]:
        """As ``subprocess.Popen(command, text=True)``; may be called by several threads."""
        process = subprocess.Popen(command, text=True, **options)
        self._running.add(process)
        if self._stopped:
            process.terminate()
        return process

    def run(self, command: Sequence[str], **options: Any) -> subprocess.CompletedProcess[str]:
        """As ``subprocess.run(command, text=True)``; may be called by several threads."""
        if self._stopped:
            raise KeyboardInterrupt
        process = self.start(command, **options)
        out, err = process.communicate()
        self._running.discard(process)
        return subprocess.CompletedProcess(command, process.returncode, out, err)

    def __enter__(self) -> Children:
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped = True
        for process in list(self._running):
            process.terminate()
        for process in list(self._running):
            process.wait()
