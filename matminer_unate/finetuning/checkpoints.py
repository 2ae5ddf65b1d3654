"""Trainings that were stopped, in a folder of the user's: each goes on where it stood.

A file is named after all that a training depends on, so that folds of a cross-validation and fits
with other options share the folder and none takes another's.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from matminer_unate.errors import InputError
from matminer_unate.finetuning.settings import FitReport, FitSettings
from matminer_unate.finetuning.targets import TargetScale
from matminer_unate.io.whole_files import remove_file
from matminer_unate.network.model_folder import plain

if TYPE_CHECKING:
    from torch import device, nn

    from matminer_unate.finetuning.networks import Crystals


SCALES_OF_COLUMNS = ("given_mean", "given_std")
"""What a network has of the columns that it is given."""


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
            remove_file(file)


class TrainingFiles:
    """Names of the checkpoints of trainings on the same crystals.

    Columns that are computed anew may differ by rounding, so that their values are not in the name:
    their scales, which are in the file, tell other ones.

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
        self.checkpoints, self._common = checkpoints, hashlib.sha256()
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
        known = None if crystals.columns is None else np.isfinite(crystals.columns)
        _add(self._common, known)

    def file(
        self, network: nn.Module, train: NDArray[np.int64], held_out: NDArray[np.int64], seed: int
    ) -> Path:
        """That of one training; ``network`` is as it begins."""
        digest = self._common.copy()
        digest.update(f"{seed} {network}".encode())
        state = network.state_dict().items()
        values = [v.cpu().numpy() for name, v in state if name not in SCALES_OF_COLUMNS]
        for array in (train, held_out, *values):
            _add(digest, array)
        for others in count():
            name = f"training-{digest.hexdigest()[:20]}{f'-{others}' if others else ''}.safetensors"
            file = self.checkpoints.folder / name
            if not file.exists() or _reads_like(file, network):
                break
        self.checkpoints.files.append(file)
        return file


def _reads_like(path: Path, network: nn.Module) -> bool:
    """Whether the network in a file reads columns on the same scales, up to rounding."""
    from safetensors import SafetensorError, safe_open

    own = network.state_dict()
    try:
        with safe_open(path, "numpy") as file:
            kept = [file.get_tensor(f"network/{name}") for name in SCALES_OF_COLUMNS]
    except (OSError, SafetensorError):  # which is told where it is read
        return True
    scales = [own[name].cpu().numpy() for name in SCALES_OF_COLUMNS]
    alike = zip(kept, scales, strict=True)
    return all(a.shape == b.shape and np.allclose(a, b, rtol=1e-4, atol=1e-5) for a, b in alike)


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
