"""Numbers that a change of the code's layout must not change.

    python tests/support/golden.py            # how far the code is from the file
    python tests/support/golden.py --remake   # where numbers were meant to change

Kept are, of each featurizer, eight random projections of the columns (in units of their spreads) of
the shipped semiconductors and, where ``../shared/data`` is there, of 1,000 crystals of MP-20; and
predictions of a small ``UnateRegressor``. On the machine that made the file they repeat to 1e-6.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from places import RECORDED, SHARED
from pymatgen.core import Lattice, Structure

from matminer_unate import (
    CellStats,
    SiteDescriptorStats,
    TightBindingStats,
    UnateFeaturizer,
    UnateRegressor,
)
from matminer_unate.datasets import load_semiconductors

FILE = RECORDED / "golden.parquet"
DATA = SHARED / "mp20_val_test.parquet"

N_PROJECTIONS = 8

FEATURIZERS: dict[str, Any] = {
    "mp_v3": UnateFeaturizer("mp_v3", device="cpu", on_error="nan"),
    "mp_v2_taught": UnateFeaturizer("mp_v2_taught", device="cpu", on_error="nan"),
    "site descriptors": SiteDescriptorStats(descriptors="all", on_error="nan"),
    "cell": CellStats(on_error="nan"),
    "tight binding": TightBindingStats(on_error="nan"),
}


def mp20() -> list[Structure]:
    """1,000 crystals, or none where the data is not there."""
    if not DATA.is_file():
        return []
    table = pd.read_parquet(DATA, columns=["lattice", "frac_coords", "species", "n_sites"])
    table = table[table["n_sites"] <= 20].sample(1000, random_state=0)
    return [
        Structure(
            Lattice(np.reshape(row.lattice, (3, 3)).astype(float)),
            row.species,
            np.reshape(row.frac_coords, (-1, 3)).astype(float),
        )
        for row in table.itertuples()
    ]


def projections(columns: NDArray[Any], spread: NDArray[Any]) -> NDArray[np.float64]:
    """(n_rows, N_PROJECTIONS) of columns in units of their spread."""
    directions = np.random.default_rng(0).normal(size=(columns.shape[1], N_PROJECTIONS))
    scaled = columns.astype(np.float64) / np.where(spread > 1e-6, spread, 1.0)
    return scaled @ directions / columns.shape[1] ** 0.5


def compute() -> Iterator[tuple[str, NDArray[np.float64]]]:
    """Name and numbers, (n_rows, N_PROJECTIONS), of each part."""
    semiconductors, others = list(load_semiconductors()["structure"]), mp20()
    for name, featurizer in FEATURIZERS.items():
        columns = featurizer.transform(semiconductors)
        spread = np.nanstd(columns.astype(np.float64), axis=0)
        yield f"{name}: semiconductors", projections(columns, spread)
        if others:
            yield f"{name}: MP-20", projections(featurizer.transform(others), spread)
    yield "UnateRegressor", predictions()


def predictions() -> NDArray[np.float64]:
    """Predictions and deviations of the last 29 semiconductors by a model of the first 80."""
    table = load_semiconductors()
    model = UnateRegressor("mp_v3", n_folds=3, device="cpu", random_state=0, progress=False)
    model.fit(table["structure"][:80], table["gap_ev"][:80])
    return np.column_stack(model.predict(table["structure"][80:], return_std=True))


def read() -> dict[str, NDArray[np.float64]]:
    """The file, part by part."""
    table = pd.read_parquet(FILE)
    return {
        str(part): rows.drop(columns="part").dropna(axis=1, how="all").to_numpy(np.float64)
        for part, rows in table.groupby("part", sort=False)
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--remake", action="store_true", help="write the file anew")
    remake = parser.parse_args().remake
    found = dict(compute())
    if remake:
        parts = [pd.DataFrame(values).assign(part=part) for part, values in found.items()]
        table = pd.concat(parts, ignore_index=True)
        table.columns = table.columns.astype(str)
        table.to_parquet(FILE, compression="zstd")
    for part, kept in read().items():
        if part in found:
            print(f"{part:<40}{np.nanmax(np.abs(found[part] - kept)):.2g}")


if __name__ == "__main__":
    main()
