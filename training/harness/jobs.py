"""Jobs on several processes that do not outlive the one that asked for them."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from threading import Thread
from typing import Any

from threadpoolctl import threadpool_limits

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""Libraries read these when they are loaded."""

JobEnd = tuple[int, Future[Any]]


def run_jobs(
    run: Callable[..., Any],
    jobs: Sequence[tuple[Any, ...]],
    n_processes: int,
    fresh: bool = False,
    n_threads: int | None = 1,
) -> Iterator[JobEnd]:
    """Run a function on several arguments, and tell of each job that ends.

    Whatever ends the iteration early, Ctrl-C too, ends the processes; so does the end of this one,
    killed or not.

    Parameters
    ----------
    run : callable
        Of a module, so that another process can import it.
    jobs : sequence of tuple
        Arguments of ``run``.
    n_processes : int
        With one process, jobs are run in this one, in turn, unless they are to be ``fresh``.
    fresh : bool
        Each job gets a process of its own: when it is killed the others go on, and its memory and
        CPU time are those of the job.
    n_threads : int or None
        Of each process; None: as many as there are.

    Yields
    ------
    number : int
        Of the job.
    future : Future
        With its result, or the error it has ended with.
    """
    if n_processes == 1 and not fresh:
        # The libraries may be loaded, and the environment no longer asked.
        with _environment(n_threads), threadpool_limits(n_threads):
            for number, job in enumerate(jobs):
                yield number, _run_here(run, job)
        return
    yield from _run_in_processes(run, jobs, n_processes, fresh, n_threads)


def run_on_one_thread(run: Callable[..., Any], *job: Any) -> Any:
    """The result of a function, in this process: on one thread, columns are given to no workers.

    These would not see what ``run`` changes in the package, and their CPU time is not this one's.
    """
    return next(run_jobs(run, [job], 1))[1].result()


def _run_in_processes(
    run: Callable[..., Any],
    jobs: Sequence[tuple[Any, ...]],
    n_processes: int,
    fresh: bool,
    n_threads: int | None,
) -> Iterator[JobEnd]:
    waiting = list(enumerate(jobs))[::-1]
    running: dict[Future[Any], tuple[int, ProcessPoolExecutor]] = {}
    with ExitStack() as stack:
        shared = None if fresh else stack.enter_context(_spawned(min(n_processes, len(jobs) or 1)))
        while waiting or running:
            while waiting and len(running) < n_processes:
                number, job = waiting.pop()
                pool = shared or stack.enter_context(_spawned(1))
                # A pool starts all its processes with the first job.
                with _deaf_to_interrupts(), _environment(n_threads):
                    running[pool.submit(run, *job)] = number, pool
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                number, pool = running.pop(future)
                if fresh:
                    pool.shutdown()
                yield number, future


def _run_here(run: Callable[..., Any], job: tuple[Any, ...]) -> Future[Any]:
    future: Future[Any] = Future()
    try:
        future.set_result(run(*job))
    except Exception as e:
        future.set_exception(e)
    return future


@contextmanager
def _spawned(n_processes: int) -> Iterator[ProcessPoolExecutor]:
    """Processes that end with the block. Forked ones would inherit the threads of torch."""
    spawn = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(n_processes, spawn, initializer=_end_with_parent)
    try:
        yield pool
    except BaseException:
        for process in list((pool._processes or {}).values()):
            process.terminate()
        pool.shutdown(cancel_futures=True)
        raise
    pool.shutdown()


def _end_with_parent() -> None:
    """Have this process end when its parent has, which may have had no time to end it."""
    parent: Any = multiprocessing.parent_process()

    def watch() -> None:
        parent.join()
        os._exit(1)  # in the midst of its job, which nobody waits for

    Thread(target=watch, daemon=True).start()


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Processes that are started in this block never hear Ctrl-C: their parent ends them."""
    usual = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)


@contextmanager
def _environment(n_threads: int | None) -> Iterator[None]:
    """What is loaded in this block, and processes that are started in it, take so many threads."""
    usual = {name: os.environ.get(name) for name in THREADS}
    _set_environment(usual if n_threads is None else dict.fromkeys(THREADS, str(n_threads)))
    try:
        yield
    finally:
        _set_environment(usual)


def _set_environment(values: dict[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
