"""The columns of many crystals, computed in parts that are kept, so that a killed run goes on."""

from __future__ import annotations

import hashlib
import json
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.labelled_tables import structures_of_arrays
from harness.jobs import run_jobs
from matminer_unate.crystals.structures import CrystalArrays
from matminer_unate.errors import UnateWarning
from matminer_unate.io.whole_files import fresh_file
from matminer_unate.network.weights import check_weights, checksums

PART_ROWS = 200
"""Crystals of a part: half a minute of work, and a small file."""

SECONDS = "cpu_s"
"""Column of the CPU seconds that a crystal took, the mean over its part."""


class ColumnStore:
    """Columns of crystals by their ids, as ``UnateRegressor.featurize`` gives them.

    They lie in a folder whose name tells the set of crystals, the names of the columns and the
    weights. Delete it when the code of the columns changed and their names did not.

    Parameters
    ----------
    work : Path
    crystal_set : str
    model : UnateRegressor or UnateClassifier
        Whose columns.
    """

    def __init__(self, work: Path, crystal_set: str, model: Any) -> None:
        names = model._recipe().names()
        what = json.dumps([names, checksums(check_weights(model.weights))])
        self.digest = hashlib.sha256(what.encode()).hexdigest()[:8]
        self.folder = work / "columns" / f"{crystal_set}-{self.digest}"
        self._kind: Any = type(model)
        self._options = model.get_params() | {"on_error": "nan", "progress": False}

    def compute(
        self,
        ids: NDArray[Any],
        crystals: Callable[[NDArray[np.int64]], list[CrystalArrays]],
        n_processes: int,
    ) -> None:
        """Compute the columns of crystals that are not there yet.

        Parameters
        ----------
        ids : (n,) array of str
        crystals : callable
            Positions in ``ids`` → crystals.
        n_processes : int
        """
        missing = np.flatnonzero(~pd.Index(ids).isin(self.known()))
        if not len(missing):
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        arrays = crystals(missing)
        jobs = [
            (
                self.folder,
                ids[missing[k : k + PART_ROWS]],
                arrays[k : k + PART_ROWS],
                self._kind,
                self._options,
            )
            for k in range(0, len(missing), PART_ROWS)
        ]
        started = time.perf_counter()
        for done, (_, job) in enumerate(run_jobs(write_part, jobs, n_processes), 1):
            job.result()
            left = (time.perf_counter() - started) / done * (len(jobs) - done)
            print(f"{done}/{len(jobs)} parts of columns, {left / 60:.0f} min left", flush=True)

    def known(self) -> set[str]:
        """Ids of the crystals that are there."""
        parts = [pd.read_parquet(path, columns=[SECONDS]) for path in self._parts()]
        return {identifier for part in parts for identifier in part.index}

    def read(self, ids: NDArray[Any], names: list[str] | None = None) -> tuple[pd.DataFrame, float]:
        """Columns of some crystals, and the CPU seconds that all their columns took.

        A crystal that could not be described is a row of NaN.

        Parameters
        ----------
        ids : (n,) array of str
        names : list of str, optional
            Of the columns; None for all.
        """
        wanted, parts = pd.Index(ids), []
        for path in self._parts():
            part = pd.read_parquet(path, columns=None if names is None else [*names, SECONDS])
            parts.append(part[part.index.isin(wanted)])
        table = pd.concat(parts)
        # Two runs at a time may have computed a crystal twice.
        table = table[~table.index.duplicated()].loc[wanted]
        return table.drop(columns=SECONDS), float(table[SECONDS].sum())

    def _parts(self) -> list[Path]:
        return sorted(self.folder.glob("*.parquet"))


def write_part(
    folder: Path,
    ids: Sequence[str],
    crystals: Sequence[CrystalArrays],
    kind: Any,
    options: dict[str, Any],
) -> None:
    """Compute and keep the columns of some crystals; under its name only when it is whole."""
    started = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnateWarning)  # of single atoms, in each of many parts
        table = kind(**options).featurize(structures_of_arrays(crystals))
    table[SECONDS] = (time.process_time() - started) / len(table)
    table.index = pd.Index(ids, name="id")
    name = hashlib.sha256("".join(ids).encode()).hexdigest()[:16]
    with fresh_file(folder / f"{name}.parquet") as fresh:
        table.to_parquet(fresh, compression="zstd")
