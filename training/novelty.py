"""What does ``UnateNovelty`` tell apart from ordinary crystals of unseen formulas?

    python training/novelty.py --data data/ --out training/results/novelty.csv

Ordinary crystals are those of the ``val`` formulas that the summary of the corpus was not made of.
The others are made from them: atoms moved, volume changed, two species exchanged, one species
replaced by any other; and molecules of the G2 set, each alone in a box. The table has the area under
the ROC curve of each column, and the share of crystals that ``is_familiar`` lets through.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from pymatgen.core import Structure
from sklearn.metrics import roc_auc_score

from benchmarks.labelled_tables import read_labelled, structures_of
from harness.command import run_script, script_parser
from harness.result_tables import write_table
from matminer_unate import UnateNovelty
from matminer_unate.familiarity.novelty import FAMILIAR

MAX_SITES = 60
USED = 3_000
"""Of ``val``, by ``corpus_summary.py``, in the order of its random choice."""

Change = Callable[[Structure, np.random.Generator], Structure | None]


def main(argv: list[str] | None = None) -> None:
    args = parse_arguments(argv)
    table = read_labelled(Path(args.data) / "mp_mtcgcnn.parquet", ["band_gap_ev"], MAX_SITES)
    val = table[table["formula_split"] == "val"]
    used = val.sample(min(USED, len(val)), random_state=0)
    if len(used) == len(val):  # the file has no more: take those that the summary has, too
        ordinary = structures_of(used.iloc[: args.crystals])
    else:
        ordinary = structures_of(val.drop(used.index).iloc[: args.crystals])
    novelty = UnateNovelty(on_error="nan")
    names = [name.removeprefix("novelty_mp_v2") or "_both" for name in novelty.feature_labels()]
    usual = _finite(novelty.transform(ordinary))
    found = [{"crystals": "ordinary", "n": len(usual), "familiar": _familiar(usual)}]
    for name, change in CHANGES.items():
        rng = np.random.default_rng(0)
        made = [one for s in ordinary if (one := change(s, rng)) is not None]
        found.append({"crystals": name} | judge(usual, novelty, made, names))
    found.append({"crystals": "molecules in a box"} | judge(usual, novelty, molecules(), names))
    note = f"seed 0, {len(usual)} ordinary crystals"
    write_table(pd.DataFrame(found).round(4), args.out, note)


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = script_parser(__doc__)
    parser.add_argument("--data", required=True, help="folder of the parquet files")
    parser.add_argument("--crystals", type=int, default=400, help="ordinary ones [400]")
    parser.add_argument("--out", default="novelty.csv")
    return parser.parse_args(argv)


def judge(
    usual: np.ndarray, novelty: UnateNovelty, made: list[Structure], names: list[str]
) -> dict[str, float]:
    """Areas under the ROC curve against the ordinary crystals."""
    values = _finite(novelty.transform(made))
    is_made = np.repeat([0, 1], [len(usual), len(values)])
    areas = {
        f"auc{name}": roc_auc_score(is_made, np.concatenate([usual[:, k], values[:, k]]))
        for k, name in enumerate(names)
    }
    return {"n": len(values), "familiar": _familiar(values)} | areas


def rattled(sigma: float) -> Change:
    """Move each atom by a normal distribution of this deviation (Å) in each direction."""

    def change(structure: Structure, rng: np.random.Generator) -> Structure:
        places = structure.cart_coords + rng.normal(0, sigma, (len(structure), 3))
        return Structure(structure.lattice, structure.species, places, coords_are_cartesian=True)

    return change


def scaled(factor: float) -> Change:
    """Change the volume by a factor."""

    def change(structure: Structure, rng: np.random.Generator) -> Structure:
        lattice = structure.lattice.scale(structure.volume * factor)
        return Structure(lattice, structure.species, structure.frac_coords)

    return change


def exchanged(structure: Structure, rng: np.random.Generator) -> Structure | None:
    """Exchange two species; None where there is one only."""
    kinds = sorted(set(structure.atomic_numbers))
    if len(kinds) < 2:
        return None
    a, b = rng.choice(kinds, 2, replace=False)
    return _renamed(structure, {a: b, b: a})


def replaced(structure: Structure, rng: np.random.Generator) -> Structure | None:
    """Replace a species by any element up to bismuth but the noble gases."""
    kinds = sorted(set(structure.atomic_numbers))
    others = [z for z in range(1, 84) if z not in (2, 10, 18, 36, 54, *kinds)]
    return _renamed(structure, {rng.choice(kinds): rng.choice(others)})


CHANGES: dict[str, Change] = {
    "rattled by 0.05 Å": rattled(0.05),
    "rattled by 0.1 Å": rattled(0.1),
    "rattled by 0.2 Å": rattled(0.2),
    "volume + 15 %": scaled(1.15),
    "volume - 10 %": scaled(0.9),
    "two species exchanged": exchanged,
    "a species replaced": replaced,
}


def molecules() -> list[Structure]:
    """Those of the G2 set, in boxes that leave 8 Å between them."""
    from ase.build import molecule
    from ase.collections import g2
    from pymatgen.core import Lattice

    found = []
    for name in g2.names:
        atoms = molecule(name)
        if len(atoms) > 1:
            box = Lattice.orthorhombic(*np.ptp(atoms.positions, axis=0) + 8)
            z = atoms.numbers.tolist()
            found.append(Structure(box, z, atoms.positions, coords_are_cartesian=True))
    return found


def _renamed(structure: Structure, names: dict[int, int]) -> Structure:
    kinds = [int(names.get(z, z)) for z in structure.atomic_numbers]
    return Structure(structure.lattice, kinds, structure.frac_coords)


def _finite(values: np.ndarray) -> np.ndarray:
    return values[np.isfinite(values).all(axis=1)]


def _familiar(values: np.ndarray) -> float:
    return float((values < FAMILIAR).all(axis=1).mean())


if __name__ == "__main__":
    run_script(main)
