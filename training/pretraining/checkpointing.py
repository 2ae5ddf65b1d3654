"""Pretraining state ↔ disk: network, moving average, optimizer, and the progress.

There is no random state to keep: every batch and every corruption follows from the seed, the epoch
and the step.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import nn

from matminer_unate.errors import InputError
from matminer_unate.network.checkpoints import Checkpoint, write_checkpoint

CHECKPOINT = "checkpoint.safetensors"
"""Its name in the output folder."""


@dataclass
class Progress:
    """Where a run stands.

    Attributes
    ----------
    epoch, batch : int
        Finished epochs, and finished batches of the present one.
    step : int
        Optimizer steps in all.
    seconds : float
        Wall time of training, stops not counted.
    sums : dict of str to float
        Logged quantities summed over the batches of the present epoch.
    processes : int
        That share its batches; 0 where it is not known.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    seconds: float = 0.0
    sums: dict[str, float] = field(default_factory=dict)
    processes: int = 0

    def add(self, values: dict[str, float]) -> None:
        """Count one finished batch."""
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        self.batch += 1
        self.step += 1

    def mean(self, name: str) -> float:
        return self.sums[name] / self.batch

    def share(self, n_batches: int, n_epochs: int) -> float:
        """How much of a run is done, with so many batches in this epoch."""
        return (self.epoch + self.batch / n_batches) / n_epochs

    def next_epoch(self) -> None:
        self.epoch, self.batch, self.sums = self.epoch + 1, 0, {}


def save_checkpoint(
    path: Path,
    model: nn.Module,
    average: nn.Module,
    optimizer: torch.optim.Optimizer,
    progress: Progress,
) -> None:
    """Write a checkpoint; a run killed while writing keeps the one before."""
    write_checkpoint(path, {"model": model, "average": average}, optimizer, asdict(progress))


def load_checkpoint(
    path: Path, model: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer
) -> Progress:
    """Restore a checkpoint in place; returns where the run stood.

    Raises
    ------
    InputError
        The file is damaged, or of a network of other sizes.
    """
    checkpoint = Checkpoint.read(path)
    try:
        progress = Progress(**checkpoint.facts)
    except TypeError as e:
        raise InputError(f"{path} is no checkpoint of a pretraining ({e})") from e
    checkpoint.restore({"model": model, "average": average}, optimizer)
    return progress
