"""Trainings that were stopped, in a folder of the user's: each goes on where it stood.

A file is named after all that a training depends on, so that folds of a cross-validation and fits
with other options share the folder and none takes another's.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from matminer_unate.errors import InputError
from matminer_unate.finetuning.settings import FitReport, FitSettings
from matminer_unate.finetuning.targets import TargetScale
from matminer_unate.network.model_folder import plain

if TYPE_CHECKING:
    from torch import device, nn

    from matminer_unate.finetuning.networks import Crystals


class CheckpointFolder:
    """The checkpoints of one fit, which may train on several targets one after another.

    Parameters
    ----------
    folder : Path
        Created if need be.

    Attributes
    ----------
    files : list of Path
        That this fit has asked for so far.

    Raises
    ------
    InputError
        It cannot be created.
    """

    def __init__(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as e:
            raise InputError(f"no folder for checkpoints can be made at {folder}: {e}") from e
        self.folder, self.files = folder, list[Path]()

    @classmethod
    def of(cls, checkpoints: str | Path | None, random_state: int | None) -> Self | None:
        """That of these parameters of an estimator.

        Raises
        ------
        InputError
            A training could not be told from others, or there is no such folder.
        """
        if checkpoints is None:
            return None
        if random_state is None:
            raise InputError("checkpoints need a random_state: without one, no fit is like another")
        return cls(Path(checkpoints).expanduser())

    def going_on(self) -> str:
        """What to say of a fit that was stopped; nothing where no training has been kept."""
        kept = any(file.exists() for file in self.files)
        return f"; the same fit goes on from {self.folder}" if kept else ""

    def remove(self) -> None:
        """Remove the files of this fit, which is done."""
        for file in self.files:
            file.unlink(missing_ok=True)


class TrainingFiles:
    """Names of the checkpoints of trainings on the same crystals.

    Parameters
    ----------
    checkpoints : CheckpointFolder
    crystals : Crystals
    y, weight, settings, device
        As for :func:`~matminer_unate.finetuning.fitting.fit_network`.
    scale : TargetScale, optional
        Of what is learned, by which held-out rows are judged.
    """

    def __init__(
        self,
        checkpoints: CheckpointFolder,
        crystals: Crystals,
        y: NDArray[np.float64],
        weight: NDArray[np.float64] | None,
        settings: FitSettings,
        device: device,
        scale: TargetScale | None = None,
    ) -> None:
        self._checkpoints, self._common = checkpoints, hashlib.sha256()
        transforms = [] if scale is None else scale.transforms
        names = [transform.name for transform in transforms]
        facts = [asdict(settings), device.type, names]
        self._common.update(json.dumps(facts, default=plain).encode())
        for graph in crystals.graphs:
            self._common.update(graph.digest)
        numbers = [transform.numbers for transform in transforms]
        if scale is not None:
            numbers += [scale.mean, scale.spread, scale.unit, scale.minimum]
        for array in (*(crystals.vectors or ()), y, weight, *numbers):
            _add(self._common, array)
        _add(self._common, _rounded(crystals.columns))

    def file(
        self, network: nn.Module, train: NDArray[np.int64], held_out: NDArray[np.int64], seed: int
    ) -> Path:
        """That of one training; ``network`` is as it begins."""
        digest = self._common.copy()
        digest.update(f"{seed} {network}".encode())
        for array in (train, held_out):
            _add(digest, array)
        for value in network.state_dict().values():
            _add(digest, _rounded(value.cpu().numpy()))
        file = self._checkpoints.folder / f"training-{digest.hexdigest()[:20]}.safetensors"
        self._checkpoints.files.append(file)
        return file


def _rounded(array: NDArray[Any] | None) -> NDArray[Any] | None:
    """Numbers to three digits, where they are no whole ones.

    Columns that are computed anew may differ in the seventh, and so may the scales of the network
    that reads them; it is the same training all the same.
    """
    if array is None or array.dtype.kind != "f":
        return array
    with np.errstate(over="ignore"):
        return array.astype(np.float16)


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
