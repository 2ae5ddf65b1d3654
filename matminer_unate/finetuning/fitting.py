"""Train a network on labelled crystals: the loop, its loss, and predictions.

CartNet's protocol (arXiv:2501.18369) with what small data sets ask for: L1 loss (L2 where squared
errors are to be small), a one-cycle learning rate, a moving average of the weights, and the weights
of the best epoch on held-out rows.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, Generic, Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from matminer_unate.errors import InputError
from matminer_unate.finetuning.checkpoints import report_facts, report_of
from matminer_unate.finetuning.networks import CrystalBatch, Crystals, Dropout, PropertyNetwork
from matminer_unate.finetuning.settings import FitReport, FitSettings
from matminer_unate.network.checkpoints import Checkpoint, write_checkpoint
from matminer_unate.network.optimisation import is_decayed, one_cycle, update_average
from matminer_unate.transforms import Scoring, mean_errors

Index = NDArray[np.int64]

Network = TypeVar("Network", bound=PropertyNetwork)

Judge = Callable[[NDArray[np.float64], Index], NDArray[np.float64]]
"""Predictions of rows, and which rows → errors of the targets, (n_targets,)."""

PREDICT_EDGES = 32_000
"""Edges of a batch in prediction."""

CHECKPOINT_SECONDS = 300.0
"""Between two checkpoints of a training."""

DIVERGED = 100.0
"""Training error over that of the median from which on nothing can be learned any more."""


class StoppedError(Exception):
    """Training or predicting was stopped from outside."""


class DivergedError(InputError):
    """A training led nowhere: what happened, and what may help."""

    @classmethod
    def of(cls, problem: str, settings: FitSettings) -> Self:
        return cls(
            problem, f"lower the learning rate (learning_rate is {settings.learning_rate:g})"
        )

    def __str__(self) -> str:
        return "; ".join(self.args)


def fit_network(
    network: Network,
    crystals: Crystals,
    y: NDArray[np.float64],
    train: Index,
    held_out: Index,
    settings: FitSettings,
    seed: int,
    device: torch.device,
    progress: Callable[[FitReport], Any] = lambda report: None,
    weight: NDArray[np.float64] | None = None,
    check: Callable[[], Any] = lambda: None,
    judge: Judge | None = None,
    checkpoint: Path | None = None,
) -> tuple[Network, FitReport]:
    """Train a network.

    Parameters
    ----------
    network : PropertyNetwork
        Is trained in place.
    crystals : Crystals
    y : (n_crystals,) or (n_crystals, n_targets)
        Targets.
    train, held_out : int64 arrays
        Rows to learn from, and rows that choose the epoch; of none, the last epoch is kept.
    settings : FitSettings
    seed : int
        Of the order of the batches, dropout and noise; torch's own random state is not used.
    device : torch.device
    progress : callable
        Told after each step how it goes.
    weight : array of the shape of y, optional
        Of each target in the loss and in the held-out error, about 1; what has 0 is not read.
    check : callable
        Called at each step; may raise StoppedError. The best weights so far are then kept.
    judge : callable, optional
        What predictions of held-out rows are worth; by default their error as ``settings.scoring``
        says. The mean over the targets chooses the epoch.
    checkpoint : Path, optional
        File in which the training is kept every few minutes and at its end. Where it is there, the
        training goes on from it, and ends as if it had never been stopped.

    Returns
    -------
    PropertyNetwork
        The weights to keep, in evaluation mode.
    FitReport

    Raises
    ------
    InputError
        There are fewer than two training rows, or the checkpoint is damaged or of another training.
    DivergedError
        The training diverges.
    StoppedError
        Before there were any weights to keep.
    """
    if len(train) < 2:
        raise InputError(f"training needs at least two rows with a target, got {len(train)}")
    network.to(device)
    if settings.standardise:
        network.set_scale(y[train])
    training = _Training(network, crystals, y, weight, held_out, settings, device, check, judge)
    try:
        training.run(train, seed, progress, checkpoint)
        training.recalibrate(train, seed)
    except StoppedError:
        training.keep_best_so_far()
    if not all(bool(value.isfinite().all()) for value in training.kept.state_dict().values()):
        raise DivergedError.of("the weights are not finite", settings)
    training.report.seconds, training.report.earlier_seconds = training.seconds(), training.earlier
    return training.kept.eval(), training.report


class _Training(Generic[Network]):
    """The loop of :func:`fit_network` and what it has so far."""

    def __init__(
        self,
        network: Network,
        crystals: Crystals,
        y: NDArray[np.float64],
        weight: NDArray[np.float64] | None,
        held_out: Index,
        settings: FitSettings,
        device: torch.device,
        check: Callable[[], Any],
        judge: Judge | None,
    ) -> None:
        self.clock = time.thread_time if device.type == "cpu" else time.perf_counter
        self.started, self.earlier = self.clock(), 0.0
        self.judge = judge or self._errors
        self.network, self.crystals, self.settings = network, crystals, settings
        self.y, self.weight, self.held_out = y, weight, held_out
        self.device, self.check, self.check_within = device, check, check
        self.average = copy.deepcopy(network).eval()
        self.kept, self.report = self.average, FitReport()
        self.early: tuple[Network, FitReport] | None = None
        """The best weights from before any are to be kept, should the training be stopped."""
        self.optimizer = torch.optim.AdamW(
            parameter_groups(network, settings),
            lr=settings.learning_rate,
            fused=device.type == "cuda",
        )
        self.generator = torch.Generator(device)
        self.steps, self.worse, self.losses = 0, 0, list[float]()
        self.targets, self.weights = self._tensors()

    def seconds(self) -> float:
        """Spent so far, those before the checkpoint that it began from too."""
        return self.earlier + self.clock() - self.started

    def run(
        self,
        train: Index,
        seed: int,
        progress: Callable[[FitReport], Any],
        checkpoint: Path | None = None,
    ) -> None:
        """Train to the end, or until the patience is."""
        network, settings = self.network, self.settings
        # Never a batch of a single crystal, which batch normalisation could not take.
        n_batches = max(1, len(train) // settings.batch_size)
        n_steps = settings.epochs * n_batches
        decay = 1.0 - 1.0 / max(settings.average_share * n_steps, 1.0)
        stops = {
            math.ceil((k + 1) * n_steps / settings.evaluations) for k in range(settings.evaluations)
        }
        typical = self._typical_deviation(train)
        self.generator.manual_seed(seed)
        if checkpoint is not None:
            # Of what can be gone on with, no step is half done.
            self.check_within = lambda: None
            with suppress(FileNotFoundError):
                self._go_on(checkpoint)
        set_generator(network, self.generator)
        network.train()
        kept_at = time.monotonic()
        batches = enumerate(epochs_of(train, n_batches, settings.epochs, seed))
        for step, members in islice(batches, self.steps, None):
            if settings.patience and self.worse >= settings.patience:
                break
            try:
                self.check()
            except StoppedError:
                if checkpoint is not None:
                    self._keep(checkpoint)
                raise
            set_rates(self.optimizer, step / n_steps, settings)
            self._step(members, min(decay, step / (step + 1)))
            self.steps = step + 1
            self.report.epochs = self.steps / n_batches
            if self.steps in stops:
                mean_loss = float(np.mean(self.losses))
                if mean_loss > DIVERGED * typical > 0:
                    problem = (
                        f"training diverges: its loss is {mean_loss / typical:.3g} times that of "
                        "a constant"
                    )
                    raise DivergedError.of(problem, settings)
                self.losses = []
                counts = self.steps >= settings.earliest * n_steps
                is_better = self._look(mean_loss, counts)
                self.worse = 0 if is_better or not counts else self.worse + 1
            progress(self.report)
            if checkpoint is not None and time.monotonic() - kept_at >= CHECKPOINT_SECONDS:
                self._keep(checkpoint)
                kept_at = time.monotonic()
        set_generator(network, None)
        if checkpoint is not None:
            self._keep(checkpoint)

    def _step(self, members: Index, decay: float) -> None:
        """Learn from a batch."""
        network, settings = self.network, self.settings
        batch = self.crystals.batch(members, self.device)
        if settings.jitter:
            shape = batch.edge_vector.shape
            noise = torch.randn(shape, generator=self.generator, device=self.device)
            batch.edge_vector += settings.jitter * noise
        weight = None if self.weights is None else self.weights[members]
        given = self.targets[members], settings.minimum, weight, settings.scoring
        loss = training_loss(network(batch), *given)
        self.losses.append(float(loss.detach()))
        if not math.isfinite(self.losses[-1]):
            raise DivergedError.of(f"the loss is {self.losses[-1]}", settings)
        self.check_within()
        self.optimizer.zero_grad()
        loss.backward()
        if settings.clip_norm:
            nn.utils.clip_grad_norm_(network.parameters(), settings.clip_norm)
        self.optimizer.step()
        update_average(self.average, network, decay)
        for old, new in zip(self.average.buffers(), network.buffers(), strict=True):
            old.copy_(new)

    def _keep(self, path: Path) -> None:
        """Write all that the training is at the end of a step."""
        others: dict[str, nn.Module] = {"kept": self.kept}
        if self.early:
            others["early"] = self.early[0]
        modules = {k: v for k, v in others.items() if v is not self.average}
        facts = {
            "steps": self.steps,
            "worse": self.worse,
            "losses": self.losses,
            "seconds": self.seconds(),
            "report": report_facts(self.report),
            "early": report_facts(self.early[1]) if self.early else None,
        }
        write_checkpoint(
            path,
            {"network": self.network, "average": self.average, **modules},
            self.optimizer,
            facts,
            {"random": {"state": self.generator.get_state()}},
        )

    def _go_on(self, path: Path) -> None:
        """Become what was written."""
        checkpoint = Checkpoint.read(path)
        found, facts = checkpoint.parts, checkpoint.facts
        others = {str(k): copy.deepcopy(self.average) for k in ("kept", "early") if k in found}
        modules = {"network": self.network, "average": self.average, **others}
        checkpoint.restore(modules, self.optimizer)
        self.generator.set_state(found["random"]["state"])
        self.steps, self.worse, self.losses = facts["steps"], facts["worse"], facts["losses"]
        self.earlier = facts["seconds"]
        self.kept, self.report = others.get("kept", self.average), report_of(facts["report"])
        if facts["early"]:
            self.early = others.get("early", self.average), report_of(facts["early"])

    def _look(self, loss: float, counts: bool) -> bool:
        """Look at the held-out rows; whether the present weights are the best of those to keep."""
        report, errors = self.report, np.array(math.nan)
        if len(self.held_out):
            errors = self._held_out_errors(self.average)
        error = float(np.nanmean(errors)) if np.isfinite(errors).any() else math.nan
        report.history.append((report.epochs, loss, error))
        best = report if counts else (self.early[1] if self.early else FitReport())
        if error >= best.best_error:
            return False
        found = replace(report, best_epoch=report.epochs, best_error=error, errors=errors)
        kept = copy.deepcopy(self.average) if len(self.held_out) else self.average
        if counts:
            self.kept, self.report = kept, found
        else:
            self.early = kept, found
        return counts

    def recalibrate(self, train: Index, seed: int) -> None:
        """Measure the batch normalisation of the weights that are kept anew, and their error."""
        if not self.settings.recalibrate:
            return
        fresh, size = copy.deepcopy(self.kept), self.settings.batch_size
        recalibrate(fresh, self.crystals, train, size, self.device, seed, check=self.check)
        if len(self.held_out):
            errors = self._held_out_errors(fresh)
            self.report.errors, self.report.best_error = errors, float(np.nanmean(errors))
        self.kept = fresh

    def keep_best_so_far(self) -> None:
        """After a stop: what was to be kept, or else the best from before."""
        epochs, history = self.report.epochs, self.report.history
        if not self.report.best_epoch:
            if self.early is None:
                raise StoppedError
            self.kept, early = self.early
            self.report = replace(early, epochs=epochs, history=history)
        if not len(self.held_out):  # the average has gone on
            self.report.best_epoch = epochs
        self.report.stopped = True

    def _held_out_errors(self, network: PropertyNetwork) -> NDArray[np.float64]:
        rows = self.held_out
        found = predict(
            network,
            self.crystals,
            rows,
            self.device,
            self.settings.minimum,
            check=self.check_within,
        )
        return self.judge(found, rows)

    def _errors(self, found: NDArray[np.float64], rows: Index) -> NDArray[np.float64]:
        weight = None if self.weight is None else self.weight[rows]
        return mean_errors(found, self.y[rows], weight, self.settings.scoring)

    def _tensors(self) -> tuple[Tensor, Tensor | None]:
        if self.weight is None:
            return torch.from_numpy(self.y.astype(np.float32)).to(self.device), None
        read = np.where(self.weight > 0, self.y, 0.0)
        targets, weights = (
            torch.from_numpy(values.astype(np.float32)).to(self.device)
            for values in (read, self.weight)
        )
        return targets, weights

    def _typical_deviation(self, train: Index) -> float:
        """Loss of the medians of the training targets."""
        every = np.ones_like(self.y) if self.weight is None else self.weight
        power, losses = (1 if self.settings.scoring == "mae" else 2), []
        pairs = zip(np.atleast_2d(self.y[train].T), np.atleast_2d(every[train].T), strict=True)
        for column, weight in pairs:
            known = weight > 0
            if known.any():
                away = np.abs(column[known] - np.median(column[known])) ** power
                losses.append(np.average(away, weights=weight[known]))
        return float(np.mean(losses))


def set_generator(network: nn.Module, generator: torch.Generator | None) -> None:
    """Give the dropout of a network its random state."""
    for module in network.modules():
        if isinstance(module, Dropout):
            module.generator = generator


def training_loss(
    found: Tensor,
    target: Tensor,
    minimum: float | tuple[float, ...],
    weight: Tensor | None = None,
    scoring: Scoring = "mae",
) -> Tensor:
    """Mean absolute or squared error, in which a prediction below the minimum is as good as that.

    A slope of a tenth is left below it, so that no crystal is lost for good.
    """
    least = torch.as_tensor(minimum, dtype=found.dtype, device=found.device)
    bounded = least.isfinite()
    if bool(bounded.any()):
        floor = least.where(bounded, 0.0)
        raised = floor + nn.functional.leaky_relu(found - floor, 0.1)
        found = raised.where(bounded, found)
    losses = (found - target).abs() if scoring == "mae" else (found - target).square()
    return (losses if weight is None else losses * weight).mean()


def parameter_groups(network: PropertyNetwork, settings: FitSettings) -> list[dict[str, Any]]:
    """Parameters with the factor on their learning rate and their weight decay."""
    groups: dict[tuple[float, float, bool], list[Tensor]] = {}
    for name, parameter in network.named_parameters():
        depth = network.depth_of(name)
        share = 1.0
        if depth:
            share = settings.pretrained_share * settings.layer_decay ** (depth - 1)
        decay = settings.weight_decay if is_decayed(name, parameter) else 0.0
        key = share, decay, depth > 0
        groups.setdefault(key, []).append(parameter)
    return [
        {"params": parameters, "weight_decay": decay, "share": share, "pretrained": pretrained}
        for (share, decay, pretrained), parameters in groups.items()
    ]


def set_rates(optimizer: torch.optim.Optimizer, done: float, settings: FitSettings) -> None:
    """One cycle over the finished share of the steps: half a cosine up, half a cosine down."""
    rate = settings.learning_rate * one_cycle(done, settings.warmup)
    for group in optimizer.param_groups:
        frozen = group["pretrained"] and done < settings.frozen_share
        group["lr"] = 0.0 if frozen else rate * group["share"]


def epochs_of(train: Index, n_batches: int, epochs: int, seed: int) -> Iterator[Index]:
    """Batches of nearly equal numbers of rows, every row once an epoch."""
    for epoch in range(epochs):
        rng = np.random.default_rng([seed, epoch])
        yield from np.array_split(rng.permutation(train), n_batches)


def recalibrate(
    network: PropertyNetwork,
    crystals: Crystals,
    train: Index,
    batch_size: int,
    device: torch.device,
    seed: int,
    n_batches: int = 100,
    check: Callable[[], Any] = lambda: None,
) -> None:
    """Replace the statistics of batch normalisation by their means over training batches."""
    order = np.random.default_rng([seed, 1]).permutation(train)

    def batches() -> Iterator[CrystalBatch]:
        # By the first batch update_bn has put all of the network into training.
        for module in network.modules():
            if isinstance(module, Dropout):
                module.eval()
        for members in np.array_split(order, max(1, len(train) // batch_size))[:n_batches]:
            check()
            yield crystals.batch(members, device)

    update_bn(batches(), network.eval())


def predict(
    network: PropertyNetwork,
    crystals: Crystals,
    rows: Index | Sequence[int],
    device: torch.device,
    minimum: float | tuple[float, ...] = -math.inf,
    progress: Callable[[int], Any] = lambda n: None,
    check: Callable[[], Any] = lambda: None,
) -> NDArray[np.float64]:
    """Predictions for some of the crystals, in their order, (len(rows),) or (len(rows), n_targets).

    Where ``check`` raises StoppedError, between two batches, so does this.
    """
    network.eval()
    found, batch, n_edges = [], list[int](), 0
    with torch.inference_mode():
        for row in [*rows, -1]:
            size = crystals.graphs[row].n_edges if row >= 0 else PREDICT_EDGES
            if batch and n_edges + size > PREDICT_EDGES:
                check()
                found.append(network(crystals.batch(batch, device)).double().cpu().numpy())
                progress(len(batch))
                batch, n_edges = [], 0
            batch.append(int(row))
            n_edges += size
    return np.concatenate(found).clip(minimum) if found else np.zeros(0)
