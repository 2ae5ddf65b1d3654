"""Labelled properties: file, column, what is predicted of it, and the least value of that."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from matminer_unate.errors import InputError

Values = NDArray[np.float64]

MAX_SITES = 20
"""A cell, in the large tables: half of the Materials Project file, four fifths of the others."""


def _same(values: Values) -> Values:
    return values


@dataclass(frozen=True)
class Property:
    """A property of crystals.

    Attributes
    ----------
    file, column : str
        Parquet file and its column.
    title : str
        With the unit of the error.
    unit : str
        Of what is predicted.
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
    unit: str = ""
    transform: Callable[[Values], Values] = _same
    minimum: float = -np.inf
    max_sites: int = MAX_SITES
    classes: bool = False

    def targets(self, table: pd.DataFrame) -> Values:
        """What is predicted, (n_rows,); NaN where the column is empty or has no such value."""
        values = table[self.column].to_numpy(dtype=np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):
            found = self.transform(values)
        return np.where(np.isfinite(values) & np.isfinite(found), found, np.nan)

    @property
    def crystals(self) -> str:
        """Name of the crystals, the same for properties of the same ones."""
        return f"{Path(self.file).stem}-{self.max_sites}"

    @property
    def metric(self) -> Literal["MAE", "1-AUC"]:
        return "1-AUC" if self.classes else "MAE"


def _above_zero(values: Values) -> Values:
    return (values > 0).astype(np.float64)


def _log10_of_piezoelectric_maximum(values: Values) -> Values:
    # Maxima go from 0 to 46 C/m². Below 0.05 they matter to nobody.
    return np.log10(values + 0.05)


MP, ELASTIC, JARVIS = "mp_mtcgcnn.parquet", "mp_elasticity.parquet", "jarvis_dft3d_partial.parquet"

PROPERTIES: dict[str, Property] = {
    "gap": Property(MP, "band_gap_ev", "PBE gap (eV)", "eV", minimum=0.0),
    "metal": Property(
        MP, "band_gap_ev", "PBE gap above 0 (1 − ROC AUC)", transform=_above_zero, classes=True
    ),
    "formation_energy": Property(
        MP, "formation_energy_ev_per_atom", "formation energy (eV/atom)", "eV/atom"
    ),
    "bulk_modulus": Property(
        ELASTIC, "bulk_modulus_vrh_gpa", "log₁₀ bulk modulus (GPa)", "log10 GPa", np.log10
    ),
    "shear_modulus": Property(
        ELASTIC, "shear_modulus_vrh_gpa", "log₁₀ shear modulus (GPa)", "log10 GPa", np.log10
    ),
    "piezoelectric": Property(
        "mp_piezoelectric.parquet",
        "piezo_eij_max_c_per_m2",
        "log₁₀(piezoelectric maximum + 0.05 C/m²)",
        transform=_log10_of_piezoelectric_maximum,
        minimum=float(np.log10(0.05)),
    ),
    "tbmbj_gap": Property(JARVIS, "band_gap_tbmbj_ev", "TBmBJ gap (eV)", "eV", minimum=0.0),
    # So few that every size is welcome.
    "exfoliation": Property(
        JARVIS,
        "exfoliation_energy_mev_per_atom",
        "exfoliation energy (meV/atom)",
        "meV/atom",
        minimum=0.0,
        max_sites=1000,
    ),
}

OPTB88VDW_GAP = Property(JARVIS, "band_gap_optb88vdw_ev", "OptB88vdW gap (eV)", "eV", minimum=0.0)
"""Nothing is fitted to it: regressors of the PBE gap meet it as another functional."""


def require_numbers(names: Iterable[str]) -> None:
    """Raise InputError if a property is of classes."""
    for name in names:
        if PROPERTIES[name].classes:
            raise InputError(f"{name} is of classes, which have no error bars")
