"""Structures → the columns that UnateRegressor learns from, block by block."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from matminer_unate.errors import InputError, UnateWarning
from matminer_unate.featurizer import UnateFeaturizer
from matminer_unate.site_descriptor_stats import SiteDescriptorStats

FORMULA = "formula"
"""Column of reduced formulas, the groups of cross-validation."""

CELL_NAMES = ("cell_volume_per_atom", "cell_spacegroup_number", "cell_n_sites_primitive")

SYMPREC = 0.01
"""Å. Tolerance of the space group."""

FINGERPRINT = "fingerprint"
LEARNED = "unate "
"""Names of blocks; those of learned columns begin so."""


@dataclass(frozen=True)
class Recipe:
    """Which columns.

    Attributes
    ----------
    weights : tuple of str or Path
        Of the learned columns.
    device : str
    tight_binding : bool
        With what a tight-binding model says of the electrons.
    """

    weights: tuple[str | Path, ...]
    device: str
    tight_binding: bool

    def blocks(self) -> dict[str, list[str]]:
        """Names of the columns by block; those that the trees learn from come first."""
        blocks = {
            "composition and cell": [*magpie().feature_labels(), *CELL_NAMES],
            "sites": SiteDescriptorStats().feature_labels(),
        }
        if self.tight_binding:
            blocks["tight binding"] = _tight_binding().feature_labels()
        blocks[FINGERPRINT] = SiteDescriptorStats(descriptors="fingerprint").feature_labels()
        for weights in self.weights:
            blocks[f"{LEARNED}{weights}"] = self._learned(weights).feature_labels()
        return blocks

    def n_tree_columns(self) -> int:
        """How many of the columns, from the first, the trees learn from."""
        return sum(len(names) for block, names in self.blocks().items() if not is_wide(block))

    def _learned(self, weights: str | Path, ignore_errors: bool = False) -> UnateFeaturizer:
        on_error: Any = "nan" if ignore_errors else "raise"
        return UnateFeaturizer(weights, device=self.device, on_error=on_error)

    def names(self) -> list[str]:
        """Names of all columns."""
        return [name for block in self.blocks().values() for name in block]

    def featurize(self, structures: pd.Series, ignore_errors: bool) -> pd.DataFrame:
        """Formula and columns of structures, float32; NaN in rows that are no usable structure.

        Raises
        ------
        StructureError
            A structure is unusable and errors are not ignored; the message names row and index.
        """
        first = self._learned(self.weights[0], ignore_errors).transform(structures)
        good = np.isfinite(first).all(axis=1)
        usable = structures[good]
        with warnings.catch_warnings():
            # The learned columns have said so already.
            warnings.filterwarnings("ignore", ".*row.s. hold atoms", UnateWarning)
            sites, fingerprint = site_columns(usable)
            others = [self._learned(w).transform(usable) for w in self.weights[1:]]
        parts = [composition_columns(usable), cell_columns(usable), sites]
        if self.tight_binding:
            parts.append(_tight_binding().transform(usable))
        values = np.full((len(structures), len(self.names())), np.nan, np.float32)
        values[good] = np.hstack([*parts, fingerprint, first[good], *others])
        table = pd.DataFrame(values, index=structures.index, columns=self.names())
        formulas = np.full(len(structures), None, dtype=object)
        formulas[good] = [composition(s).reduced_formula for s in usable]
        table.insert(0, FORMULA, formulas)
        return table

    def check(self, table: pd.DataFrame) -> None:
        """Raise InputError unless these are the columns of this recipe."""
        expected = [FORMULA, *self.names()]
        if list(table.columns) != expected:
            missing = [name for name in expected if name not in table.columns]
            raise InputError(
                f"the frame has not the {len(expected)} columns of this model (missing: "
                f"{', '.join(missing[:3]) or 'none, but the order differs'}); pass structures, or "
                "what featurize() of a regressor with the same options returned"
            )


def is_wide(block: str) -> bool:
    """Whether a block has too many columns, each of them saying too little, for trees."""
    return block == FINGERPRINT or block.startswith(LEARNED)


def is_column_table(X: Any) -> bool:
    """Whether this is what :meth:`Recipe.featurize` returned, rather than structures."""
    return isinstance(X, pd.DataFrame) and X.shape[1] > 1 and FORMULA in X.columns


def composition(structure: Any) -> Any:
    """Composition of elements, of a Structure or ASE Atoms."""
    from pymatgen.core import Composition

    from matminer_unate.entries import arrays_of

    numbers, counts = np.unique(arrays_of(structure)[2], return_counts=True)
    return Composition({int(z): int(n) for z, n in zip(numbers, counts, strict=True)})


@lru_cache(maxsize=1)
def magpie() -> Any:
    """matminer's Magpie preset, in this process."""
    from matminer.featurizers.composition import ElementProperty

    featurizer = ElementProperty.from_preset("magpie", impute_nan=True)
    featurizer.set_n_jobs(1)
    return featurizer


def composition_columns(structures: Sequence[Any] | pd.Series) -> NDArray[np.float32]:
    """Magpie columns, (n_rows, 132); every composition is computed once."""
    compositions = [composition(s).reduced_composition for s in structures]
    distinct = {c.formula: c for c in compositions}
    rows = magpie().featurize_many(list(distinct.values()), pbar=False)
    by_formula = dict(zip(distinct, rows, strict=True))
    found = [by_formula[c.formula] for c in compositions]
    n_columns = len(magpie().feature_labels())
    return np.array(found, dtype=np.float32).reshape(len(found), n_columns)


def site_columns(
    structures: Sequence[Any] | pd.Series,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Pooled physical descriptors and fingerprint of the sites, computed together."""
    both = SiteDescriptorStats(descriptors="all")
    columns, labels = both.transform(structures), both.feature_labels()
    position = {label: k for k, label in enumerate(labels)}
    physics, fingerprint = (
        [position[n] for n in SiteDescriptorStats(descriptors=group).feature_labels()]
        for group in ("physics", "fingerprint")
    )
    return columns[:, physics], columns[:, fingerprint]


def cell_columns(structures: Sequence[Any] | pd.Series) -> NDArray[np.float32]:
    """Volume per atom (Å³), space group number and sites of the primitive cell, (n_rows, 3).

    spglib is asked directly: matminer's wrapper manages 116 crystals a second.
    """
    import spglib

    from matminer_unate.entries import arrays_of
    from matminer_unate.structures import cell_heights

    rows = []
    # An error or None, as the version and the user's settings have it.
    failures = (getattr(spglib, "SpglibError", ValueError), ValueError)
    for structure in structures:
        lattice, frac_coords, z = arrays_of(structure)
        crystal: Any = (lattice, frac_coords, z)
        with warnings.catch_warnings():
            # Of how it reports errors; where warnings are errors, no group would be found.
            warnings.simplefilter("ignore", DeprecationWarning)
            try:
                found = spglib.get_symmetry_dataset(crystal, symprec=SYMPREC)
            except failures:
                found = None
        volume = cell_heights(lattice)[1] / len(z)
        if found is None:
            rows.append([volume, 1, len(z)])
        else:
            rows.append([volume, found.number, found.mapping_to_primitive.max() + 1])
    return np.array(rows, dtype=np.float32).reshape(-1, len(CELL_NAMES))


def _tight_binding() -> Any:
    from matminer_unate.tight_binding_stats import TightBindingStats

    # Where this model has no answer, the other columns must do.
    return TightBindingStats(on_error="nan")
