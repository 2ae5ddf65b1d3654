"""Train a network on labelled crystals: the loop, its settings, and predictions.

CartNet's protocol (arXiv:2501.18369) with what small data sets ask for: L1 loss, a one-cycle
learning rate, a moving average of the weights, and the weights of the best epoch on held-out rows.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from matminer_unate.crystal_regressor import CrystalRegressor, Crystals, Dropout
from matminer_unate.errors import InputError

Index = NDArray[np.int64]

PREDICT_EDGES = 32_000
"""Edges of a batch in prediction."""


@dataclass(frozen=True)
class FitSettings:
    """How a network is trained.

    Attributes
    ----------
    epochs : int
    batch_size : int
        Crystals.
    learning_rate : float
        Peak of the one-cycle schedule, for what is new.
    pretrained_share : float
        What pretrained weights get of it.
    layer_decay : float
        Factor on the learning rate for each layer further from the head.
    weight_decay : float
        AdamW; none on biases, norms and embeddings.
    warmup : float
        Share of the steps in which the learning rate rises.
    frozen_share : float
        Share of the steps in which only the head learns.
    clip_norm : float
        Longest gradient; 0 for any.
    average_share : float
        The weights that are evaluated are averages over about the last such share of the steps; 0
        for no averaging.
    jitter : float
        Standard deviation (Å) of noise on edge vectors in training.
    recalibrate : bool
        Measure the statistics of batch normalisation anew for the weights that are kept.
    standardise : bool
        Standardise the targets.
    minimum : float
        Of the target. Where a target is this, predictions below are no error: they are raised to
        it in the end.
    evaluations : int
        Times the held-out rows are looked at.
    patience : int
        Evaluations without improvement before training stops; 0 for never.
    earliest : float
        Share of the steps before which no weights are kept. Few held-out rows are so noisy that
        their best epoch often lies before the learning rate has come down.
    """

    epochs: int = 40
    batch_size: int = 64
    learning_rate: float = 2e-3
    pretrained_share: float = 0.5
    layer_decay: float = 1.0
    weight_decay: float = 0.01
    warmup: float = 0.1
    frozen_share: float = 0.0
    clip_norm: float = 1.0
    average_share: float = 0.05
    jitter: float = 0.0
    recalibrate: bool = True
    standardise: bool = True
    minimum: float = -math.inf
    evaluations: int = 15
    patience: int = 0
    earliest: float = 0.0

    def __post_init__(self) -> None:
        for name, least in (("epochs", 1), ("batch_size", 2), ("evaluations", 1)):
            if getattr(self, name) < least:
                raise InputError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if not self.learning_rate > 0:
            raise InputError(f"learning_rate must be positive, got {self.learning_rate}")


@dataclass
class FitReport:
    """What happened in training.

    Attributes
    ----------
    best_epoch : float
        Finished epochs of the weights that were kept.
    best_error : float
        Their mean absolute error on the held-out rows; NaN without such rows.
    history : list of (epoch, training loss, held-out error)
    seconds : float
        CPU time of this thread on a CPU, else wall time.
    """

    best_epoch: float = 0.0
    best_error: float = math.nan
    history: list[tuple[float, float, float]] = field(default_factory=list)
    seconds: float = 0.0


def fit_network(
    network: CrystalRegressor,
    crystals: Crystals,
    y: NDArray[np.float64],
    train: Index,
    held_out: Index,
    settings: FitSettings,
    seed: int,
    device: torch.device,
    progress: Callable[[float, str], Any] = lambda epochs, text: None,
) -> tuple[CrystalRegressor, FitReport]:
    """Train a network.

    Parameters
    ----------
    network : CrystalRegressor
        Is trained in place.
    crystals : Crystals
    y : (n_crystals,)
        Targets.
    train, held_out : int64 arrays
        Rows to learn from, and rows that choose the epoch; of none, the last epoch is kept.
    settings : FitSettings
    seed : int
        Of the order of the batches, dropout and noise; torch's own random state is not used.
    device : torch.device
    progress : callable
        Told the share of an epoch that was just finished, and how it goes.

    Returns
    -------
    CrystalRegressor
        The weights to keep, in evaluation mode.
    FitReport

    Raises
    ------
    InputError
        There are fewer than two training rows, or a training loss is not finite.
    """
    if len(train) < 2:
        raise InputError(f"training needs at least two rows with a target, got {len(train)}")
    clock = time.thread_time if device.type == "cpu" else time.perf_counter
    started = clock()
    network.to(device)
    if settings.standardise:
        network.set_scale(y[train])
    # Never a batch of a single crystal, which batch normalisation could not take.
    n_batches = max(1, len(train) // settings.batch_size)
    n_steps = settings.epochs * n_batches
    groups = parameter_groups(network, settings)
    optimizer = torch.optim.AdamW(groups, lr=settings.learning_rate, fused=device.type == "cuda")
    average = copy.deepcopy(network).eval()
    kept, report = average, FitReport()
    decay = 1.0 - 1.0 / max(settings.average_share * n_steps, 1.0)
    stops = {
        math.ceil((k + 1) * n_steps / settings.evaluations) for k in range(settings.evaluations)
    }
    targets = torch.from_numpy(y.astype(np.float32)).to(device)
    generator = torch.Generator(device).manual_seed(seed)
    set_generator(network, generator)
    worse, loss_sum, loss_count = 0, 0.0, 0
    network.train()
    for step, members in enumerate(epochs_of(train, n_batches, settings.epochs, seed)):
        set_rates(optimizer, step / n_steps, settings)
        batch = crystals.batch(members, device)
        if settings.jitter:
            noise = torch.randn(batch.edge_vector.shape, generator=generator, device=device)
            batch.edge_vector += settings.jitter * noise
        loss = absolute_error(network(batch), targets[members], settings.minimum)
        optimizer.zero_grad()
        loss.backward()
        if settings.clip_norm:
            nn.utils.clip_grad_norm_(network.parameters(), settings.clip_norm)
        optimizer.step()
        update_average(average, network, min(decay, step / (step + 1)))
        loss_sum, loss_count = loss_sum + float(loss.detach()), loss_count + 1
        if step + 1 in stops:
            epoch, mean_loss = (step + 1) / n_batches, loss_sum / loss_count
            if not math.isfinite(mean_loss):
                raise InputError(f"the loss is {mean_loss}; lower the learning rate")
            loss_sum, loss_count = 0.0, 0
            error = math.nan
            if len(held_out):
                found = predict(average, crystals, held_out, device, settings.minimum)
                error = float(np.abs(found - y[held_out]).mean())
            report.history.append((epoch, mean_loss, error))
            counts = step + 1 >= settings.earliest * n_steps
            if counts and (math.isnan(error) or not error >= report.best_error):
                report.best_epoch, report.best_error, worse = epoch, error, 0
                kept = copy.deepcopy(average) if len(held_out) else average
            elif counts:
                worse += 1
        progress(1 / n_batches, _say(report))
        if settings.patience and worse >= settings.patience:
            break
    set_generator(network, None)
    if settings.recalibrate:
        recalibrate(kept, crystals, train, settings.batch_size, device, seed)
        if len(held_out):
            found = predict(kept, crystals, held_out, device, settings.minimum)
            report.best_error = float(np.abs(found - y[held_out]).mean())
    report.seconds = clock() - started
    return kept.eval(), report


def set_generator(network: nn.Module, generator: torch.Generator | None) -> None:
    """Give the dropout of a network its random state."""
    for module in network.modules():
        if isinstance(module, Dropout):
            module.generator = generator


def _say(report: FitReport) -> str:
    return f"MAE {report.best_error:.3g}" if report.history else ""


def absolute_error(found: Tensor, target: Tensor, minimum: float) -> Tensor:
    """L1 loss, in which a prediction below the minimum is as good as the minimum.

    A slope of a tenth is left below it, so that no crystal is lost for good.
    """
    if minimum > -math.inf:
        found = minimum + nn.functional.leaky_relu(found - minimum, 0.1)
    return (found - target).abs().mean()


def parameter_groups(network: CrystalRegressor, settings: FitSettings) -> list[dict[str, Any]]:
    """Parameters with the factor on their learning rate and their weight decay."""
    groups: dict[tuple[float, float, bool], list[Tensor]] = {}
    for name, parameter in network.named_parameters():
        depth = network.depth_of(name)
        share = 1.0
        if depth:
            share = settings.pretrained_share * settings.layer_decay ** (depth - 1)
        decayed = parameter.ndim > 1 and ".species." not in name
        key = share, settings.weight_decay if decayed else 0.0, depth > 0
        groups.setdefault(key, []).append(parameter)
    return [
        {"params": parameters, "weight_decay": decay, "share": share, "pretrained": pretrained}
        for (share, decay, pretrained), parameters in groups.items()
    ]


def set_rates(optimizer: torch.optim.Optimizer, done: float, settings: FitSettings) -> None:
    """One cycle over the finished share of the steps: half a cosine up, half a cosine down."""
    if done < settings.warmup:
        phase = math.pi * (1.0 - (done + 1e-3) / (settings.warmup + 1e-3))
    else:
        phase = math.pi * (done - settings.warmup) / (1.0 - settings.warmup)
    rate = settings.learning_rate * 0.5 * (1.0 + math.cos(phase))
    for group in optimizer.param_groups:
        frozen = group["pretrained"] and done < settings.frozen_share
        group["lr"] = 0.0 if frozen else rate * group["share"]


def epochs_of(train: Index, n_batches: int, epochs: int, seed: int) -> Iterator[Index]:
    """Batches of nearly equal numbers of rows, every row once an epoch."""
    for epoch in range(epochs):
        rng = np.random.default_rng([seed, epoch])
        yield from np.array_split(rng.permutation(train), n_batches)


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Moving average of the parameters; the statistics of batch normalisation are copied."""
    for mean, value in zip(average.parameters(), network.parameters(), strict=True):
        mean.lerp_(value, 1.0 - decay)
    for old, new in zip(average.buffers(), network.buffers(), strict=True):
        old.copy_(new)


