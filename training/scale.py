"""Does a long table get finished: how fast, in how much memory, and killed on the way?

    python training/scale.py --data mp_structures.parquet --rows 100000 --out results/scale.csv

``unate featurize`` turns the same rows into columns in processes of its own, several times: in one
go; killed with SIGKILL at random, as often as ``--kills`` says, and resumed; in shards that are
merged; and on Dask, with one and with several single-threaded workers, and with one of these
killed, of which the scheduler's own record is kept. All tables must be equal to the first, value by
value, or the script ends with an error.

Memory, of the command and not of Dask's workers, is looked at twice a second; where it is constant,
the largest after the first minute is that of the first minute. The time of Dask is that of the
command, with workers that are there but have not computed yet.
"""

from __future__ import annotations

import importlib
import itertools
import os
import random
import resource
import signal
import subprocess
import sys
import time
from argparse import Namespace
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from harness.command import run_script, script_parser
from harness.memory import memory_mb
from harness.result_tables import write_table
from matminer_unate.errors import InputError

TICK = 0.5
"""Seconds between two looks at the memory."""

FIRST = 60.0
"""Seconds in which memory may still grow."""


def main() -> None:
    args = parse_arguments()
    with TemporaryDirectory(dir=args.scratch) as scratch:
        table = Path(scratch) / "rows.parquet"
        write_rows(args.data, args.rows, table)
        rows = []
        for name in args.ways:
            way = WAYS[name]
            out = Path(scratch) / f"{name}.parquet"
            rows.append({"way": name, "rows": args.rows, **way(args, table, out)})
            rows[-1]["equal"] = is_equal(out, Path(scratch) / f"{args.ways[0]}.parquet")
            print(rows[-1], flush=True)
    results = pd.DataFrame(rows).round(3)
    note = (
        f"columns {' '.join(args.columns)}, seed {args.seed}, {len(os.sched_getaffinity(0))} cores"
    )
    write_table(results, args.out, note)
    if not results["equal"].all():
        raise InputError("a table differs from that of the run in one go; see the column equal")


def parse_arguments() -> Namespace:
    parser = script_parser(__doc__)
    parser.add_argument("--data", required=True, help="parquet file of structures")
    parser.add_argument("--rows", type=int, default=20_000, help="from its beginning [20000]")
    parser.add_argument(
        "--columns", nargs="+", default=["unate"], help="as unate featurize [unate]"
    )
    parser.add_argument("--kills", type=int, default=2, help="[2]")
    parser.add_argument("--shards", type=int, default=3, help="[3]")
    parser.add_argument("--workers", type=int, default=2, help="of Dask [2]")
    names = ", ".join(WAYS)
    parser.add_argument("--ways", nargs="+", default=[*WAYS], choices=WAYS, help=f"[{names}]")
    parser.add_argument("--seed", type=int, default=0, help="of the times of the kills [0]")
    parser.add_argument("--scratch", help="folder for tables while they are compared")
    parser.add_argument("--out", default="scale.csv")
    return parser.parse_args()


def write_rows(data: str, n_rows: int, path: Path) -> None:
    """The first rows of a table, in row groups of 10,000."""
    with pq.ParquetFile(data) as file:
        if file.metadata.num_rows < n_rows:
            raise InputError(f"{data} has {file.metadata.num_rows:,} rows; ask for fewer")
        with pq.ParquetWriter(path, file.schema_arrow) as writer:
            for batch in file.iter_batches(10_000):
                writer.write_table(pa.table(batch.slice(0, n_rows)))
                n_rows -= min(n_rows, batch.num_rows)
                if not n_rows:
                    break


@dataclass
class Watched:
    """What came of one process.

    Attributes
    ----------
    killed : bool
    seconds, cpu_seconds : float
    peak_mb, peak_first_mb, peak_later_mb : float
        Largest memory: of all, of the first minute, and after it (NaN if it was over by then).
    """

    killed: bool
    seconds: float
    cpu_seconds: float
    peak_mb: float
    peak_first_mb: float
    peak_later_mb: float


