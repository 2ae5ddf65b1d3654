"""Jobs: results and errors by number, on how many processes, with how many threads."""

from __future__ import annotations

import os
import signal

import pytest

from harness.jobs import THREADS, run_jobs
from matminer_unate.errors import InputError


def work(n: int, fail: bool = False) -> tuple[int, int, str]:
    if fail:
        raise InputError(f"no {n}")
    return n, os.getpid(), os.environ[THREADS[0]]


def die_if_odd(n: int) -> int:
    if n % 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return n


@pytest.mark.parametrize(
    ("n_processes", "fresh", "n_pids"), [(1, False, 1), (2, False, 2), (1, True, 3), (2, True, 3)]
)
def test_every_job_ends_with_its_result_or_its_error(
    n_processes: int, fresh: bool, n_pids: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(THREADS[0], "7")
    jobs = [(0,), (1,), (2,), (3, True)]
    ended = dict(run_jobs(work, jobs, n_processes, fresh, n_threads=3))
    assert sorted(ended) == [0, 1, 2, 3]
    found = [ended[k].result() for k in range(3)]
    assert [n for n, _, _ in found] == [0, 1, 2]
    pids = {pid for _, pid, _ in found}
    assert len(pids) <= n_pids if n_processes == 2 and not fresh else len(pids) == n_pids
    assert (os.getpid() in pids) == (n_processes == 1 and not fresh)
    assert {threads for _, _, threads in found} == {"3"}
    with pytest.raises(InputError, match="no 3"):
        ended[3].result()
    assert os.environ[THREADS[0]] == "7"


def test_a_fresh_process_that_is_killed_takes_no_other_with_it() -> None:
    ended = dict(run_jobs(die_if_odd, [(k,) for k in range(4)], 2, fresh=True))
    assert [ended[k].result() for k in (0, 2)] == [0, 2]
    assert "terminated abruptly" in str(ended[1].exception())


def test_no_jobs_are_no_trouble() -> None:
    assert [list(run_jobs(work, [], n)) for n in (1, 2)] == [[], []]
