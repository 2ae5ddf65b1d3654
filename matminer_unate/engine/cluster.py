"""Parts computed by the workers of Dask: on the cores of this machine, or on a cluster.

Each task is a block of rows. A worker writes the part to the folder, which it must see as this
process does, and sends back the line of the manifest. Where a worker dies, its tasks are computed
by another one.
"""

from __future__ import annotations

import importlib
from asyncio import CancelledError
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from threading import Lock
from typing import Any

import pyarrow as pa

from matminer_unate.engine.blocks import Blocks, Content, parsed, whole
from matminer_unate.engine.computing import Computing, Options
from matminer_unate.engine.identity import differences
from matminer_unate.engine.parts import Part, write_part
from matminer_unate.errors import InputError
from matminer_unate.io.input_rows import Source
from matminer_unate.processes import keep_freed_memory

CONNECT_SECONDS = 20
"""To wait for a scheduler, and then for its first worker."""

RETRIES = 2
"""Of a part, where something goes wrong that has nothing to do with its rows."""


@dataclass(frozen=True)
class Plan:
    """What all tasks of a run have in common.

    Attributes
    ----------
    options : Options
    made_by : dict
        What the worker must find as well.
    schema : pyarrow.Schema
    folder : str
        Of the parts.
    parsers : tuple of callable
        ``parse`` of each source.
    """

    options: Options
    made_by: dict[str, Any]
    schema: pa.Schema
    folder: str
    parsers: tuple[Callable[..., Any], ...]


@dataclass(frozen=True)
class Task:
    """One block.

    Attributes
    ----------
    block : int
    items : range
    contents : list of Content
        What is to be parsed.
    fetched_there : list of (int, Source, range)
        Number of a source, the source, and which items the worker reads of it itself.
    """

    block: int
    items: range
    contents: list[Content]
    fetched_there: list[tuple[int, Source, range]]


def cluster_parts(
    plan: Plan,
    blocks: Blocks,
    wanted: Sequence[int],
    address: str,
    say: Callable[[str], Any],
    tell: Callable[[int], Any],
) -> Iterator[Part]:
    """Compute blocks, and give their parts as they are finished.

    Parameters
    ----------
    plan : Plan
    blocks : Blocks
    wanted : sequence of int
    address : str
        Of a scheduler; empty for a worker on each core of this machine.
    say : callable
        Is told lines for people.
    tell : callable
        Is told the number of rows that were just finished.

    Raises
    ------
    InputError
        The scheduler does not answer or has no workers, a worker has another version or other
        weights, or workers died with a block again and again; all other blocks are finished then.
    """
    distributed = _distributed()
    # What a database has is fetched here, and goes to the workers with their tasks.
    relative = [
        source.path
        for source in blocks.sources
        if source.files and not Path(source.path).is_absolute()
    ]
    if address and relative:
        raise InputError(
            f"{relative[0]} is found from this folder only; give whole paths, which workers "
            "elsewhere find too"
        )
    with connected(address, say) as client:
        tasks = iter(_tasks(blocks, wanted))
        pending: Any = distributed.as_completed()
        task_of: dict[str, Task] = {}

        def submit(task: Task) -> Any:
            return client.submit(compute_task, plan, task, retries=RETRIES, pure=False)

        def submit_next() -> None:
            task = next(tasks, None)
            if task is not None:
                future = submit(task)
                task_of[future.key] = task
                pending.add(future)

        def part_of(future: Any) -> Part | None:
            """What came of a task; None where workers died with it."""
            try:
                part: Part = future.result()
            except distributed.KilledWorker:
                return None
            except CancelledError as e:
                raise InputError(
                    f"the Dask scheduler{f' at {address}' if address else ''} is gone; start it "
                    "again, and the same command goes on"
                ) from e
            tell(part.n_rows)
            return part

        suspects, lost = list[Task](), list[int]()
        for _ in range(2 * sum(client.nthreads().values())):
            submit_next()
        for future in pending:
            task, part = task_of.pop(future.key), part_of(future)
            if part is None:
                suspects.append(task)
            else:
                yield part
            submit_next()
        # Dask suspects all tasks that a worker had when it died, those that waited there too; one
        # after the other, each can only answer for itself.
        for task in suspects:
            part = part_of(submit(task))
            if part is None:
                lost.append(task.block)
            else:
                yield part
    if lost:
        items = blocks.items_of(min(lost))
        raise InputError(
            f"the workers died with {len(lost)} part(s) again and again, the first of rows "
            f"{items.start:,} to {items.stop - 1:,} of the input; most likely their memory is too "
            "small: give them more, or a smaller --max-sites, and the same command goes on"
        )


