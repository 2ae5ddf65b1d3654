"""How a network is trained, and how that went."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from matminer_unate.errors import InputError
from matminer_unate.transforms import SCORINGS, Scoring


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
        Standardise the targets inside the network, in float32: for targets of order 1.
    scoring : {"mae", "rmse"}
        What is made small, absolute or squared errors, and what the held-out rows are judged by.
    minimum : float, or one for each target
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
    scoring: Scoring = "mae"
    minimum: float | tuple[float, ...] = -math.inf
    evaluations: int = 15
    patience: int = 0
    earliest: float = 0.0

    def __post_init__(self) -> None:
        for name, least in (("epochs", 1), ("batch_size", 2), ("evaluations", 1)):
            if getattr(self, name) < least:
                raise InputError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if self.scoring not in SCORINGS:
            raise InputError(f"scoring must be 'mae' or 'rmse', got {self.scoring!r}")
        if not self.learning_rate > 0:
            raise InputError(f"learning_rate must be positive, got {self.learning_rate}")


EARLIEST = 0.6
"""Share of the training before which no weights are kept. With a tenth of 2,000 rows held out, free
choice took epochs 19 and 33 of 71, and the error was 5 % above that of a single network that more
rows had chosen for."""

CLIP_NORM = 3.0
"""Longest gradient of the loss in standard deviations of the target. With 1, the error of log10 K
on 200 crystals was 6 % higher."""

FINE_TUNING: dict[str, Any] = {
    "earliest": EARLIEST,
    "clip_norm": CLIP_NORM,
    "standardise": False,
}
"""What fine-tuning of the pretrained encoder does otherwise."""

DROPOUT = 0.1
"""Of its head."""


MANY_ROWS = 5_000
FEW_ROWS_SHARE, MANY_ROWS_SHARE = 0.2, 0.5


def auto_epochs(n_rows: int) -> int:
    """Passes over so many training rows; on the gap of 2,000, 25 in place of 40 cost 8 %."""
    return min(80, max(20, round(50 * (4000 / n_rows) ** 0.5)))


def auto_share(n_rows: int) -> float:
    """What pretrained weights get of the learning rate with so many training rows.

    On ``val``, 0.5 in place of 0.2 changed the errors of 2,000 gaps by +5 %, of 7,800 bulk moduli
    by -2 % and of 16,000 gaps by -5 % (``finetune_share.csv``, ``matbench.csv``).
    """
    return MANY_ROWS_SHARE if n_rows >= MANY_ROWS else FEW_ROWS_SHARE


def fine_tuning(n_rows: int, **given: Any) -> FitSettings:
    """Settings of fine-tuning; of those given, "auto" ones are chosen by the training rows."""
    auto = {"epochs": auto_epochs, "pretrained_share": auto_share}
    chosen = {k: choose(n_rows) for k, choose in auto.items() if given.get(k, "auto") == "auto"}
    return FitSettings(**FINE_TUNING | given | chosen)


@dataclass
class FitReport:
    """What happened in training.

    Errors are those of the targets that the training was given, or as whoever judges tells them.

    Attributes
    ----------
    best_epoch : float
        Finished epochs of the weights that were kept.
    best_error : float
        Their error on the held-out rows; NaN without such rows.
    errors : () or (n_targets,) float64 array
        The same for each target.
    history : list of (epoch, training loss, held-out error)
    epochs : float
        Finished epochs.
    stopped : bool
        Whether it was stopped from outside.
    seconds : float
        CPU time of this thread on a CPU, else wall time.
    earlier_seconds : float
        Those of them that were spent by former calls, whose checkpoint was gone on with.
    """

    best_epoch: float = 0.0
    best_error: float = math.nan
    errors: NDArray[np.float64] = field(default_factory=lambda: np.array(math.nan))
    history: list[tuple[float, float, float]] = field(default_factory=list)
    epochs: float = 0.0
    stopped: bool = False
    seconds: float = 0.0
    earlier_seconds: float = 0.0
