"""Dask: rows as the plain command gives them, workers that die, schedulers that are not there."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dying_workers
import pandas as pd
import pytest
from real_crystals import crystals

from matminer_unate.cli import main as cli
from matminer_unate.cli.arguments import make_parser
from matminer_unate.engine import cluster

distributed = pytest.importorskip("distributed")

NAMED = crystals()
N_ROWS = 60

Run = Callable[..., int]


@pytest.fixture
def cifs(tmp_path: Path) -> Path:
    """Sixty rows, one of them bad."""
    texts = [s.to(fmt="cif") for s in NAMED.values()]
    cells = ["" if n == 31 else texts[n % len(texts)] for n in range(N_ROWS)]
    pd.DataFrame({"cif": cells, "n": range(N_ROWS)}).to_parquet(tmp_path / "rows.parquet")
    pd.DataFrame({"cif": cells, "n": range(N_ROWS)}).to_csv(tmp_path / "rows.csv", index=False)
    return tmp_path


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A cluster of two single-threaded workers."""
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=":0"
    ) as found:
        yield found.scheduler_address


@pytest.fixture
def run(tiny_weights: Path) -> Run:
    def call(*args: Any) -> int:
        own = ["--weights", tiny_weights, "--device", "cpu", "--part-rows", "7"]
        return cli.main(["featurize", *map(str, args), *map(str, own)])

    return call


@pytest.mark.slow
@pytest.mark.parametrize("name", ["rows.parquet", "rows.csv"])
def test_workers_write_what_the_plain_command_does(
    name: str, run: Run, cifs: Path, address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    outs = [cifs / "plain.parquet", cifs / "dask.parquet"]
    lists = [cifs / "plain_errors.csv", cifs / "dask_errors.csv"]
    assert run(cifs / name, "--out", outs[0], "--errors", lists[0]) == cli.SOME_FAILED
    code = run(cifs / name, "--out", outs[1], "--errors", lists[1], "--dask", address)
    assert code == cli.SOME_FAILED, capsys.readouterr().err
    assert outs[0].read_bytes() == outs[1].read_bytes()
    assert lists[0].read_bytes() == lists[1].read_bytes()
    assert "1 of 60 rows failed" in capsys.readouterr().err


@pytest.mark.slow
def test_a_run_begun_on_a_cluster_is_finished_without_one(
    run: Run, cifs: Path, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(cifs / "rows.parquet", "--out", cifs / "whole.parquet") == cli.SOME_FAILED
    out = cifs / "out.parquet"
    parts, n_parts = cluster.cluster_parts, 3

    def stopped(*args: Any) -> Iterator[Any]:
        for n, part in enumerate(parts(*args)):
            if n == n_parts:
                raise KeyboardInterrupt
            yield part

    monkeypatch.setattr("matminer_unate.engine.running.cluster_parts", stopped)
    assert run(cifs / "rows.parquet", "--out", out, "--dask", address) == cli.INTERRUPTED
    assert run(cifs / "rows.parquet", "--out", out, "--resume") == cli.SOME_FAILED
    assert out.read_bytes() == (cifs / "whole.parquet").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("times", ["once", "always"])
def test_a_worker_that_dies_costs_its_own_parts_only(
    times: str,
    run: Run,
    cifs: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(cifs / "rows.parquet", "--out", cifs / "whole.parquet") == cli.SOME_FAILED
    mark, out = cifs / "mark", cifs / "out.parquet"
    monkeypatch.setenv(dying_workers.MARK, str(mark))
    monkeypatch.setenv(dying_workers.TIMES, times)
    monkeypatch.setattr("matminer_unate.cli.commands.FeaturizeOptions", dying_workers.DyingOptions)
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=":0"
    ) as found:
        code = run(cifs / "rows.parquet", "--out", out, "--dask", found.scheduler_address)
    monkeypatch.undo()
    assert mark.exists()
    if times == "once":
        assert code == cli.SOME_FAILED
    else:
        assert code == cli.UNUSABLE
        err = capsys.readouterr().err
        assert "the workers died with 1 part(s) again and again, the first of rows 14 to 20" in err
        assert run(cifs / "rows.parquet", "--out", out, "--resume") == cli.SOME_FAILED
        assert "going on with" in capsys.readouterr().err
    assert out.read_bytes() == (cifs / "whole.parquet").read_bytes()


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def test_a_scheduler_that_is_not_there_is_an_error_with_its_address(
    run: Run, cifs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cluster.CONNECT_SECONDS < 30
    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 1)
    address = f"tcp://127.0.0.1:{free_port()}"
    started = time.perf_counter()
    code = run(cifs / "rows.parquet", "--out", cifs / "out.parquet", "--dask", address)
    assert code == cli.UNUSABLE
    assert time.perf_counter() - started < 15
    assert f"no Dask scheduler answers at {address}" in capsys.readouterr().err
    assert not (cifs / "out.parquet.parts").exists()


@pytest.mark.slow
def test_a_scheduler_without_workers_is_an_error_with_its_address(
    run: Run, cifs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 2)
    with distributed.LocalCluster(n_workers=0, dashboard_address=":0") as found:
        address = found.scheduler_address
        code = run(cifs / "rows.parquet", "--out", cifs / "out.parquet", "--dask", address)
    assert code == cli.UNUSABLE
    assert f"the Dask scheduler at {address} has no workers" in capsys.readouterr().err


def test_an_input_after_the_option_is_not_taken_for_an_address(
    run: Run, cifs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        run("--out", cifs / "out.parquet", "--dask", cifs / "rows.parquet", cifs / "rows.csv")
    assert "name the inputs before --dask" in capsys.readouterr().err


def test_without_an_address_the_workers_are_on_this_machine() -> None:
    command = ["featurize", "crystals.parquet", "--out", "features.parquet", "--dask"]
    assert make_parser().parse_args(command).dask == ""
    assert make_parser().parse_args([*command, "tcp://host:8786"]).dask == "tcp://host:8786"
    assert make_parser().parse_args(command[:-1]).dask is None


def test_inputs_that_workers_elsewhere_would_not_find_are_refused(
    run: Run, cifs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(cifs)
    code = run("rows.parquet", "--out", "out.parquet", "--dask", "tcp://127.0.0.1:1")
    assert code == cli.UNUSABLE
    assert "give whole paths" in capsys.readouterr().err
