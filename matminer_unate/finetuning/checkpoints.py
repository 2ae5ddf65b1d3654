"""Trainings that were stopped, in a folder of the user's: each goes on where it stood.

A file is named after all that a training depends on, so that folds of a cross-validation and fits
with other options share the folder and none takes another's.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from matminer_unate.errors import InputError
from matminer_unate.finetuning.settings import FitReport, FitSettings
from matminer_unate.finetuning.targets import TargetScale
from matminer_unate.network.model_folder import plain

if TYPE_CHECKING:
    from torch import device, nn

    from matminer_unate.finetuning.networks import Crystals


def folder_of(checkpoints: str | Path | None, random_state: int | None) -> Path | None:
    """The folder that an estimator is to keep its trainings in.

    Raises
    ------
    InputError
        A training could not be told from others.
    """
    if checkpoints is None:
        return None
    if random_state is None:
        raise InputError("checkpoints need a random_state: without one, no fit is like another")
    return Path(checkpoints).expanduser()


class CheckpointFolder:
    """Names of the checkpoints of trainings on the same crystals.

    Parameters
    ----------
    folder : Path
        Created if need be.
    crystals : Crystals
    y, weight, settings, device
        As for :func:`~matminer_unate.finetuning.fitting.fit_network`.
    scale : TargetScale
        Of what is learned, by which held-out rows are judged.
    """

    def __init__(
        self,
        folder: Path,
        crystals: Crystals,
        y: NDArray[np.float64],
        weight: NDArray[np.float64] | None,
        settings: FitSettings,
        device: device,
        scale: TargetScale,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.files = folder, list[Path]()
        self._common = hashlib.sha256()
        names = [transform.name for transform in scale.transforms]
        facts = [asdict(settings), device.type, names]
        self._common.update(json.dumps(facts, default=plain).encode())
        for graph in crystals.graphs:
            self._common.update(graph.digest)
        numbers = [transform.numbers for transform in scale.transforms]
        numbers += [scale.mean, scale.spread, scale.unit, scale.minimum]
        for array in (*(crystals.vectors or ()), crystals.columns, y, weight, *numbers):
            _add(self._common, array)

    def file(
        self, network: nn.Module, train: NDArray[np.int64], held_out: NDArray[np.int64], seed: int
    ) -> Path:
        """That of one training; ``network`` is as it begins."""
        digest = self._common.copy()
        digest.update(f"{seed} {network}".encode())
        for array in (train, held_out, *(v.cpu().numpy() for v in network.state_dict().values())):
            _add(digest, array)
        self.files.append(self.folder / f"training-{digest.hexdigest()[:20]}.safetensors")
        return self.files[-1]

    def going_on(self) -> str:
        """What to say of a training that was stopped; nothing where none has been kept."""
        kept = any(file.exists() for file in self.files)
        return f"; the same fit goes on from {self.folder}" if kept else ""


def _add(digest: Any, array: NDArray[Any] | None) -> None:
    if array is None:
        digest.update(b"none")
        return
    digest.update(f"{array.dtype.str}{array.shape}".encode())
    digest.update(np.ascontiguousarray(array).data)


def report_facts(report: FitReport) -> dict[str, Any]:
    """A report as JSON has it."""
    return {**asdict(report), "errors": report.errors.tolist()}


def report_of(facts: dict[str, Any]) -> FitReport:
    """The report of such facts."""
    history = [(epoch, loss, error) for epoch, loss, error in facts["history"]]
    return FitReport(**{**facts, "history": history, "errors": np.array(facts["errors"])})
