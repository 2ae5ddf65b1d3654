"""Ctrl-C: every long call stops within two seconds, and leaves nothing running."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matminer.featurizers.base import MultipleFeaturizer
from places import ROOT
from pymatgen.core import Lattice, Structure

from matminer_unate import CellStats, SiteDescriptorStats, TightBindingStats, UnateFeaturizer
from matminer_unate.regressors.blend import fit_blend
from matminer_unate.transforms import TransformedTarget

LIMIT = 2.0
"""Seconds."""

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").is_file(), reason="needs Linux")


def stops(call: Callable[[], Any], after: float = 0.3) -> None:
    """Press Ctrl-C in a call; the test fails if it goes on, or leaves threads that do.

    Python drops an exception that is raised in the callback of a weak reference or in a
    ``__del__``, and a signal may come just there: then the key is pressed once more, as a user
    would press it.
    """
    pressed: list[float] = []
    threads = n_threads()

    def press() -> None:
        pressed.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    def dropped(unraisable: Any) -> None:
        if unraisable.exc_type is KeyboardInterrupt:
            threading.Timer(0.05, press).start()
        else:
            sys.__unraisablehook__(unraisable)

    timer = threading.Timer(after, press)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "unraisablehook", dropped)
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            call()
    assert pressed, "it was over before"
    assert time.monotonic() - pressed[-1] < LIMIT
    while n_threads() > threads and time.monotonic() - pressed[-1] < LIMIT:
        time.sleep(0.01)
    assert n_threads() <= threads


def n_threads() -> int:
    """Without those that wait for worker processes, which stay for the next call."""
    waiting = ("ExecutorManagerThread", "QueueFeederThread")
    return sum(thread.name not in waiting for thread in threading.enumerate())


class Dropping:
    """Something whose end drops the Ctrl-C that comes meanwhile."""

    def __del__(self) -> None:
        time.sleep(0.6)


def test_a_dropped_interrupt_is_pressed_again() -> None:
    def call() -> None:
        Dropping()
        time.sleep(5.0)

    stops(call)


@pytest.fixture(scope="module")
def many() -> list[Structure]:
    """Crystals enough for some seconds of work, no two of them equal."""
    cells = (Lattice.cubic(4.0 + 1e-4 * k) for k in range(4_000))
    return [Structure(cell, ["Cs", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]) for cell in cells]


FEATURIZERS = {
    "UnateFeaturizer": lambda: UnateFeaturizer(batch_size=500),
    "CellStats": CellStats,
    "SiteDescriptorStats": SiteDescriptorStats,
    "TightBindingStats": TightBindingStats,
}


@pytest.mark.parametrize("name", FEATURIZERS)
def test_featurizing_stops(name: str, many: list[Structure]) -> None:
    featurizer = FEATURIZERS[name]().fit()
    stops(lambda: featurizer.transform(many))


def test_a_featurizer_goes_on_after_it_was_stopped(many: list[Structure]) -> None:
    featurizer = UnateFeaturizer(batch_size=500)
    before = featurizer.transform(many[:40])
    stops(lambda: featurizer.transform(many))
    np.testing.assert_allclose(featurizer.transform(many[:40]), before, atol=1e-5)


def test_an_interrupt_is_no_bad_row_of_matminers_frame(many: list[Structure]) -> None:
    """matminer's own wrapper takes it for one; ours is asked before."""
    both = MultipleFeaturizer([UnateFeaturizer(), SiteDescriptorStats()])
    both.set_n_jobs(1)
    frame = pd.DataFrame({"structure": many})
    stops(lambda: both.featurize_dataframe(frame, "structure", ignore_errors=True, pbar=False))


class NoKernel:
    """Kernel ridge that knows nothing."""

    def __init__(self, n_rows: int) -> None:
        self.n_rows = n_rows

    def predictions(self, also: int | None = None) -> Any:
        return np.zeros((self.n_rows, 1))


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_growing_trees_stops(n_jobs: int) -> None:
    rng = np.random.default_rng(0)
    X, y, weights = rng.random((2_000, 100)), rng.random(2_000), np.ones(2_000)
    folds = np.array_split(np.arange(2_000), 5)
    held_out: Any = NoKernel(2_000)
    target = TransformedTarget.of(y, weights, "identity", -np.inf, "mae")
    stops(lambda: fit_blend(X, held_out, target, folds, n_jobs, 0), after=0.5)


