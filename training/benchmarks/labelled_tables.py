"""Tables of labelled crystals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from pymatgen.core import Lattice, Structure

from matminer_unate.crystals.structures import CrystalArrays
from matminer_unate.errors import InputError


def read_table(
    path: str,
    target: str | list[str],
    max_sites: int,
    parts: tuple[str, ...] = ("train", "val", "test"),
    structures: bool = True,
) -> pd.DataFrame:
    """Rows with a value of any target and few enough sites, with a ``structure`` column."""
    table = pd.read_parquet(path)
    targets = [target] if isinstance(target, str) else target
    wanted = (table["n_sites"] <= max_sites) & table[targets].notna().any(axis=1)
    table = table[wanted & table["formula_split"].isin(parts)].reset_index(drop=True)
    if not structures:
        return table
    table["structure"] = [
        Structure(Lattice(np.reshape(a, (3, 3))), z, np.reshape(x, (-1, 3)))
        for a, z, x in zip(table["lattice"], table["species"], table["frac_coords"], strict=True)
    ]
    return table


MAX_SITES = 20


# -- the parquet files ----------------------------------------------------------------------------


def read_file(path: Path, column: str) -> pd.DataFrame:
    if not path.is_file():
        raise InputError(f"{path}: no such file; --data names the folder of the parquet files")
    table = pd.read_parquet(path)
    return table[(table["n_sites"] <= MAX_SITES) & table[column].notna()]


def arrays_of_row(table: pd.DataFrame) -> list[CrystalArrays]:
    return [
        (
            np.reshape(lattice, (3, 3)).astype(np.float64),
            np.reshape(coords, (-1, 3)).astype(np.float64),
            np.asarray(species, dtype=np.int64),
        )
        for lattice, coords, species in zip(
            table["lattice"], table["frac_coords"], table["species"], strict=True
        )
    ]
