"""Official matbench tasks and folds, through the ``matbench`` package's own classes.

    python training/classical.py --matbench matbench_dielectric matbench_phonons \\
        --out matbench.json

``UnateRegressor`` is fitted to the training rows of every fold and predicts the test rows. The file
that is written is matbench's own; packed with gzip it is ready for the leaderboard.

The package pins versions of 2022 (matminer 0.7.4, scikit-learn 1.0.1), but works with those of
today: ``pip install --no-deps matbench==0.6``. It downloads the data of a task on first use.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import clone

from matminer_unate.errors import InputError
from matminer_unate.network.weights import check_weights
from matminer_unate.regressors.unate_regressor import UnateRegressor

NOTE = (
    "The weights were pretrained on Materials Project structures; structures of the test folds may "
    "be among them. mp_v2 saw no label; mp_v2_taught learned from atom features of CHGNet, which "
    "was trained on energies, forces and moments of the Materials Project."
)


def run(names: Sequence[str], model: UnateRegressor, out: str) -> None:
    """Run tasks and write matbench's results file.

    Parameters
    ----------
    names : sequence of str
        Tasks, such as ``matbench_dielectric``.
    model : UnateRegressor
        Not fitted; every fold gets a fresh one.
    out : str
        JSON file.

    Raises
    ------
    InputError
        An unknown task, or one whose inputs are compositions.
    ImportError
        matbench is not installed.
    """
    try:
        from matbench.bench import MatbenchBenchmark
    except ImportError as e:
        raise ImportError(
            "--matbench needs the matbench package: pip install --no-deps matbench==0.6"
        ) from e
    try:
        benchmark = MatbenchBenchmark(autoload=False, subset=list(names))
    except KeyError as e:
        raise InputError(f"matbench: {e.args[0]}") from e
    for task in benchmark.tasks:
        if task.metadata.input_type != "structure":
            raise InputError(
                f"{task.dataset_name} has compositions only, and these columns need structures; "
                "choose a task that has them"
            )
    for task in benchmark.tasks:
        task.load()
        record_folds(task, model)
        print(f"{task.dataset_name}: {task.scores}", flush=True)
    weights = ", ".join(Path(w).name for w in check_weights(model.weights))
    benchmark.add_metadata({"algorithm": "UnateRegressor", "weights": weights, "note": NOTE})
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    benchmark.to_file(out)
    print(f"wrote {out}")


def record_folds(task: Any, model: UnateRegressor) -> None:
    """Predict the test rows of every fold of a loaded task, and record them.

    Classes are regressed on as 0 and 1, and predictions recorded as probabilities; error bars go
    with regression only.
    """
    # Columns depend on a row alone, so those of all rows are computed at once.
    columns = model.featurize(task.df[task.metadata.input_type])
    classes = task.metadata.task_type == "classification"
    for fold in task.folds:
        inputs, targets = task.get_train_and_val_data(fold)
        unknown = task.get_test_data(fold, include_target=False)
        fitted = clone(model).fit(columns.loc[inputs.index], np.asarray(targets, dtype=float))
        predictions, std = fitted.predict(columns.loc[unknown.index], return_std=True)
        if classes:
            task.record(fold, predictions.clip(0, 1), params={})
        else:
            task.record(fold, predictions, std=std, params={})
        print(f"{task.dataset_name}: fold {fold} done", flush=True)
