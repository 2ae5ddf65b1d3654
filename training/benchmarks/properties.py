"""Labelled properties: file, column, transformation and least value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Property:
    """A property of the Materials Project's files: file, column, logarithm, least value, unit."""

    file: str
    column: str
    log10: bool
    minimum: float
    unit: str


PROPERTIES = {
    "band_gap": Property("mp_mtcgcnn.parquet", "band_gap_ev", False, 0.0, "eV"),
    "formation_energy": Property(
        "mp_mtcgcnn.parquet", "formation_energy_ev_per_atom", False, -np.inf, "eV/atom"
    ),
    "log_bulk_modulus": Property(
        "mp_elasticity.parquet", "bulk_modulus_vrh_gpa", True, -np.inf, "log10 GPa"
    ),
}

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
