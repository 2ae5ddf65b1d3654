"""The crystals of a property, and the random subsets that classical regressors learn from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.columns.regressors import Rows
from benchmarks.labelled_tables import read_labelled, structures_of
from benchmarks.properties import PROPERTIES, Property
from matminer_unate.errors import InputError

LABELS = (250, 500, 2000, 8000)
ALL = "all"


def read_property_table(folder: Path, crystals: str, structures: bool = False) -> pd.DataFrame:
    """Crystals by their name (:attr:`Property.crystals`) that have any of their properties."""
    properties = [p for p in PROPERTIES.values() if p.crystals == crystals]
    columns = sorted({p.column for p in properties})
    table = read_labelled(folder / properties[0].file, columns, properties[0].max_sites)
    table = table.reset_index(drop=True)
    return table.assign(structure=structures_of(table)) if structures else table


def n_subsets(n_labels: int | str) -> int:
    """Random training subsets: small ones scatter more. There is one of all rows."""
    if n_labels == ALL:
        return 1
    return 5 if int(n_labels) <= 500 else 3


def parts_of(property_: Property, table: pd.DataFrame) -> list[np.ndarray]:
    """Positions of the labelled rows of train, val and test."""
    known = np.isfinite(property_.targets(table))
    split = table["formula_split"].to_numpy()
    return [np.flatnonzero(known & (split == part)) for part in ("train", "val", "test")]


def property_rows(property_: Property, table: pd.DataFrame, n_labels: int | str) -> list[Rows]:
    """Targets and parts, one for each random training subset.

    The smaller subset of a seed is the beginning of the larger ones.

    Raises
    ------
    InputError
        There are not as many labelled rows in ``train``.
    """
    y = property_.targets(table)
    train, val, test = parts_of(property_, table)
    n = len(train) if n_labels == ALL else int(n_labels)
    if n > len(train):
        raise InputError(f"{property_.title}: {n} labels wanted, {len(train)} there; ask for fewer")
    formulas = table["formula_reduced"].to_numpy()
    return [
        Rows(
            y,
            np.random.default_rng(seed).permutation(train)[:n],
            val,
            test,
            formulas,
            property_.minimum,
            seed,
            property_.classes,
        )
        for seed in range(n_subsets(n_labels))
    ]


def n_train(property_: Property, table: pd.DataFrame) -> int:
    """Number of labelled training rows."""
    return len(parts_of(property_, table)[0])


def label_counts(property_: Property, table: pd.DataFrame) -> list[int | str]:
    """The numbers of labels that the property has, then all of them."""
    return [*(n for n in LABELS if n < n_train(property_, table)), ALL]