def watch(command: list[str], end: Callable[[], bool] = lambda: False) -> Watched:
    """Run a command, and kill it as soon as ``end`` says so.

    Raises
    ------
    InputError
        It fails.
    """
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    memory: list[tuple[float, float]] = []
    killed = False
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            memory.append((time.perf_counter() - started, memory_mb(process=process.pid)))
            if end():
                process.send_signal(signal.SIGKILL)
                killed = True
                break
            time.sleep(TICK)
        code = process.wait()
    if code not in (0, 1) and not killed:
        raise InputError(f"{' '.join(command)} ended with {code}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    first = [mb for at, mb in memory if at <= FIRST]
    later = [mb for at, mb in memory if at > FIRST]
    return Watched(
        killed,
        time.perf_counter() - started,
        after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        max(first + later),
        max(first),
        max(later, default=float("nan")),
    )


def unate(args: Namespace, table: Path, out: Path, *more: str) -> list[str]:
    command = [sys.executable, "-m", "matminer_unate", "featurize", str(table), "--out", str(out)]
    return [*command, "--columns", *args.columns, "--quiet", *more]


def in_one_go(args: Namespace, table: Path, out: Path) -> dict[str, Any]:
    return figures(args, [watch(unate(args, table, out))])


def killed(args: Namespace, table: Path, out: Path) -> dict[str, Any]:
    """Killed when a random part is finished, and a random time after."""
    choose = random.Random(args.seed)
    n_parts = -(-args.rows // 2_000)
    after = sorted(choose.sample(range(1, n_parts), min(args.kills, n_parts - 1)))
    manifest = Path(f"{out}.parts") / "_manifest-1-of-1.jsonl"
    runs = []
    for parts in after:
        wait = [choose.uniform(0, 2)]

        def is_time(parts: int = parts, wait: list[float] = wait) -> bool:
            if manifest.exists() and manifest.read_bytes().count(b"\n") > parts:
                wait[0] -= TICK
            return wait[0] < 0

        runs.append(watch(unate(args, table, out), is_time))
    runs.append(watch(unate(args, table, out, "--resume")))
    return {**figures(args, runs), "kills": sum(run.killed for run in runs)}


def in_shards(args: Namespace, table: Path, out: Path) -> dict[str, Any]:
    runs = [
        watch(unate(args, table, out, "--shard", f"{k}/{args.shards}"))
        for k in range(1, args.shards + 1)
    ]
    merge = [sys.executable, "-m", "matminer_unate", "merge", "--out", str(out), "--quiet"]
    return {**figures(args, [*runs, watch(merge)]), "shards": args.shards}


def on_one_worker(args: Namespace, table: Path, out: Path) -> dict[str, Any]:
    return on_dask(args, table, out, 1)


def on_workers(args: Namespace, table: Path, out: Path) -> dict[str, Any]:
    return on_dask(args, table, out, args.workers)


def with_a_killed_worker(args: Namespace, table: Path, out: Path) -> dict[str, Any]:
    return on_dask(args, table, out, args.workers, kills=1)


def on_dask(
    args: Namespace, table: Path, out: Path, n_workers: int, kills: int = 0
) -> dict[str, Any]:
    """On a cluster of workers with one thread each; one is killed once a third is done."""
    distributed = importlib.import_module("distributed")
    manifest = Path(f"{out}.parts") / "_manifest-1-of-1.jsonl"
    third = -(-args.rows // 2_000) // 3
    with (
        distributed.LocalCluster(
            n_workers=n_workers, threads_per_worker=1, dashboard_address=":0"
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        pids = list(client.run(os.getpid).values())[:kills]

        def kill() -> bool:
            if pids and manifest.exists() and manifest.read_bytes().count(b"\n") > third:
                os.kill(pids.pop(), signal.SIGKILL)
            return False

        with distributed.get_task_stream(client) as stream:
            found = watch(unate(args, table, out, "--dask", cluster.scheduler_address), kill)
    gaps = gaps_between_tasks(stream.data)
    return {
        **figures(args, [found]),
        "workers": n_workers,
        "kills": kills - len(pids),
        "longest_gap_s": max(gaps, default=0.0),
        "median_gap_s": float(pd.Series(gaps).median()),
    }


def gaps_between_tasks(records: Iterable[dict[str, Any]]) -> list[float]:
    """Seconds that a worker does nothing between two of its tasks; all workers', in turn."""
    by_worker: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for record in records:
        for step in record["startstops"]:
            if step["action"] == "compute":
                by_worker[record["worker"]].append((step["start"], step["stop"]))
    gaps = []
    for spans in by_worker.values():
        spans.sort()
        gaps += [max(b[0] - a[1], 0.0) for a, b in itertools.pairwise(spans)]
    return gaps


def figures(args: Namespace, runs: list[Watched]) -> dict[str, Any]:
    seconds = sum(run.seconds for run in runs)
    return {
        "seconds": seconds,
        "rows_per_s": args.rows / seconds,
        "cpu_seconds": sum(run.cpu_seconds for run in runs),
        "peak_mb": max(run.peak_mb for run in runs),
        "peak_first_minute_mb": max(run.peak_first_mb for run in runs),
        "peak_later_mb": pd.Series([run.peak_later_mb for run in runs]).max(),
    }


WAYS: dict[str, Callable[[Namespace, Path, Path], dict[str, Any]]] = {
    "in one go": in_one_go,
    "killed and resumed": killed,
    "in shards": in_shards,
    "Dask, one worker": on_one_worker,
    "Dask": on_workers,
    "Dask, a worker killed": with_a_killed_worker,
}


def is_equal(one: Path, other: Path) -> bool:
    """Whether two tables have the same rows in the same order, to the last bit."""
    with pq.ParquetFile(one) as a, pq.ParquetFile(other) as b:
        if a.schema_arrow != b.schema_arrow or a.metadata.num_rows != b.metadata.num_rows:
            return False
        batches = zip(a.iter_batches(1_000), b.iter_batches(1_000), strict=True)
        return all(x.equals(y) for x, y in batches)


if __name__ == "__main__":
    run_script(main)
