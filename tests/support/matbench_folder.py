"""A folder of small files like those that hold MatBench's tasks, for the tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from pymatgen.core import Structure
from small_corpora import prototypes

N_ROWS = 60


def write_tasks(folder: Path) -> Path:
    """Moduli of prototypes, the same in files of keys with gaps, and "perovskites"."""
    structures = list(prototypes()[:N_ROWS])
    numbers = [f"{k + 1:05d}" for k in range(N_ROWS)]
    fold = np.arange(N_ROWS) % 5
    mean = np.array([np.mean(s.atomic_numbers) for s in structures])
    crystals = crystal_columns(structures)
    elastic = crystals.assign(
        matbench_id=[f"mb-log-{n}" for n in numbers],
        log10_k_vrh=(mean / 40).astype(np.float32),
        log10_g_vrh=(mean / 50).astype(np.float32),
        fold=fold,
        strict=np.arange(N_ROWS) % 4 > 0,
    )
    elastic.to_parquet(folder / "matbench_elastic.parquet")
    perovskites = crystals.assign(
        matbench_id=[f"mb-perovskites-{n}" for n in numbers],
        e_form_ev_per_cell=mean.astype(np.float32),
        fold=fold,
        label_order=np.where(fold > 0, "certain", "inferred"),
    )
    perovskites.to_parquet(folder / "matbench_perovskites.parquet")
    half = N_ROWS // 2
    named = crystals.assign(material_id=[f"mp-{k}" for k in range(N_ROWS)])
    # In another order than the keys.
    named.iloc[:half][::-1].to_parquet(folder / "mp_structures.parquet")
    named.iloc[half:].to_parquet(folder / "mp_mtcgcnn.parquet")
    gap = np.where(np.arange(N_ROWS) % 3 > 0, mean / 10, 0.0).astype(np.float32)
    keys = pd.DataFrame(
        {
            "matbench_id": [f"mb-mp-gap-0{n}" for n in numbers],
            "matbench_id_is_metal": [f"mb-mp-is-metal-0{n}" for n in numbers],
            "file": np.where(np.arange(N_ROWS) < half, "mp_structures", "mp_mtcgcnn"),
            "source_id": named["material_id"],
            "formula_reduced": crystals["formula_reduced"],
            "band_gap_pbe_ev": gap,
            "is_metal": gap == 0,
            "fold": fold,
            "fold_is_metal": np.arange(N_ROWS) // 2 % 5,
            "strict": True,
        }
    )
    keys.to_parquet(folder / "matbench_mp_gap.parquet")
    return folder


def crystal_columns(structures: list[Structure]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "lattice": [s.lattice.matrix.ravel() for s in structures],
            "frac_coords": [s.frac_coords.ravel() for s in structures],
            "species": [list(s.atomic_numbers) for s in structures],
            "n_sites": [len(s) for s in structures],
            "formula_reduced": [s.composition.reduced_formula for s in structures],
        }
    )
