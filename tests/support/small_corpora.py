"""Small unlabeled corpora of real crystals, for the tests of the training side."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
from pymatgen.analysis.prototypes import AFLOW_PROTOTYPE_LIBRARY
from pymatgen.core import Structure

from corpora.corpus import Corpus
from corpora.crystal import Crystal
from corpora.entries import write_corpus
from corpora.formulas import formula_part
from matminer_unate.crystals.structures import crystal_arrays

CUTOFF = 4.0
"""Å."""


@lru_cache(maxsize=1)
def prototypes() -> tuple[Structure, ...]:
    """AFLOW prototypes of at most eight sites and at least two elements, one a formula."""
    found: dict[str, Structure] = {}
    for entry in AFLOW_PROTOTYPE_LIBRARY:
        structure = entry["snl"].structure
        if len(structure) <= 8 and len(structure.composition) > 1:
            found.setdefault(structure.composition.reduced_formula, structure)
    return tuple(found.values())


def as_crystal(structure: Structure, identifier: str = "", spacegroup: int = 1) -> Crystal:
    """What :func:`corpora.reading.read_with_report` makes of a structure."""
    name = identifier or structure.composition.reduced_formula
    return Crystal(*crystal_arrays(structure), name, spacegroup)


def make_corpus(structures: Sequence[Structure], cutoff: float = CUTOFF) -> Corpus:
    return Corpus([as_crystal(s) for s in structures], cutoff, progress=False)


@lru_cache(maxsize=1)
def prototype_corpus() -> Corpus:
    """Thirty-two crystals."""
    return make_corpus(prototypes()[:32])


def write_parquet(path: Path, crystals: Sequence[Crystal]) -> str:
    """A table that is read fastest; returns the path as text."""
    write_corpus(path, crystals)
    return str(path)


def materials_project(structures: list[Structure]) -> pd.DataFrame:
    """A table with the columns of the Materials Project files."""
    formulas = [s.composition.reduced_formula for s in structures]
    return pd.DataFrame(
        {
            "lattice": [s.lattice.matrix.ravel() for s in structures],
            "frac_coords": [s.frac_coords.ravel() for s in structures],
            "species": [[e.Z for e in s.species] for s in structures],
            "n_sites": [len(s) for s in structures],
            "formula_reduced": formulas,
            "formula_split": [formula_part(f) for f in formulas],
            "split": None,
            "band_gap_ev": np.linspace(0, 5, len(structures)),
            "formation_energy_ev_per_atom": np.linspace(-3, 0, len(structures)),
            "bulk_modulus_vrh_gpa": np.linspace(0, 200, len(structures)),
            "band_gap_optb88vdw_ev": np.linspace(0, 5, len(structures)),
        }
    )
