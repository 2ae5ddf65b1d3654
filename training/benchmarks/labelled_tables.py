"""Tables of labelled crystals, and the crystals of their rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from pymatgen.core import Lattice, Structure

from matminer_unate.crystals.structures import CrystalArrays
from matminer_unate.errors import InputError


def read_labelled(path: Path, columns: Sequence[str], max_sites: int) -> pd.DataFrame:
    """Rows with a value in any of the columns and few enough sites, with their numbers in the file.

    Raises
    ------
    InputError
        There is no such file.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; --data names the folder of the parquet files")
    table = pd.read_parquet(path)
    return table[(table["n_sites"] <= max_sites) & table[list(columns)].notna().any(axis=1)]


def arrays_of_rows(table: pd.DataFrame) -> list[CrystalArrays]:
    """Lattice (Å), fractional coordinates and atomic numbers of every row."""
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


def structure_of(arrays: CrystalArrays) -> Structure:
    """The crystal as users have it."""
    lattice, coords, numbers = arrays
    return Structure(Lattice(lattice), numbers.tolist(), coords)


def structures_of(table: pd.DataFrame) -> list[Structure]:
    """The crystals of all rows."""
    return structures_of_arrays(arrays_of_rows(table))


def structures_of_arrays(crystals: Sequence[CrystalArrays]) -> list[Structure]:
    """Crystals as users have them."""
    return [structure_of(arrays) for arrays in crystals]
