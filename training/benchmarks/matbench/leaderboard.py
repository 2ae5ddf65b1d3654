"""Scores as MatBench computes them, and the file that its leaderboard takes."""

from __future__ import annotations

import gzip
import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import balanced_accuracy_score, f1_score, roc_auc_score

from benchmarks.matbench.models import Outcome
from benchmarks.matbench.tasks import N_FOLDS, Fold, TaskRows
from matminer_unate.errors import InputError
from matminer_unate.io.tables import DAMAGED_GZIP
from matminer_unate.io.whole_files import fresh_file

VERSION = "0.6"
"""Of the package whose format this is."""

BENCHMARK = "matbench_v0.1"

LEAST_FOR_PERCENT = 1e-5
"""Targets closer to 0 do not count in the mean absolute percentage error."""

NOTE = (
    "The weights were pretrained on Materials Project structures; structures of the test folds may "
    "be among them. mp_v3 saw no label; mp_v2_taught learned from atom features of CHGNet, which "
    "was trained on energies, forces and moments of the Materials Project."
)

Vector = NDArray[np.float64]


def scores(y: Vector, predictions: Vector, classes: bool) -> dict[str, float]:
    """Scores of a fold, by the names of MatBench.

    Its ``rocauc`` is of labels at 0.5, not of probabilities (issues 137 and 181 of
    materialsproject/matbench), and so are the entries of its leaderboard.
    """
    if not classes:
        errors = np.abs(predictions - y)
        counted = np.abs(y) > LEAST_FOR_PERCENT
        return {
            "mae": float(errors.mean()),
            "rmse": float(np.sqrt((errors**2).mean())),
            "mape": float((errors[counted] / np.abs(y[counted])).mean()),
            "max_error": float(errors.max()),
        }
    true, labels = y > 0.5, predictions > 0.5
    return {
        "accuracy": float((true == labels).mean()),
        "balanced_accuracy": float(balanced_accuracy_score(true, labels)),
        "f1": float(f1_score(true, labels)),
        "rocauc": float(roc_auc_score(true, labels)),
    }


class Submission:
    """Predictions of test rows, to be written as ``MatbenchBenchmark.to_file`` does.

    Where the local rows are not all the official ones, the file lacks the others, and MatBench
    does not take it: a submission needs the data of the package. What other commands have written
    stays: other tasks, and other folds with the same options.

    Parameters
    ----------
    path : Path
        ``results.json.gz``
    model : str
    """

    def __init__(self, path: Path, model: str) -> None:
        self.path, self.model = path, model
        self.tasks: dict[str, Any] = self._written()
        self.missing: dict[str, int] = {}

    def add(self, rows: TaskRows, fold: Fold, found: Outcome, options: dict[str, Any]) -> None:
        """Record a test fold, and write."""
        self.tasks = self._written()
        name = f"matbench_{rows.name}"
        task = self.tasks.setdefault(
            name,
            {
                "@module": "matbench.task",
                "@class": "MatbenchTask",
                "benchmark_name": BENCHMARK,
                "dataset_name": name,
                "results": {},
            },
        )
        ids = rows.ids[fold.judged].tolist()
        predictions = found.predictions
        if rows.classes:
            predictions = predictions.clip(0, 1)
        # Of its own share in the mean each fold may have another.
        own = json.loads(json.dumps(options)) | {"network_share": None}
        task["results"] = {
            key: before
            for key, before in task["results"].items()
            if before["parameters"] | {"network_share": None} == own
        }
        task["results"][f"fold_{fold.number}"] = {
            "data": dict(zip(ids, predictions.tolist(), strict=True)),
            "parameters": own | {"network_share": found.facts.get("network_share")},
            "scores": scores(rows.y[fold.judged], predictions, rows.classes),
        }
        self.missing[rows.name] = rows.n_official - len(rows)
        self._write()

    def _written(self) -> dict[str, Any]:
        if not self.path.exists():
            return {}
        try:
            content = json.loads(gzip.decompress(self.path.read_bytes()))
            return dict(content["tasks"])
        except (*DAMAGED_GZIP, ValueError, KeyError, TypeError) as e:
            raise InputError(
                f"{self.path} is no file of MatBench results ({type(e).__name__}: {e}); delete it"
            ) from e

    def _write(self) -> None:
        content: dict[str, Any] = {
            "@module": "matbench.bench",
            "@class": "MatbenchBenchmark",
            "version": VERSION,
            "tasks": self.tasks,
            "user_metadata": {"algorithm": self.model, "note": NOTE},
            "benchmark_name": BENCHMARK,
            "datestamp": datetime.now(UTC).strftime("%Y.%m.%d %H:%M.%S"),
        }
        content["hash"] = content_hash(content)
        text = json.dumps(content, sort_keys=True).encode()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with fresh_file(self.path) as fresh:
            fresh.write_bytes(gzip.compress(text, mtime=0))

    def report(self) -> list[str]:
        """What the file holds, and what is missing for a submission, a line a task."""
        lines = []
        for name, task in self.tasks.items():
            short = name.removeprefix("matbench_")
            n_folds, missing = len(task["results"]), self.missing.get(short)
            line = f"{self.path}: {short}, {n_folds} of {N_FOLDS} folds"
            if missing is None:
                line += ", written before"
            elif missing:
                line += f", {missing} official rows are missing"
            lines.append(line)
        return lines


def content_hash(content: dict[str, Any]) -> str:
    """SHA-256 by which MatBench sees whether a file was changed: of the JSON in sorted keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