@torch.no_grad()
def recalibrate(
    network: CrystalRegressor,
    crystals: Crystals,
    train: Index,
    batch_size: int,
    device: torch.device,
    seed: int,
    n_batches: int = 100,
) -> None:
    """Replace the statistics of batch normalisation by their means over training batches."""
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm1d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a cumulative average
    network.train()
    for module in network.modules():
        if isinstance(module, Dropout):
            module.eval()
    order = np.random.default_rng([seed, 1]).permutation(train)
    for members in np.array_split(order, max(1, len(train) // batch_size))[:n_batches]:
        network(crystals.batch(members, device))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    network.eval()


def predict(
    network: CrystalRegressor,
    crystals: Crystals,
    rows: Index | Sequence[int],
    device: torch.device,
    minimum: float = -math.inf,
    progress: Callable[[int], Any] = lambda n: None,
) -> NDArray[np.float64]:
    """Predictions for some of the crystals, in their order, (len(rows),)."""
    network.eval()
    found, batch, n_edges = [], list[int](), 0
    with torch.inference_mode():
        for row in [*rows, -1]:
            size = crystals.graphs[row].n_edges if row >= 0 else PREDICT_EDGES
            if batch and n_edges + size > PREDICT_EDGES:
                found.append(network(crystals.batch(batch, device)).double().cpu().numpy())
                progress(len(batch))
                batch, n_edges = [], 0
            batch.append(int(row))
            n_edges += size
    return np.concatenate(found).clip(minimum) if found else np.zeros(0)