# -- programs --------------------------------------------------------------------------------------


def interrupted(
    command: list[str], begun: Callable[[], bool], by: int = signal.SIGINT
) -> tuple[int, str, float]:
    """Status, what was told, and the CPU seconds from Ctrl-C, once it had begun, to the end."""
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        # A background process of a shell may have been told to ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    while not begun():
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.02)
    before = cpu_seconds(process.pid)
    os.kill(process.pid, by)  # not the processes that it started: it ends them
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    output, _ = process.communicate(timeout=LIMIT)  # returns when nobody holds the pipe
    seconds = used.ru_utime + used.ru_stime - before
    return process.returncode, output.replace("\r", "\n"), seconds


def cpu_seconds(pid: int) -> float:
    """Those that a process has used, which are the same on a busy machine."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory, many: list[Structure]) -> Path:
    """A file of crystals."""
    path = tmp_path_factory.mktemp("many") / "many.parquet"
    pd.DataFrame(
        {
            "lattice": [s.lattice.matrix.ravel() for s in many],
            "frac_coords": [s.frac_coords.ravel() for s in many],
            "species": [np.array(s.atomic_numbers) for s in many],
            "material_id": [f"m{k}" for k in range(len(many))],
            "formula_reduced": "CsCl",
            "spacegroup_number": 221,
        }
    ).to_parquet(path)
    return path


def test_the_command_line_stops_with_one_line(table: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.parquet"
    command = [sys.executable, "-m", "matminer_unate.cli.main", "featurize", str(table)]
    command += ["--out", str(out), "--batch-size", "100"]
    status, output, seconds = interrupted(command, lambda: any(tmp_path.iterdir()))
    assert status == 130
    assert output.rstrip().splitlines()[-1] == "unate: interrupted; nothing was written"
    assert "Traceback" not in output
    assert not any(tmp_path.iterdir())
    assert seconds < LIMIT


def test_pretraining_that_was_stopped_is_saved(table: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    command = [sys.executable, str(ROOT / "training" / "pretrain.py"), "--preset", "smoke"]
    command += ["--data", str(table), "--limit", "40", "--out", str(out), "--epochs", "2000"]
    command += ["--weights.physics", "0", "--part", "all"]
    status, output, seconds = interrupted(command, (out / "log.csv").is_file)
    assert status == 130
    assert "go on with the same command and --resume" in output
    assert "Traceback" not in output
    assert (out / "checkpoint.safetensors").is_file()
    assert seconds < LIMIT


GRID = """
import sys, time
from pathlib import Path
sys.path.insert(0, {training!r})
from harness.command import run_script
from harness.jobs import run_jobs

def wait(k):
    Path({folder!r}, str(k)).touch()
    time.sleep(600)

def main():
    for _, job in run_jobs(wait, [(k,) for k in range(9)], 2, fresh={fresh}):
        job.result()

if __name__ == "__main__":
    run_script(main)
"""


@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_the_processes_of_a_grid_end_with_it(
    fresh: bool, by: signal.Signals, tmp_path: Path
) -> None:
    folder = tmp_path / "begun"
    folder.mkdir()
    script = tmp_path / "grid.py"
    values = {"training": str(ROOT / "training"), "folder": str(folder), "fresh": fresh}
    script.write_text(GRID.format(**values))
    status, output, seconds = interrupted(
        [sys.executable, str(script)], lambda: len(list(folder.iterdir())) == 2, by
    )
    # That the output has ended means that none of the processes is left.
    if by == signal.SIGINT:
        assert (status, output.strip()) == (130, "stopped")
    else:
        assert status == -by
    assert len(list(folder.iterdir())) == 2
    assert seconds < LIMIT
