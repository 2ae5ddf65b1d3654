"""Worker processes: the same rows as without them, whatever ends early."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from places import ROOT
from pymatgen.core import Lattice, Structure

from matminer_unate import CellStats, TightBindingStats, UnateRegressor, UnateSiteFeaturizer
from matminer_unate import worker_processes as module
from matminer_unate.crystals.checked import CheckedCrystal
from matminer_unate.errors import UnateWarning
from matminer_unate.featurizers.chunks import chunks_of, is_large
from matminer_unate.worker_processes import WorkerProcesses


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> WorkerProcesses:
    """Two, that are worth any work."""
    monkeypatch.setattr(module, "WORTH_ASKING", 0.0)
    monkeypatch.setattr(module, "WORTH_STARTING", 0.0)
    two = WorkerProcesses(2)
    monkeypatch.setattr(module, "_own", [two])
    return two


def salts(n: int) -> list[Structure]:
    """No two of them equal."""
    cells = (Lattice.cubic(4.0 + 1e-3 * k) for k in range(n))
    return [Structure(cell, ["Cs", "Cl"], [[0] * 3, [0.5] * 3]) for cell in cells]


def texts(caught: list[warnings.WarningMessage]) -> list[str]:
    """Of this package."""
    return [str(w.message) for w in caught if isinstance(w.message, UnateWarning)]


def there_and_here(
    workers: WorkerProcesses, compute: Callable[[], Any]
) -> tuple[Any, Any, list[str]]:
    """The same by worker processes and by this one; both say the same, which comes last."""
    with pytest.warns(UnateWarning) as there:
        found = compute()
    assert workers._executor is not None
    workers._given = 1  # from now on, all is computed in this process
    with pytest.warns(UnateWarning) as here:
        expected = compute()
    assert texts(list(there)) == texts(list(here))
    return found, expected, texts(list(there))


@pytest.mark.parametrize("featurizer", [TightBindingStats, CellStats])
def test_columns_errors_and_notes_are_those_of_one_process(
    featurizer: type[TightBindingStats | CellStats], workers: WorkerProcesses
) -> None:
    rows = pd.Series(salts(150), index=[f"salt {k}" for k in range(150)])
    rows["salt 70"] = Structure(Lattice.cubic(3), ["H", "H"], [[0] * 3, [0, 0, 0.001]])
    rows["salt 80"] = "no crystal"
    rows["salt 90"] = rows["salt 20"]
    rows["salt 100"] = Structure(Lattice.cubic(30), ["Na"], [[0] * 3])
    given = featurizer(on_error="nan")
    found, expected, said = there_and_here(workers, lambda: given.transform(rows))
    np.testing.assert_allclose(found, expected, atol=2e-6)
    assert np.flatnonzero(np.isnan(found).any(axis=1)).tolist() == [70, 80]
    assert "row 100 (index 'salt 100')" in said[-1]


def test_a_bad_row_is_named_by_its_place(
    workers: WorkerProcesses, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = salts(100)
    rows[90] = Structure(Lattice.cubic(3), ["H", "H"], [[0] * 3, [0, 0, 0.001]])
    begun, usual = [], workers.map

    def watched(*given: Any) -> Any:
        begun.append(usual(*given))
        return begun[-1]

    monkeypatch.setattr(workers, "map", watched)
    with pytest.raises(ValueError, match="row 90: "):
        TightBindingStats().transform(rows)
    assert workers._executor is not None
    (results,) = begun
    assert results.gi_frame is None  # closed, though the traceback holds on to it


def which(_: int) -> int:
    return os.getpid()


@pytest.mark.parametrize(("given", "expected"), [(None, "OFF"), ("ON", "ON")])
def test_spglib_is_quiet_in_workers_unless_it_is_asked_for(
    workers: WorkerProcesses, monkeypatch: pytest.MonkeyPatch, given: str | None, expected: str
) -> None:
    monkeypatch.delenv("SPGLIB_WARNING", raising=False)
    if given:
        monkeypatch.setenv("SPGLIB_WARNING", given)
    assert list(workers.map(os.getenv, ["SPGLIB_WARNING"])) == [expected]


def test_what_stays_is_computed_here(workers: WorkerProcesses) -> None:
    found = list(workers.map(which, [1, 2, 3, 2], lambda chunk: chunk == 2))
    assert [pid == os.getpid() for pid in found] == [False, True, False, True]
    rows = [*salts(3), salts(1)[0] * (6, 6, 6), *salts(2)]
    crystals = enumerate(map(CheckedCrystal, rows))
    chunks = chunks_of(crystals)
    assert [chunk.rows for chunk in chunks] == [[0, 1, 2], [3], [4, 5]]
    assert [is_large(chunk.crystals) for chunk in chunks] == [False, True, False]


def test_the_recipe_is_that_of_one_process(workers: WorkerProcesses, tiny_weights: Path) -> None:
    rows = [*salts(70), Structure(Lattice.cubic(30), ["Na"], [[0] * 3]), *salts(3)]
    model = UnateRegressor(tiny_weights, progress=False)
    found, expected, _ = there_and_here(workers, lambda: model.featurize(rows))
    pd.testing.assert_frame_equal(found, expected, atol=2e-6, rtol=0)


def test_sites_are_described_as_by_one_process(
    workers: WorkerProcesses, tiny_weights: Path
) -> None:
    rows = [*salts(70), Structure(Lattice.cubic(3), ["H", "H"], [[0] * 3, [0, 0, 0.001]])]
    rows += [Structure(Lattice.cubic(30), ["Na"], [[0] * 3]), *salts(3)]
    columns = ("tight-binding", "embedding", "physics")
    sites = UnateSiteFeaturizer(tiny_weights, columns, on_error="nan")
    found, expected, _ = there_and_here(workers, lambda: sites.featurize_sites(rows))
    pd.testing.assert_frame_equal(found, expected, atol=2e-6, rtol=0)


def alone(parent: int) -> str:
    """End a worker; in this process, answer."""
    if os.getpid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)
    return "here"


def test_what_a_lost_worker_had_is_computed_here(workers: WorkerProcesses) -> None:
    assert list(workers.map(alone, [os.getpid()] * 5)) == ["here"] * 5
    assert list(workers.map(abs, [-1, -2])) == [1, 2]


def test_an_error_and_an_interrupt_drop_what_has_not_begun(workers: WorkerProcesses) -> None:
    list(workers.map(abs, [-1, -2]))
    began = time.monotonic()
    with pytest.raises(TypeError):
        list(workers.map(len, [[], 3, *[[]] * 10_000]))
    timer = threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        list(workers.map(time.sleep, [0.1] * 1_000))
    assert list(workers.map(abs, [-1, -2])) == [1, 2]  # a terminal would tell the workers too
    assert time.monotonic() - began < 20


def test_small_work_starts_none(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1_000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    four = WorkerProcesses(4)
    assert not four.are_worth(module.WORTH_STARTING - 0.1)
    now += module.MEMORY + 1
    assert not four.are_worth(0.6 * module.WORTH_STARTING)
    assert not four.are_worth(0.01)
    assert four.are_worth(0.6 * module.WORTH_STARTING)
    assert not WorkerProcesses(1).are_worth(1e6)


def test_a_child_starts_none() -> None:
    command = "from matminer_unate import worker_processes as w; print(w._n_workers())"
    one = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", command], env=one, capture_output=True, text=True)
    assert done.stdout.strip() == "1", done.stderr
    assert list(WorkerProcesses(2).map(_n_workers_there, [0])) == [1]


def _n_workers_there(_: int) -> int:
    return module._n_workers()


UNGUARDED = """
import matminer_unate.worker_processes as module
from matminer_unate import TightBindingStats
from pymatgen.core import Lattice, Structure
module.WORTH_ASKING = module.WORTH_STARTING = 0.0
module._own[:] = [module.WorkerProcesses(2)]
cells = (Lattice.cubic(4.0 + 1e-3 * k) for k in range(100))
rows = [Structure(cell, ["Cs", "Cl"], [[0] * 3, [0.5] * 3]) for cell in cells]
print("begun")
print(TightBindingStats().transform(rows).shape, module._own[0]._executor is not None)
"""


@pytest.mark.parametrize("way", ["file", "-"])
def test_scripts_need_no_guard_and_leave_nothing_running(way: str, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(UNGUARDED)
    given = {"file": [str(script)], "-": ["-"]}[way]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, *given],
        input=UNGUARDED if way == "-" else None,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout.splitlines() == ["begun", "(100, 126) True"], done.stderr
    assert "Error" not in done.stderr


@pytest.mark.skipif(os.name != "posix", reason="needs process groups")
def test_workers_end_with_a_killed_parent(tmp_path: Path) -> None:
    script = UNGUARDED + (
        "print(*module._own[0].map(lambda _: __import__('os').getpid(), [0] * 20), flush=True)\n"
        "__import__('os').kill(__import__('os').getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    workers = {int(pid) for pid in done.stdout.splitlines()[-1].split()}
    assert workers
    ends = time.monotonic() + 10
    while any(_is_there(pid) for pid in workers):
        assert time.monotonic() < ends
        time.sleep(0.1)


def _is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not stat.is_file() or stat.read_text().rpartition(")")[2].split()[0] != "Z"
