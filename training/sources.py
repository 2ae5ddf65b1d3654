"""Files, data sets and databases → crystals: read, filtered and deduplicated."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pymatgen.core import Composition, Structure
from tqdm.auto import tqdm

from matminer_unate.structures import crystal_arrays

STRUCTURE_PATTERNS = ("*.cif", "*.vasp", "POSCAR*", "CONTCAR*")


@dataclass(frozen=True)
class Crystal:
    """One crystal: lattice rows in Å, fractional coordinates, atomic numbers."""

    lattice: NDArray[np.float64]
    frac_coords: NDArray[np.float64]
    atomic_numbers: NDArray[np.int64]
    formula: str
    identifier: str
    spacegroup_number: int

    @property
    def volume(self) -> float:
        return float(abs(np.linalg.det(self.lattice)))


def formula_part(formula: str) -> str:
    """The part, train 80 / val 10 / test 10, that a reduced formula falls in, in every data set."""
    residue = int(hashlib.sha256(formula.encode()).hexdigest(), 16) % 100
    return "train" if residue < 80 else "val" if residue < 90 else "test"


def read_crystals(
    sources: Sequence[str], max_sites: int, part: str | None, limit: int | None = None
) -> list[Crystal]:
    """Read, filter and deduplicate crystals.

    Parameters
    ----------
    sources : sequence of str
        Parquet files (columns ``lattice``, ``frac_coords``, ``species``, ``formula_reduced``,
        ``spacegroup_number``, ``material_id``) and folders of CIF or POSCAR files.
    max_sites : int
        Crystals with more sites are left out.
    part : {"train", "val", "test"} or None
        Keep only formulas of this part, so that the others stay unseen.
    limit : int, optional
        Keep a random choice of this many (seed 0).

    Returns
    -------
    list of Crystal
        One of each group of duplicates: the same identifier, or the same reduced formula and space
        group and volumes per atom that differ by at most 1 % (chained).
    """
    crystals: list[Crystal] = []
    for source in sources:
        path = Path(source)
        found = _read_folder(path) if path.is_dir() else _read_parquet(path)
        crystals.extend(
            c
            for c in found
            if len(c.atomic_numbers) <= max_sites and part in (None, formula_part(c.formula))
        )
    crystals = deduplicate(crystals)
    if limit is not None and limit < len(crystals):
        chosen = np.random.default_rng(0).choice(len(crystals), limit, replace=False)
        crystals = [crystals[i] for i in np.sort(chosen)]
    if not crystals:
        raise ValueError(f"no crystals of part {part!r} with up to {max_sites} sites in {sources}")
    return crystals


def deduplicate(crystals: Sequence[Crystal]) -> list[Crystal]:
    """Keep the first crystal of each group of duplicates (rule: see :func:`read_crystals`)."""
    table = pd.DataFrame(
        {
            "identifier": [c.identifier for c in crystals],
            "formula": [c.formula for c in crystals],
            "spacegroup": [c.spacegroup_number for c in crystals],
            "volume": [c.volume / len(c.atomic_numbers) for c in crystals],
        }
    )
    ordered = table.sort_values(["formula", "spacegroup", "volume"], kind="stable")
    same = (ordered[["formula", "spacegroup"]] == ordered[["formula", "spacegroup"]].shift()).all(
        axis=1
    ) & (ordered["volume"] <= 1.01 * ordered["volume"].shift())
    table["group"] = (~same).cumsum()  # aligned on the index, so in the order of `crystals`
    known = table["identifier"].notna()
    keep = ~table.duplicated("group") & ~(known & table.duplicated("identifier"))
    return [c for c, k in zip(crystals, keep, strict=True) if k]


def _read_parquet(path: Path) -> Iterator[Crystal]:
    columns = ["material_id", "lattice", "frac_coords", "species", "formula_reduced"]
    table = pd.read_parquet(path, columns=[*columns, "spacegroup_number"])
    for row in table.itertuples(index=False):
        yield Crystal(
            np.reshape(row.lattice, (3, 3)).astype(np.float64),
            np.reshape(row.frac_coords, (-1, 3)).astype(np.float64),
            np.asarray(row.species, dtype=np.int64),
            row.formula_reduced,
            row.material_id,
            int(row.spacegroup_number),
        )


def _read_folder(path: Path) -> Iterator[Crystal]:
    # A set, because a name like POSCAR.vasp fits two patterns.
    files = sorted({f for pattern in STRUCTURE_PATTERNS for f in path.rglob(pattern)})
    for file in tqdm([f for f in files if f.is_file()], desc=f"reading {path.name}", unit="file"):
        try:
            structure = Structure.from_file(file)
            arrays = crystal_arrays(structure)
            _, spacegroup = structure.get_space_group_info(symprec=0.01)
        except Exception as e:
            raise ValueError(f"{file}: {e}; mend it or take it out of the folder") from e
        formula = Composition(structure.composition).reduced_formula
        yield Crystal(*arrays, formula, str(file), spacegroup)
