"""Pretraining state ↔ disk, as one safetensors file with the progress in its header.

There is no random state to keep: every batch and every corruption follows from the seed, the epoch
and the step. So weights, moving average, optimizer moments and the step are the whole state, and a
resumed run repeats the uninterrupted one.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from matminer_unate.errors import InputError

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
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    seconds: float = 0.0
    sums: dict[str, float] = field(default_factory=dict)

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
    tensors: dict[str, Tensor] = {}
    tensors |= {f"model/{k}": v for k, v in model.state_dict().items()}
    tensors |= {f"average/{k}": v for k, v in average.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer/{index}/{k}": torch.as_tensor(v) for k, v in state.items()}
    fresh = path.with_name(path.name + ".new")
    save_file(
        {k: v.detach().cpu().contiguous() for k, v in tensors.items()},
        fresh,
        metadata={"progress": json.dumps(asdict(progress))},
    )
    fresh.replace(path)  # one file, so that the old and the new state change places at once


def load_checkpoint(
    path: Path, model: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer
) -> Progress:
    """Restore a checkpoint in place; returns where the run stood.

    Raises
    ------
    InputError
        The file is damaged, or of a network of other sizes.
    """
    try:
        with safe_open(path, "pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            progress = Progress(**json.loads(file.metadata()["progress"]))
    except (SafetensorError, TypeError, KeyError, ValueError) as e:
        raise InputError(f"{path} is no readable checkpoint ({e}); start anew elsewhere") from e

    def part(name: str) -> dict[str, Tensor]:
        start = f"{name}/"
        return {k[len(start) :]: v for k, v in tensors.items() if k.startswith(start)}

    try:
        model.load_state_dict(part("model"))
        average.load_state_dict(part("average"))
    except RuntimeError as e:
        raise InputError(
            f"{path} is of another network than the settings, data and code of this run make; "
            f"start anew elsewhere ({str(e).splitlines()[1].strip()})"
        ) from e
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in part("optimizer").items():
        index, _, field = key.partition("/")
        state.setdefault(int(index), {})[field] = value
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
    return progress
