"""Blocks of columns, computed once for each set of crystals, and the feature sets made of them."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.columns.own_features import OWN_BLOCKS, untrained
from benchmarks.columns.peer_features import chgnet, megnet_elements, soap, structural
from benchmarks.columns.regressors import Matrix
from matminer_unate import UnateFeaturizer
from matminer_unate.io.whole_files import fresh_file
from matminer_unate.network.weights import read_config

PEER_BLOCKS: dict[str, Callable[[pd.DataFrame], Matrix]] = {
    "megnet-elements": megnet_elements,
    "structural": structural,
    "soap": soap,
    "chgnet": chgnet,
}


class Blocks:
    """Blocks of columns of a table of crystals, kept in a folder.

    Those of weights are computed anew when the weights change; delete the folder when the code of
    other blocks did.

    Parameters
    ----------
    folder : Path
        One file a block, and one with the seconds it took.
    weights : list of str
        Names or folders of UNATE weights. The untrained network is like the first of them.
    """

    def __init__(self, folder: Path, weights: list[str]) -> None:
        self.folder = folder
        self.weights = {Path(w).name: w for w in weights}
        # Read once: a run that has started stays with the weights it has started with.
        self.versions = {name: _version(w) for name, w in self.weights.items()}
        # An untrained network has the shape and the inputs of a trained one.
        self.versions["untrained"] = _version(weights[0])

    def path(self, block: str) -> Path:
        """Where the columns are, if they have been computed."""
        return self.folder / f"{block}{self.versions.get(block, '')}.npy"

    def compute(self, block: str, table: pd.DataFrame) -> None:
        """Compute and keep a block, unless it is there."""
        path = self.path(block)
        if path.exists():
            return
        started = time.process_time()
        columns = self._build(block, table)
        seconds = (time.process_time() - started) * 1000 / len(table)
        path.parent.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256(columns.tobytes()).hexdigest()[:16]
        note = {"cpu_s_per_1000": seconds, "n_crystals": len(table), "digest": digest}
        path.with_suffix(".json").write_text(json.dumps(note), encoding="utf-8")
        with fresh_file(path) as fresh, fresh.open("wb") as file:
            np.save(file, columns)

    def _build(self, block: str, table: pd.DataFrame) -> Matrix:
        if block in self.weights:
            return UnateFeaturizer(self.weights[block]).transform(table["structure"])
        if block == "untrained":
            return untrained(table, next(iter(self.weights.values())))
        if block in OWN_BLOCKS:
            return OWN_BLOCKS[block](table["structure"])
        return PEER_BLOCKS[block](table)

    def join(self, blocks: tuple[str, ...]) -> Matrix:
        """Blocks side by side, (n_crystals, n_columns)."""
        return np.hstack([np.load(self.path(b)) for b in blocks])

    def seconds(self, blocks: tuple[str, ...]) -> float:
        """CPU seconds that 1,000 crystals took, on one core."""
        return float(sum(self._note(b)["cpu_s_per_1000"] for b in blocks))

    def digest(self, blocks: tuple[str, ...]) -> str:
        """Changes when any column does."""
        digests = " ".join(self._note(b)["digest"] for b in blocks)
        return hashlib.sha256(digests.encode()).hexdigest()[:12]

    def _note(self, block: str) -> dict[str, Any]:
        text = self.path(block).with_suffix(".json").read_text(encoding="utf-8")
        note: dict[str, Any] = json.loads(text)
        return note


def _version(weights: str) -> str:
    n_columns = len(UnateFeaturizer(weights).feature_labels())
    return f"-{read_config(weights).sha256[:8]}-{n_columns}"
