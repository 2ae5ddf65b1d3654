"""The properties that classical regressors predict, and the random subsets they learn from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from feature_sets import read_table
from heads import Rows
from matminer_unate.errors import InputError

LABELS = (250, 500, 2000, 8000)
ALL = "all"

MAX_SITES = 20
"""A cell, in the large tables: half of the Materials Project file, four fifths of the others."""


@dataclass(frozen=True)
class Task:
    """A property.

    Attributes
    ----------
    file, column : str
        Parquet file and its column.
    title : str
        With the unit of the error.
    transform : callable
        Column → what is predicted.
    minimum : float
        Of what is predicted.
    max_sites : int
        A cell at most.
    classes : bool
        What is predicted is 0 or 1.
    """

    file: str
    column: str
    title: str
    transform: Callable[[NDArray[np.float64]], NDArray[np.float64]]
    minimum: float = -np.inf
    max_sites: int = MAX_SITES
    classes: bool = False

    @property
    def crystals(self) -> str:
        """Name of the crystals, the same for properties of the same ones."""
        return f"{Path(self.file).stem}-{self.max_sites}"

    @property
    def metric(self) -> Literal["MAE", "1-AUC"]:
        return "1-AUC" if self.classes else "MAE"


def _same(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return values


def _above_zero(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return (values > 0).astype(np.float64)


def _log10_of_piezoelectric_maximum(values: NDArray[np.float64]) -> NDArray[np.float64]:
    # Maxima go from 0 to 46 C/m². Below 0.05 they matter to nobody.
    return np.log10(values + 0.05)


MP, ELASTIC, JARVIS = "mp_mtcgcnn.parquet", "mp_elasticity.parquet", "jarvis_dft3d_partial.parquet"

TASKS: dict[str, Task] = {
    "gap": Task(MP, "band_gap_ev", "PBE gap (eV)", _same, 0.0),
    "metal": Task(MP, "band_gap_ev", "PBE gap above 0 (1 − ROC AUC)", _above_zero, classes=True),
    "formation_energy": Task(
        MP, "formation_energy_ev_per_atom", "formation energy (eV/atom)", _same
    ),
    "bulk_modulus": Task(ELASTIC, "bulk_modulus_vrh_gpa", "log₁₀ bulk modulus (GPa)", np.log10),
    "shear_modulus": Task(ELASTIC, "shear_modulus_vrh_gpa", "log₁₀ shear modulus (GPa)", np.log10),
    "piezoelectric": Task(
        "mp_piezoelectric.parquet",
        "piezo_eij_max_c_per_m2",
        "log₁₀(piezoelectric maximum + 0.05 C/m²)",
        _log10_of_piezoelectric_maximum,
        float(np.log10(0.05)),
    ),
    "tbmbj_gap": Task(JARVIS, "band_gap_tbmbj_ev", "TBmBJ gap (eV)", _same, 0.0),
    # So few that every size is welcome.
    "exfoliation": Task(
        JARVIS,
        "exfoliation_energy_mev_per_atom",
        "exfoliation energy (meV/atom)",
        _same,
        0.0,
        max_sites=1000,
    ),
}


def read_crystals(folder: Path, crystals: str, structures: bool = False) -> pd.DataFrame:
    """Crystals by their name (:attr:`Task.crystals`) that have any property of a task."""
    tasks = [t for t in TASKS.values() if t.crystals == crystals]
    columns = sorted({t.column for t in tasks})
    file = str(folder / tasks[0].file)
    return read_table(file, columns, tasks[0].max_sites, structures=structures)


def n_subsets(n_labels: int | str) -> int:
    """Random training subsets: small ones scatter more. There is one of all rows."""
    if n_labels == ALL:
        return 1
    return 5 if int(n_labels) <= 500 else 3


def task_rows(task: Task, table: pd.DataFrame, n_labels: int | str) -> list[Rows]:
    """Targets and parts, one for each random training subset.

    The smaller subset of a seed is the beginning of the larger ones.

    Raises
    ------
    InputError
        There are not as many labelled rows in ``train``.
    """
    known = table[task.column].notna().to_numpy()
    y = task.transform(table[task.column].to_numpy(dtype=np.float64))
    part = table["formula_split"].to_numpy()
    train, val, test = (np.flatnonzero(known & (part == p)) for p in ("train", "val", "test"))
    n = len(train) if n_labels == ALL else int(n_labels)
    if n > len(train):
        raise InputError(f"{task.title}: {n} labels wanted, {len(train)} there; ask for fewer")
    formulas = table["formula_reduced"].to_numpy()
    return [
        Rows(
            y,
            np.random.default_rng(seed).permutation(train)[:n],
            val,
            test,
            formulas,
            task.minimum,
            seed,
            task.classes,
        )
        for seed in range(n_subsets(n_labels))
    ]


def n_train(task: Task, table: pd.DataFrame) -> int:
    """Number of labelled training rows."""
    return int((table[task.column].notna() & (table["formula_split"] == "train")).sum())


def label_counts(task: Task, table: pd.DataFrame) -> list[int | str]:
    """The numbers of labels that the task has, then all of them."""
    return [*(n for n in LABELS if n < n_train(task, table)), ALL]
