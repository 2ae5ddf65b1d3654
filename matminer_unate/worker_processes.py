"""Processes beside this one, for work of many rows that holds Python's lock.

Threads share one lock, so that what is many short calls gains little by a second core, and nothing
by a third. Such work goes to worker processes once there is enough of it: they take two seconds
to start, and 250 MB each. They stay a while for the next call. Nobody has to ask for them, and
nobody has to guard a script against them: joblib's (loky's) begin as fresh interpreters that do
not run the caller's script again, so that torch is never forked.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import CancelledError, Executor, Future
from concurrent.futures.process import BrokenProcessPool
from threading import Thread
from typing import TypeVar, cast

import joblib

from matminer_unate.processes import blas_threads

WORTH_STARTING = 10.0
"""Expected seconds of one core, asked for within ``MEMORY``, from which processes are started."""
WORTH_ASKING = 1.0
"""The same of a call, from which those that are there already are asked."""
MEMORY = 60.0
IDLE = 120.0
"""Seconds without work after which a process ends."""
MAX_WORKERS = 16

_ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS"), "1"
)

Given = TypeVar("Given")
Result = TypeVar("Result")


class WorkerProcesses:
    """The worker processes of this one.

    Parameters
    ----------
    n_workers : int or None
        None is as many as BLAS would use threads, counted whenever there is work for them, and 1,
        which stands for none, in a child process.
    """

    def __init__(self, n_workers: int | None = None) -> None:
        self._given = n_workers
        self._executor: Executor | None = None
        self._last_used = self._last_asked = -MEMORY
        self._asked = 0.0

    @property
    def n_workers(self) -> int:
        """How many."""
        return _n_workers() if self._given is None else self._given

    def are_worth(self, seconds: float) -> bool:
        """Whether to give them work of so many expected seconds of one core."""
        if seconds < WORTH_ASKING or self.n_workers < 2:
            return False
        now = time.monotonic()
        if now - self._last_asked > MEMORY:
            self._asked = 0.0
        self._last_asked = now
        self._asked += seconds
        there = self._executor is not None and now - self._last_used < IDLE / 2
        return there or self._asked >= WORTH_STARTING

    def map(
        self,
        function: Callable[[Given], Result],
        chunks: Sequence[Given],
        stays: Callable[[Given], bool] = lambda chunk: False,
    ) -> Generator[Result]:
        """What a function makes of chunks, in their order; both go through pickle.

        All chunks but those that stay are handed over at once, and what this process does meanwhile
        is done beside them. Where processes cannot be started, or end before their time (out of
        memory, say), the rest is computed here. What the function raises is raised. When the
        iterator is closed or forgotten, as by an exception or Ctrl-C, chunks that no process has
        begun are dropped.
        """
        results = self._results(function, chunks, stays)
        next(results)
        return cast(Generator[Result], results)

    def _results(
        self,
        function: Callable[[Given], Result],
        chunks: Sequence[Given],
        stays: Callable[[Given], bool],
    ) -> Generator[Result | None]:
        """None as soon as all is handed over, then the results."""
        waiting: deque[Future[Result]] = deque()
        at_home = [stays(chunk) for chunk in chunks]
        try:
            executor = self._started()
            if executor is not None:
                try:
                    for chunk, here in zip(chunks, at_home, strict=True):
                        if not here:
                            waiting.append(executor.submit(function, chunk))
                except (BrokenProcessPool, OSError, RuntimeError):
                    self._executor = None
            yield None
            for chunk, here in zip(chunks, at_home, strict=True):
                try:
                    result = function(chunk) if here or not waiting else waiting.popleft().result()
                except (BrokenProcessPool, CancelledError):
                    self._executor = None
                    waiting.clear()
                    result = function(chunk)
                yield result
                self._last_used = time.monotonic()
        finally:
            for future in waiting:
                future.cancel()

    def _started(self) -> Executor | None:
        if self._executor is None:
            try:
                self._executor = _new_executor(self.n_workers)
            except (ImportError, OSError, NotImplementedError):  # no, or too few, semaphores
                return None
        return self._executor


def _new_executor(n_workers: int) -> Executor:
    from joblib.externals.loky import ProcessPoolExecutor

    # Where spglib finds no symmetry at one tolerance, another is tried: lines for nobody, but for a
    # user who wants to hear them.
    env = _ONE_THREAD | {"SPGLIB_WARNING": os.environ.get("SPGLIB_WARNING", "OFF")}
    executor: Executor = ProcessPoolExecutor(
        n_workers, timeout=IDLE, initializer=_depend_on_the_parent, env=env
    )
    return executor


def _depend_on_the_parent() -> None:
    """Leave Ctrl-C, which a terminal sends to all processes of a command, to it; end with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if os.name == "posix":
        Thread(target=_end_without, args=(os.getppid(),), daemon=True).start()


def _end_without(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


_own = [WorkerProcesses()]


def worker_processes() -> WorkerProcesses:
    """Those of this process."""
    return _own[0]


def _n_workers() -> int:
    if multiprocessing.parent_process() is not None or not sys.executable:
        return 1
    return min(blas_threads(), joblib.cpu_count(), MAX_WORKERS)


def _in_forked_child() -> None:
    _own[:] = [WorkerProcesses(1)]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_forked_child)
