"""Train the members of a fine-tuned model at the same time; stop all of them at once."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from matminer_unate.finetuning.checkpoints import TrainingFiles
from matminer_unate.finetuning.fitting import (
    DivergedError,
    Judge,
    StoppedError,
    fit_network,
    predict,
)
from matminer_unate.finetuning.networks import Crystals, PropertyEncoder
from matminer_unate.finetuning.settings import FitReport, FitSettings
from matminer_unate.finetuning.splits import Splits
from matminer_unate.network.devices import count_workers
from matminer_unate.network.initialisation import DrawFrom
from matminer_unate.network.weights import load_encoder
from matminer_unate.processes import single_threaded_workers
from matminer_unate.transforms import Scoring

Result = TypeVar("Result")

Check = Callable[[], None]
"""Raises StoppedError when it is time to stop."""

LOOK = 0.3
"""Seconds between two looks at how far the members are."""


@dataclass
class Member:
    """A network to be trained.

    Attributes
    ----------
    network : PropertyEncoder
    rows, held_out : int64 arrays
    seed : int
    """

    network: PropertyEncoder
    rows: NDArray[np.int64]
    held_out: NDArray[np.int64]
    seed: int


def new_members(
    weights: str | Path,
    dropout: float,
    splits: Splits,
    seeds: Sequence[int],
    columns: NDArray[np.float32] | None,
    n_targets: int,
) -> list[Member]:
    """Pretrained networks with new heads.

    Parameters
    ----------
    weights, dropout
        As for ``UnateFineTuneRegressor``.
    splits : sequence of (training rows, held-out rows)
    seeds : sequence of int
        For the first weights of every head, then for the training of every network.
    columns : (n_crystals, c), optional
        Given columns of the crystals, NaN where there are none.
    n_targets : int
    """
    members, n_given = [], 0 if columns is None else columns.shape[1]
    for k, (rows, held_out) in enumerate(splits):
        encoder, config = load_encoder(weights)
        with DrawFrom(torch.Generator().manual_seed(seeds[k])):
            network = PropertyEncoder(
                encoder, config.is_known, dropout, n_given, n_targets=n_targets
            )
        if columns is not None:
            network.set_columns(columns[rows])
        members.append(Member(network, rows, held_out, seeds[len(splits) + k]))
    return members


def train_members(
    members: Sequence[Member],
    crystals: Crystals,
    y: NDArray[np.float64],
    weight: NDArray[np.float64] | None,
    settings: FitSettings,
    device: torch.device,
    show: Callable[[float, str], Any],
    unit: float = math.nan,
    judge: Judge | None = None,
    checkpoints: TrainingFiles | None = None,
) -> tuple[list[tuple[PropertyEncoder, FitReport]], KeyboardInterrupt | None]:
    """Train networks, as many at the same time as torch may use cores.

    Parameters
    ----------
    members : sequence of Member
    crystals, y, weight, settings, device, judge
        As for :func:`~matminer_unate.finetuning.fitting.fit_network`.
    show : callable
        Told the epochs of a member, on average over them, and what there is to say.
    unit : float
        Held-out errors are said in it; not if it is NaN.
    checkpoints : TrainingFiles, optional
        In which trainings are kept; those that are there go on. One that diverges takes those of
        its fit with it.

    Returns
    -------
    list of (network, report)
        Of the members that have weights to keep: all, unless it was interrupted.
    KeyboardInterrupt or None
        What interrupted the training.
    """
    reports = [FitReport() for _ in members]
    files: list[Path | None] = [None] * len(members)
    if checkpoints is not None:
        files = [checkpoints.file(m.network, m.rows, m.held_out, m.seed) for m in members]

    def task(k: int) -> Callable[[Check], tuple[PropertyEncoder, FitReport]]:
        def tell(report: FitReport) -> None:
            reports[k] = report

        def train(check: Check) -> tuple[PropertyEncoder, FitReport]:
            m = members[k]
            network, report = fit_network(
                m.network, crystals, y, m.rows, m.held_out, settings, m.seed, device, tell,
                weight, check, judge, files[k],
            )  # fmt: skip
            if not report.stopped:  # what patience saved is done too
                reports[k] = replace(report, epochs=settings.epochs)
            return network, report

        return train

    def look() -> None:
        said = _say(reports, settings.scoring, unit)
        show(float(np.mean([report.epochs for report in reports])), said)

    # One core each is several times faster than several cores for one: see encoding.
    n_workers = min(len(members), count_workers(device))
    try:
        found, interrupt = run_tasks([task(k) for k in range(len(members))], n_workers, look)
    except DivergedError:
        if checkpoints is not None:
            checkpoints.checkpoints.remove()
        raise
    return [result for result in found if result is not None], interrupt


def predict_with(
    networks: Sequence[PropertyEncoder],
    crystals: Crystals,
    device: torch.device,
    progress: Callable[[float], Any],
) -> Iterator[NDArray[np.float64]]:
    """Standardised predictions of each network in turn, (n_crystals, n_targets)."""
    for network in networks:

        def task(check: Check, network: PropertyEncoder = network) -> NDArray[np.float64]:
            def tell(n: int) -> None:
                progress(n / len(networks))

            # A copy, as another thread may predict with the same network.
            own = network if device.type == "cpu" else copy.deepcopy(network).to(device)
            rows = np.arange(len(crystals))
            return predict(own, crystals, rows, device, progress=tell, check=check)

        (found,), interrupt = run_tasks([task], 1)
        if interrupt is not None or found is None:
            raise interrupt or KeyboardInterrupt
        yield found.reshape(len(crystals), -1)


def run_tasks(
    tasks: Sequence[Callable[[Check], Result]],
    n_workers: int,
    look: Callable[[], Any] = lambda: None,
) -> tuple[list[Result | None], KeyboardInterrupt | None]:
    """Run tasks in threads until all are done, one fails, or Ctrl-C is pressed.

    Parameters
    ----------
    tasks : sequence of callables
        Each is given what it has to call often: it raises StoppedError when all are to stop.
    n_workers : int
    look : callable
        Called now and then, and at the end.

    Returns
    -------
    list
        What the tasks returned; None for one that was stopped.
    KeyboardInterrupt or None
    """
    stop = Event()

    def check() -> None:
        if stop.is_set():
            raise StoppedError

    interrupt = None
    with single_threaded_workers(n_workers) as workers:
        futures: list[Future[Result]] = []
        try:
            futures += [workers.submit(task, check) for task in tasks]
            pending = set(futures)
            while pending:
                done, pending = wait(futures, LOOK, FIRST_EXCEPTION)
                for future in done:
                    future.result()
                look()
        except BaseException as e:
            _stop(stop, futures)
            if not isinstance(e, KeyboardInterrupt):
                raise
            interrupt = e
    return [None if f.cancelled() or f.exception() else f.result() for f in futures], interrupt


def _stop(stop: Event, futures: Sequence[Future[Any]]) -> None:
    """Stop all threads and wait for them, whatever keys are pressed meanwhile.

    A thread that went on would still compute while the interpreter is taken down.
    """
    while True:
        try:
            stop.set()
            for future in futures:
                future.cancel()
            wait(futures)
            return
        except KeyboardInterrupt:
            continue


def _say(reports: Sequence[FitReport], scoring: Scoring, unit: float) -> str:
    """The last look at the held-out rows, once there was one."""
    last = [report.history[-1][2] for report in reports if report.history]
    errors = [error for error in last if math.isfinite(error * unit)]
    return f"held-out {scoring.upper()} {np.mean(errors) * unit:.3g}" if errors else ""