def compute_task(plan: Plan, task: Task) -> Part:
    """One block, on a worker."""
    # What a worker warns of is caught, which threads of one process cannot do at a time.
    if not Path(plan.folder).is_dir():
        raise InputError(f"a worker sees no folder {plan.folder}; all need the same disk")
    keep_freed_memory()
    with _one_at_a_time:
        computing = _loaded(plan.options)
        found = differences(_fixed(plan.made_by), _fixed(computing.made_by))
        if found:
            raise InputError(f"a worker has something else than this machine: {'; '.join(found)}")
        names = ", ".join(str(source.path) for _, source, _ in task.fetched_there)
        contents = whole(_contents(task), task.items, names or "the input")
        rows = parsed(plan.parsers, contents)
        return write_part(Path(plan.folder), task.block, task.items, rows, computing, plan.schema)


_one_at_a_time = Lock()


@lru_cache(maxsize=2)
def _loaded(options: Options) -> Computing:
    return options.load()


def _fixed(made_by: dict[str, Any]) -> dict[str, Any]:
    # Workers may have a GPU where this machine has none.
    return {key: value for key, value in made_by.items() if key != "device"}


def _contents(task: Task) -> Iterator[Content]:
    for k, source, items in task.fetched_there:
        for number, content in source.fetch([items]):
            yield k, number, content
    yield from task.contents


def _tasks(blocks: Blocks, wanted: Sequence[int]) -> Iterator[Task]:
    if all(source.by_range for source in blocks.sources):
        for block in wanted:
            pieces = [(k, blocks.sources[k], items) for k, items in blocks.pieces(block)]
            yield Task(block, blocks.items_of(block), [], pieces)
        return
    for block, contents in blocks.contents(wanted):
        yield Task(block, blocks.items_of(block), list(contents), [])


# -- schedulers -----------------------------------------------------------------------------------


@contextmanager
def connected(address: str, say: Callable[[str], Any] = lambda text: None) -> Iterator[Any]:
    """A client of the scheduler at an address, or of one on this machine.

    Raises
    ------
    InputError
        Nothing answers there within :data:`CONNECT_SECONDS`, or it has no workers.
    """
    distributed, dask = _distributed(), importlib.import_module("dask")
    # Blocks of text go to the workers with their tasks, so that these can be done again elsewhere.
    with dask.config.set({"distributed.admin.large-graph-warning-threshold": "1GB"}):
        if not address:
            with (
                distributed.LocalCluster(
                    n_workers=_n_cores(), threads_per_worker=1, dashboard_address="127.0.0.1:0"
                ) as cluster,
                distributed.Client(cluster) as client,
            ):
                say(f"{_n_cores()} workers; dashboard: {client.dashboard_link}")
                yield client
            return
        try:
            client = distributed.Client(address, timeout=CONNECT_SECONDS)
        except (OSError, TimeoutError, ValueError) as e:
            raise InputError(
                f"no Dask scheduler answers at {address} ({e}); start one with: dask scheduler"
            ) from e
        with client:
            try:
                client.wait_for_workers(1, timeout=CONNECT_SECONDS)
            except (TimeoutError, distributed.TimeoutError) as e:
                raise InputError(
                    f"the Dask scheduler at {address} has no workers; start some with: dask worker "
                    f"{address} --nthreads 1 --nworkers auto"
                ) from e
            _check_workers(client, address)
            yield client


def _check_workers(client: Any, address: str) -> None:
    """Tasks that a worker cannot even read would end it without a word."""

    def version_there() -> str:
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version("matminer_unate")
        except PackageNotFoundError:
            return "none"

    own = version("matminer_unate")
    for worker, found in client.run(version_there).items():
        if found != own:
            raise InputError(
                f"the worker {worker} of the Dask scheduler at {address} has matminer_unate "
                f"{found}, this machine {own}; install the same"
            )


def _n_cores() -> int:
    return int(importlib.import_module("dask.system").CPU_COUNT)


def _distributed() -> Any:
    try:
        return importlib.import_module("distributed")
    except ImportError as e:
        raise ImportError(f'this needs Dask ({e}): pip install "matminer_unate[dask]"') from e
