"""Official MatBench tasks: targets and folds of their rows, and the crystals.

From parquet files, which may lack a few of the official rows, or from the ``matbench`` package,
whose folds are used with the data that matminer has.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.labelled_tables import arrays_of_rows
from matminer_unate.crystals.structures import CrystalArrays, crystal_arrays
from matminer_unate.errors import InputError

N_FOLDS = 5

Index = NDArray[np.int64]


@dataclass(frozen=True)
class Task:
    """A task of MatBench v0.1 (Dunn et al. 2020, doi:10.1038/s41524-020-00406-3).

    Attributes
    ----------
    title, unit : str
    file : str
        Parquet file with the rows that are there.
    column, fold : str
        Its columns of the target and of the test fold, 0 to 4.
    identifier : str
        Its column whose number is that of the row in the official data.
    n_official : int
        Official rows.
    classes : bool
        The target is 0 or 1.
    """

    title: str
    unit: str
    file: str
    column: str
    n_official: int
    fold: str = "fold"
    identifier: str = "matbench_id"
    classes: bool = False


ELASTIC, GAP = "matbench_elastic.parquet", "matbench_mp_gap.parquet"

TASKS: dict[str, Task] = {
    "log_kvrh": Task("bulk modulus", "log₁₀ GPa", ELASTIC, "log10_k_vrh", 10_987),
    "log_gvrh": Task("shear modulus", "log₁₀ GPa", ELASTIC, "log10_g_vrh", 10_987),
    "perovskites": Task(
        "formation energy of perovskites",
        "eV a cell",
        "matbench_perovskites.parquet",
        "e_form_ev_per_cell",
        18_928,
    ),
    "mp_gap": Task("PBE gap", "eV", GAP, "band_gap_pbe_ev", 106_113),
    "mp_is_metal": Task(
        "metal or not",
        "area under the ROC curve",
        GAP,
        "is_metal",
        106_113,
        "fold_is_metal",
        "matbench_id_is_metal",
        classes=True,
    ),
}


@dataclass(frozen=True)
class TaskRows:
    """Rows of a task.

    Attributes
    ----------
    name : str
        Without ``matbench_``.
    classes : bool
    n_official : int
    ids : (n_rows,) array of str
        Official, such as ``mb-log-kvrh-00001``.
    crystal_set : str
        Name of the crystals; tasks of the same ones share it.
    crystal_ids : (n_rows,) array of str
        Of each crystal in that set.
    y : (n_rows,) float64
    fold : (n_rows,)
        The fold whose test row it is.
    strict : (n_rows,) bool
        Whether crystal and target surely belong together.
    crystals : callable
        Row numbers → their lattices, coordinates and atomic numbers.
    """

    name: str
    classes: bool
    n_official: int
    ids: NDArray[Any]
    crystal_set: str
    crystal_ids: NDArray[Any]
    y: NDArray[np.float64]
    fold: NDArray[np.int64]
    strict: NDArray[np.bool_]
    crystals: Callable[[Index], list[CrystalArrays]]

    def __len__(self) -> int:
        return len(self.ids)

    def official(self, fold: int) -> Fold:
        """Training and test rows of an official fold."""
        inside = self.fold == fold
        return Fold(fold, np.flatnonzero(~inside), np.flatnonzero(inside), "test")


@dataclass(frozen=True)
class Fold:
    """Rows to learn from, and rows to judge on.

    Attributes
    ----------
    number : int
    train, judged : (n,) row numbers
    part : {"test", "val"}
        What is judged on.
    """

    number: int
    train: Index
    judged: Index
    part: str

    def inner(self, seed: int, n_train: int | None, n_val: int | None) -> Self:
        """A part of the training rows to learn from, and another to judge on.

        Drawn as the official folds are: row by row, whatever the formula. Of one seed, the
        judged rows are the same for all ``n_train``, and smaller trainings begin larger ones.

        Parameters
        ----------
        seed : int
        n_train : int or None
            None for all that are left.
        n_val : int or None
            Rows to judge on; None for a tenth, and at most ``MAX_VAL``.
        """
        mixed = np.random.default_rng([seed, self.number]).permutation(self.train)
        n_val = min(MAX_VAL, len(mixed) // 10) if n_val is None else n_val
        if n_val + (n_train or 1) > len(mixed):
            raise InputError(
                f"fold {self.number} has {len(mixed)} training rows, too few for --n-train "
                f"{n_train} and {n_val} to judge on; lower one"
            )
        rest = mixed[n_val:]
        return replace(self, train=rest[:n_train], judged=mixed[:n_val], part="val")


MAX_VAL = 2000
"""Training rows that are judged on at most where no number is given."""


def read_local(folder: Path, name: str) -> TaskRows:
    """A task from the parquet files.

    Raises
    ------
    InputError
        A file or column is missing.
    """
    task, path = TASKS[name], folder / TASKS[name].file
    if not path.is_file():
        raise InputError(f"{path}: no such file; --data names the folder of the parquet files")
    table = pd.read_parquet(path)
    missing = {task.column, task.fold, task.identifier} - set(table.columns)
    if missing:
        raise InputError(f"{path} has no column {missing.pop()!r}; is it the file of {name}?")
    numbers = table[task.identifier].str.rpartition("-")[2]
    by_key = "lattice" not in table  # the crystals are in other files
    return TaskRows(
        name=name,
        classes=task.classes,
        n_official=task.n_official,
        ids=np.array([f"{id_prefix(name)}-{number}" for number in numbers], dtype=object),
        crystal_set=path.stem,
        crystal_ids=table["matbench_id"].to_numpy(dtype=object),
        y=table[task.column].to_numpy(dtype=np.float64),
        fold=table[task.fold].to_numpy(dtype=np.int64),
        strict=_strict(table),
        crystals=(
            (lambda rows: _crystals_by_key(folder, table.iloc[rows]))
            if by_key
            else (lambda rows: arrays_of_rows(table.iloc[rows]))
        ),
    )


def _strict(table: pd.DataFrame) -> NDArray[np.bool_]:
    if "strict" in table:
        return table["strict"].to_numpy(dtype=bool)
    if "label_order" in table:  # of the two crystals that A and B exchange
        return (table["label_order"] == "certain").to_numpy()
    return np.ones(len(table), dtype=bool)


def id_prefix(name: str) -> str:
    """Of the official row ids: ``mb-log-kvrh``."""
    return f"mb-{name.replace('_', '-')}"


def _crystals_by_key(folder: Path, keys: pd.DataFrame) -> list[CrystalArrays]:
    """Crystals of other files of the folder, by file and id."""
    found: dict[tuple[str, str], CrystalArrays] = {}
    for file, group in keys.groupby("file"):
        columns = ["material_id", "lattice", "frac_coords", "species"]
        table = pd.read_parquet(folder / f"{file}.parquet", columns=columns)
        table = table[table["material_id"].isin(group["source_id"])]
        names = [(str(file), identifier) for identifier in table["material_id"]]
        found |= dict(zip(names, arrays_of_rows(table), strict=True))
    wanted = list(zip(keys["file"], keys["source_id"], strict=True))
    lost = [key for key in wanted if key not in found]
    if lost:
        raise InputError(f"{folder / lost[0][0]}.parquet has no crystal {lost[0][1]!r}")
    return [found[key] for key in wanted]


def read_installed(name: str) -> TaskRows:
    """A task from the installed package: its folds, and the data from matminer.

    matminer downloads the data of a task on first use. The package itself is not imported: it pins
    versions of 2022, and the script has its name.

    Raises
    ------
    ImportError
        The package is not installed.
    InputError
        Its files have no such task, or the task is of compositions.
    """
    information, folds = _package_file("dataset_metadata"), _package_file("validation")["splits"]
    dataset = f"matbench_{name}"
    if dataset not in information:
        tasks = ", ".join(d.removeprefix("matbench_") for d in information)
        raise InputError(f"matbench has no task {name!r}, but {tasks}")
    about = information[dataset]
    if about["input_type"] != "structure":
        raise InputError(f"{name} has compositions only, and these models need structures")
    from matminer.datasets import load_dataset

    frame = load_dataset(dataset)
    digits = len(str(len(frame)))
    ids = [f"{id_prefix(name)}-{k + 1:0{digits}d}" for k in range(len(frame))]
    row_of = {identifier: row for row, identifier in enumerate(ids)}
    fold = np.full(len(ids), -1)
    for number in range(N_FOLDS):
        fold[[row_of[identifier] for identifier in folds[f"fold_{number}"]["test"]]] = number
    structures = list(frame["structure"])
    return TaskRows(
        name=name,
        classes=about["task_type"] == "classification",
        n_official=len(ids),
        ids=np.array(ids, dtype=object),
        crystal_set=f"{dataset}-installed",
        crystal_ids=np.array(ids, dtype=object),
        y=frame[about["target"]].to_numpy(dtype=np.float64),
        fold=fold,
        strict=np.ones(len(ids), dtype=bool),
        crystals=lambda rows: [crystal_arrays(structures[row]) for row in rows],
    )


def _package_file(kind: str) -> dict[str, Any]:
    try:
        package = distribution("matbench")
    except PackageNotFoundError as e:
        raise ImportError(
            "without --data the matbench package is needed: pip install --no-deps matbench==0.6"
        ) from e
    path = Path(str(package.locate_file(f"matbench/matbench_v0.1_{kind}.json")))
    if not path.is_file():
        raise InputError(f"{path}: no such file; install matbench==0.6")
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content
