"""What does ``UnateNovelty`` tell apart from ordinary crystals of unseen formulas?

    python training/novelty.py --data data/ --out training/results/novelty.csv

Ordinary crystals are those of the ``val`` formulas that the summary of the corpus was not made of.
The others are made from them: atoms moved, volume changed, two species exchanged, one species
replaced by any other; and molecules of the G2 set, each alone in a box. The table has the area
under the ROC curve of each column, and the share of crystals that ``is_familiar`` lets through.

``novelty_errors.csv`` beside it has errors of gaps against novelty: ridge regression on the columns
of ``UnateFeaturizer`` learns from crystals of ``train`` without a group of elements, and predicts
those of ``val`` with and without it. It has the mean absolute errors (eV) by the novelty to the
training rows, rank correlations of errors with it, and the area under the ROC curve by which it
tells the group.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pymatgen.core import Structure
from scipy.stats import spearmanr
from sklearn.linear_model import RidgeCV
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.element_groups import GROUPS
from benchmarks.labelled_tables import read_labelled, structures_of
from harness.command import run_script, script_parser
from harness.result_tables import write_table
from matminer_unate import UnateFeaturizer, UnateNovelty
from matminer_unate.familiarity.novelty import FAMILIAR
from matminer_unate.network.weights import DEFAULT_WEIGHTS

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
    names = [
        name.removeprefix(f"novelty_{DEFAULT_WEIGHTS}") or "_both"
        for name in novelty.feature_labels()
    ]
    usual = _finite(novelty.transform(ordinary))
    found: list[dict[str, Any]] = [
        {"crystals": "ordinary", "n": len(usual), "familiar": _familiar(usual)}
    ]
    for name, change in CHANGES.items():
        rng = np.random.default_rng(0)
        made = [one for s in ordinary if (one := change(s, rng)) is not None]
        found.append({"crystals": name} | judge(usual, novelty, made, names))
    found.append({"crystals": "molecules in a box"} | judge(usual, novelty, molecules(), names))
    note = f"seed 0, {len(usual)} ordinary crystals"
    write_table(pd.DataFrame(found).round(4), args.out, note)
    errors = pd.DataFrame(errors_by_novelty(table, args.training, args.crystals))
    out = Path(args.out).with_name(f"{Path(args.out).stem}_errors.csv")
    write_table(errors.round(4), str(out), "seed 0")


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = script_parser(__doc__)
    parser.add_argument("--data", required=True, help="folder of the parquet files")
    parser.add_argument("--crystals", type=int, default=400, help="ordinary ones [400]")
    parser.add_argument("--training", type=int, default=3_000, help="training rows [3000]")
    parser.add_argument("--out", default="novelty.csv")
    return parser.parse_args(argv)


def judge(
    usual: np.ndarray, novelty: UnateNovelty, made: list[Structure], names: list[str]
) -> dict[str, Any]:
    """Areas under the ROC curve against the ordinary crystals."""
    values = _finite(novelty.transform(made))
    is_made = np.repeat([0, 1], [len(usual), len(values)])
    areas = {
        f"auc{name}": roc_auc_score(is_made, np.concatenate([usual[:, k], values[:, k]]))
        for k, name in enumerate(names)
    }
    return {"n": len(values), "familiar": _familiar(values)} | areas


def errors_by_novelty(table: pd.DataFrame, n_training: int, n_test: int) -> list[dict[str, Any]]:
    """Errors of gaps in bins of the novelty to the training rows, a row a group of elements."""
    train, val = (table[table["formula_split"] == part] for part in ("train", "val"))
    train, val = train.sample(2 * n_training, random_state=0), val.sample(frac=1, random_state=0)
    has = {
        name: [part["species"].map(lambda z, g=group: bool(g & set(z))) for part in (train, val)]
        for name, group in GROUPS.items()
    }
    chosen = {
        name: (train[~without][:n_training], val[inside][:n_test], val[~inside][:n_test])
        for name, (without, inside) in has.items()
    }
    used = pd.concat([part for parts in chosen.values() for part in parts])
    used = used.drop_duplicates("material_id").set_index("material_id")
    structures = pd.Series(structures_of(used), used.index)
    columns = pd.DataFrame(UnateFeaturizer().transform(list(structures)), used.index)
    found = []
    for name, (rows, inside, outside) in chosen.items():
        learned, asked = rows["material_id"], pd.concat([inside, outside])
        model = make_pipeline(StandardScaler(), RidgeCV(np.logspace(0, 4, 9)))
        model.fit(columns.loc[learned], rows["band_gap_ev"])
        predicted = np.maximum(model.predict(columns.loc[asked["material_id"]]), 0)
        errors = np.abs(predicted - asked["band_gap_ev"].to_numpy())
        novelty = UnateNovelty().fit(structures.loc[learned].tolist())
        shares = novelty.transform(structures.loc[asked["material_id"]].tolist())[:, -1]
        is_inside = np.arange(len(asked)) < len(inside)
        result = {"left_out": name, "n_training": len(rows), "n_test": len(asked)}
        result |= {
            "mae_of_group": errors[is_inside].mean(),
            "mae_of_others": errors[~is_inside].mean(),
        }
        for low, high in itertools.pairwise(BINS):
            part = (shares >= low) & (shares < high)
            label = f"{low:g}_to_{min(high, 1):g}"
            result |= {f"n_{label}": part.sum(), f"mae_{label}": _mean(errors[part])}
        result["rank_correlation"] = spearmanr(errors, shares).statistic
        found.append(result | {"auc_of_group": roc_auc_score(is_inside, shares)})
    return found


BINS = (0.0, 0.5, 0.9, 0.99, np.inf)


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")


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
            found.append(
                Structure(
                    box, atoms.get_chemical_symbols(), atoms.positions, coords_are_cartesian=True
                )
            )
    return found


def _renamed(structure: Structure, names: dict[int, int]) -> Structure:
    kinds: list[Any] = [int(names.get(z, z)) for z in structure.atomic_numbers]
    return Structure(structure.lattice, kinds, structure.frac_coords)


def _finite(values: np.ndarray) -> np.ndarray:
    return values[np.isfinite(values).all(axis=1)]


def _familiar(values: np.ndarray) -> float:
    return float((values < FAMILIAR).all(axis=1).mean())


if __name__ == "__main__":
    run_script(main)
