"""Crystals of a table → columns: hand-made ones, and those of an encoder that was never trained."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from matminer.featurizers.composition import ElementProperty
from pymatgen.core import Composition

from benchmarks.columns.regressors import Matrix
from benchmarks.untrained import untrained_twin
from matminer_unate import TightBindingStats, UnateFeaturizer
from matminer_unate.crystals.graph import radius_graph
from matminer_unate.crystals.structures import crystal_arrays
from matminer_unate.featurizers.pooling import pool
from matminer_unate.physics.site_descriptors import (
    FINGERPRINT_NAMES,
    PHYSICS_NAMES,
    site_descriptors,
)

CONTROL_CUTOFF = 4.5
"""Å. As in the encoder, so that the control sees just as far."""

CONTROL_POOLING = ("mean", "std", "min", "max")


def magpie(table: pd.DataFrame) -> Matrix:
    """matminer's Magpie preset, 132 columns."""
    featurizer = ElementProperty.from_preset("magpie", impute_nan=True)
    featurizer.set_n_jobs(1)
    compositions = [Composition(f) for f in table["formula_reduced"]]
    return np.array(featurizer.featurize_many(compositions, pbar=False), dtype=np.float32)


def untrained(table: pd.DataFrame, weights: str) -> Matrix:
    """The same network with random weights, its norms fitted to the ``train`` formulas."""
    some = table["structure"][table["formula_split"] == "train"]
    arrays = (crystal_arrays(structure) for structure in some)
    with tempfile.TemporaryDirectory() as folder:
        twin = untrained_twin(weights, Path(folder), arrays)
        return UnateFeaturizer(twin).transform(table["structure"])


def control(table: pd.DataFrame, columns: slice) -> Matrix:
    """Cheap site descriptors pooled over sites: what no network is needed for."""
    parts = []
    for start in range(0, len(table), 512):
        chunk = table["structure"].iloc[start : start + 512]
        graphs = [
            radius_graph(
                s.lattice.matrix, s.frac_coords, np.array(s.atomic_numbers), CONTROL_CUTOFF
            )
            for s in chunk
        ]
        sites = site_descriptors(graphs, [s.volume for s in chunk], CONTROL_CUTOFF)
        starts = np.concatenate([[0], np.cumsum([g.n_sites for g in graphs])])
        parts.append(pool(sites[:, columns], starts, CONTROL_POOLING))
    assert len(PHYSICS_NAMES) + len(FINGERPRINT_NAMES) == sites.shape[1]
    return np.concatenate(parts)


def cell(table: pd.DataFrame) -> Matrix:
    """Volume per atom, space group and number of sites."""
    columns = ["volume_per_atom_ang3", "spacegroup_number", "n_sites"]
    return table[columns].to_numpy(np.float32)


def tight_binding(table: pd.DataFrame) -> Matrix:
    """What the tight-binding model says itself, without any network."""
    return TightBindingStats(CONTROL_POOLING, on_error="nan").transform(table["structure"])
