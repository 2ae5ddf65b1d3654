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
    """

    def __init__(
        self,
        folder: Path,
        crystals: Crystals,
        y: NDArray[np.float64],
        weight: NDArray[np.float64] | None,
        settings: FitSettings,
        device: device,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self._common = folder, hashlib.sha256()
        self._common.update(json.dumps([asdict(settings), device.type]).encode())
        for graph in crystals.graphs:
            self._common.update(graph.digest)
        for array in (*(crystals.vectors or ()), crystals.columns, y, weight):
            _add(self._common, array)

    def file(
        self, network: nn.Module, train: NDArray[np.int64], held_out: NDArray[np.int64], seed: int
    ) -> Path:
        """That of one training; ``network`` is as it begins."""
        digest = self._common.copy()
        digest.update(str(seed).encode())
        for array in (train, held_out, *(v.cpu().numpy() for v in network.state_dict().values())):
            _add(digest, array)
        return self.folder / f"training-{digest.hexdigest()[:20]}.safetensors"


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
