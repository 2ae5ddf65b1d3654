"""Threads that survive company: forked children, other threads, and Ctrl-C.

GNU's OpenMP does not survive a fork: the child keeps the bookkeeping of threads that it does not
have, and waits for them in its first parallel region, for ever. matminer forks, and so do pools of
processes and the workers of torch's ``DataLoader``. So torch computes in threads of our own, which
have no such bookkeeping and ask for no second thread, and everything else that a child may run
finds the number of OpenMP threads set to one.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from threading import Barrier, Lock, Thread
from typing import Any

from threadpoolctl import ThreadpoolController

_openmp: list[Any] = []
"""Runtimes that are loaded when this process forks. A child could not look for them: another thread
may hold the lock of the dynamic loader."""

_torch: list[Any] = [None]
"""Torch's library. MKL keeps buffers by thread, of threads that have ended too, and in one of 150
forked children its look for one of them never ended (``mm_account_ptr_by_tid``, torch 2.13)."""

_starting = Lock()


@cache
def blas_libraries() -> ThreadpoolController:
    """The BLAS libraries of this process; to look for them takes 20 ms."""
    return ThreadpoolController().select(user_api="blas")


def blas_threads() -> int:
    """Threads that BLAS would use, were it not for :func:`one_blas_thread`."""
    with _single.lock:
        return _single.before or _threads_of_blas()


def _threads_of_blas() -> int:
    return max((library.num_threads for library in blas_libraries().lib_controllers), default=1)


class _SingleThread:
    """Who is in :func:`one_blas_thread`, and what BLAS had before."""

    def __init__(self) -> None:
        self.lock, self.n, self.before = Lock(), 0, 0
        self.limits: Any = None


_single = _SingleThread()


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Let BLAS use one thread: on small matrices, its own mostly wait for each other.

    The number is one for all threads of the process. The first that comes in sets it, and the last
    that leaves puts it back; each by itself would put back what another had set. Where a thread is
    in ``threadpool_limits`` meanwhile, its number stays.
    """
    with _single.lock:
        if not _single.n:
            _single.before = _threads_of_blas()
            _single.limits = blas_libraries().limit(limits=1)
            _let_others_set_blas()
        _single.n += 1
    try:
        yield
    finally:
        with _single.lock:
            _single.n -= 1
            if not _single.n:
                _single.limits.restore_original_limits()
                _single.before = 0
                _let_others_set_blas()


def _let_others_set_blas() -> None:
    """threadpoolctl (from 3.7 on) lets nobody but the thread that set a number set another."""
    for library in blas_libraries().lib_controllers:
        getattr(library, "clear_controlling_thread", lambda: None)()


def _before_fork() -> None:
    _openmp[:] = ThreadpoolController().select(user_api="openmp").lib_controllers
    _torch[:] = [_torch_library()]
    if hasattr(_torch[0], "mkl_serv_free_buffers"):
        _torch[0].mkl_serv_free_buffers()


def _torch_library() -> Any:
    """The shared library of torch, with the MKL in it; None without torch."""
    torch: Any = sys.modules.get("torch")
    if not hasattr(torch, "set_num_threads"):  # it is not there, or being imported
        return None
    try:
        return ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"))
    except OSError:
        return None


def _in_forked_child() -> None:
    global _starting
    _starting = Lock()  # a thread that the child does not have may hold the other
    _single.lock = Lock()
    torch: Any = sys.modules.get("torch")
    if hasattr(torch, "set_num_threads"):  # else it is being imported
        torch.set_num_threads(1)
    if hasattr(_torch[0], "mkl_serv_disable_fast_mm"):
        _torch[0].mkl_serv_disable_fast_mm()
    for runtime in _openmp:
        runtime.set_num_threads(1)
    # LightGBM asks for as many threads as the last training was given, also to read a model.
    lightgbm: Any = getattr(sys.modules.get("lightgbm.basic"), "_LIB", None)
    if hasattr(lightgbm, "LGBM_SetMaxThreads"):
        lightgbm.LGBM_SetMaxThreads(1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_child=_in_forked_child)


_TRIM = "MALLOC_TRIM_THRESHOLD_"


@cache
def keep_freed_memory() -> None:
    """Let a worker of Dask keep some memory that was freed.

    Dask starts its workers with glibc told to give back all above 64 kB at once, and to map each
    larger array anew. Half the time of a network then goes into pages that the system clears (6,000
    crystals: 19 s and 5,700,000 page faults, against 10 s and 100,000). Where that was not asked
    for as Dask does it, nothing is changed.
    """
    if os.environ.get(_TRIM) != "65536" or not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(-3, 32 * 2**20)  # M_MMAP_THRESHOLD
        mallopt(-1, 128 * 2**20)  # M_TRIM_THRESHOLD


@contextmanager
def single_threaded_workers(n_workers: int) -> Iterator[ThreadPoolExecutor]:
    """Threads in each of which torch computes with one core.

    Several batches at once on one core each beat one batch on several cores: the operations are
    small, and where other programs run, OpenMP's threads wait for each other most of the time (70
    times slower, measured on four busy cores). They are safe in forked children, and leave no
    OpenMP threads behind in the caller.

    Where the block ends with an exception (Ctrl-C among them), what has not begun never will; what
    has is waited for.
    """
    import torch

    started, defaults = Barrier(n_workers + 1), list[int]()

    def use_one_thread() -> None:
        # torch sets a thread's number from its default when the thread first computes or asks.
        # Asking first makes sure that this does not come after, and undo, what is set here.
        defaults.append(torch.get_num_threads())
        torch.set_num_threads(1)
        started.wait()

    workers = ThreadPoolExecutor(n_workers, initializer=use_one_thread)
    try:
        # One start at a time: another would find the default of this one, and so would the caller
        # if it did not ask before.
        with _starting:
            torch.get_num_threads()
            try:
                for _ in range(n_workers):
                    workers.submit(int)
                started.wait()
            except BaseException:
                started.abort()  # lets go of the threads that did start
                workers.shutdown(cancel_futures=True)  # and none sets the default any more
                raise
            finally:
                # torch keeps the number for each thread, and one for threads to come. That one is
                # put back, by a thread of its own as the caller's number may be another.
                if defaults:
                    restore = Thread(target=torch.set_num_threads, args=(max(defaults),))
                    restore.start()
                    restore.join()
        yield workers
    except BaseException:
        workers.shutdown(cancel_futures=True)
        raise
    workers.shutdown()
