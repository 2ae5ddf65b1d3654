"""In which embedding are crystals near those that are like them? And how near are duplicates?

    python training/similarity.py --data data/ --out training/results/similarity.csv

Crystals of the ``val`` formulas look for their nearest one among crystals of the ``train``
formulas, in the mean of the site embeddings and in the pooled columns of ``UnateFeaturizer``, with
several scales and distances. The table has the share of nearest ones of the same space group, of
the same structure type (anonymous formula and space group; of those whose type is there), and the
error of taking the gap and formation energy of the nearest one. Of the crystals of ``train`` whose
formula is there twice, it has the share whose nearest one is a polymorph.

``duplicates.csv`` beside it has the distances of the same material in two files, of which one was
relaxed anew, and those of polymorphs with other space groups, in the embedding of ``UnateIndex``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pymatgen.core import Composition
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler

from benchmarks.labelled_tables import read_labelled, structures_of
from harness.command import run_script, script_parser
from harness.result_tables import write_table
from matminer_unate import UnateFeaturizer, UnateIndex

GAP, ENERGY = "band_gap_ev", "formation_energy_ev_per_atom"
MAX_SITES = 60

Values = NDArray[np.float32]


def main(argv: list[str] | None = None) -> None:
    args = parse_arguments(argv)
    table = read_labelled(Path(args.data) / "mp_mtcgcnn.parquet", [GAP], MAX_SITES)
    rng = np.random.default_rng(0)
    parts = [np.flatnonzero(table["formula_split"] == part) for part in ("train", "val")]
    sizes = (args.corpus, args.queries)
    chosen = [np.sort(rng.permutation(p)[:n]) for p, n in zip(parts, sizes, strict=True)]
    table = table.iloc[np.concatenate(chosen)].reset_index(drop=True)
    structures = structures_of(table)
    index = UnateIndex(structures)
    columns = UnateFeaturizer().transform(structures)
    n = len(chosen[0])
    found = [
        {"space": name, "distance": metric, "numbers": space.shape[1]}
        | judge(space, metric, table, n)
        for name, space in spaces(index.embeddings, columns, n).items()
        for metric in ("euclidean", "cosine")
    ]
    note = f"seed 0, {n} crystals of train, {len(table) - n} queries of val"
    write_table(pd.DataFrame(found).round(4), args.out, note)
    pairs = duplicate_distances(Path(args.data), args.queries)
    out = Path(args.out).with_name("duplicates.csv")
    write_table(pairs.round(4), str(out), f"seed 0, {len(pairs)} quantiles")


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = script_parser(__doc__)
    parser.add_argument("--data", required=True, help="folder of the parquet files")
    parser.add_argument("--corpus", type=int, default=16_000, help="crystals of train [16000]")
    parser.add_argument("--queries", type=int, default=2_500, help="crystals of val [2500]")
    parser.add_argument("--out", default="similarity.csv")
    return parser.parse_args(argv)


def spaces(embeddings: Values, columns: Values, n: int) -> dict[str, Values]:
    """Candidates by name, (n_crystals, d) each; scales are those of the first ``n`` crystals."""
    labels = UnateFeaturizer().feature_labels()
    mean = np.array(["_mean_" in label for label in labels])
    last = np.array(["_mean_l3_" in label for label in labels])

    def standard(values: Values) -> Values:
        return StandardScaler().fit(values[:n]).transform(values)

    def principal(values: Values, d: int, whiten: bool) -> Values:
        return PCA(d, whiten=whiten, random_state=0).fit(values[:n]).transform(values)

    all_columns = standard(columns)
    return {
        "mean embedding": embeddings,
        "mean embedding, standardised": standard(embeddings),
        "mean columns": columns[:, mean],
        "mean columns, standardised": all_columns[:, mean],
        "mean columns of the last layer, standardised": all_columns[:, last],
        "all columns, standardised": all_columns,
        "128 principal components": principal(all_columns, 128, False),
        "128 principal components, whitened": principal(all_columns, 128, True),
    }


def judge(space: Values, metric: str, table: pd.DataFrame, n: int) -> dict[str, float]:
    """How alike the nearest crystals are."""
    search = NearestNeighbors(n_neighbors=2, algorithm="brute", metric=metric).fit(space[:n])
    nearest = search.kneighbors(space[n:], 1, return_distance=False)[:, 0]
    of = {c: table[c].to_numpy() for c in ("spacegroup_number", "formula_reduced", GAP, ENERGY)}
    anonymous = [Composition(formula).anonymized_formula for formula in of["formula_reduced"]]
    groups = of["spacegroup_number"]
    kinds = np.array([f"{a} {g}" for a, g in zip(anonymous, groups, strict=True)])
    there = np.isin(kinds[n:], kinds[:n])
    formulas = of["formula_reduced"][:n]
    twice = np.flatnonzero(pd.Series(formulas).duplicated(keep=False))
    others = search.kneighbors(return_distance=False)[twice, 0]
    return {
        "same_space_group": np.mean(groups[:n][nearest] == groups[n:]),
        "same_structure_type": np.mean((kinds[:n][nearest] == kinds[n:])[there]),
        "nearest_is_polymorph": np.mean(formulas[others] == formulas[twice]),
        "gap_mae_ev": np.mean(np.abs(of[GAP][:n][nearest] - of[GAP][n:])),
        "formation_energy_mae_ev_per_atom": np.nanmean(
            np.abs(of[ENERGY][:n][nearest] - of[ENERGY][n:])
        ),
    }


def duplicate_distances(data: Path, n: int) -> pd.DataFrame:
    """Quantiles of the distances of one material in two files, and of polymorphs."""
    one = read_labelled(data / "mp_mtcgcnn.parquet", [GAP], MAX_SITES).set_index("material_id")
    other = read_labelled(data / "mp20_val_test.parquet", [GAP], MAX_SITES).set_index("material_id")
    fresh = read_labelled(data / "mp_structures.parquet", ["volume_per_atom_ang3"], MAX_SITES)
    fresh = fresh.set_index("material_id")
    one = one[one["formula_split"] != "test"]
    pairs = {
        "same material, of 2020 and in MP-20": same_materials(one, other, n),
        "same material, of 2020 and of 2025": same_materials(one, fresh, n),
    }
    lasting = one.sample(frac=1, random_state=0)
    formulas = lasting.groupby("formula_reduced")["spacegroup_number"]
    first, last = lasting.loc[formulas.head(1).index], lasting.loc[formulas.tail(1).index]
    first, last = (part.set_index("formula_reduced") for part in (first, last))
    both = first.join(last[["spacegroup_number"]], rsuffix="_2")
    names = both.index[both["spacegroup_number"] != both["spacegroup_number_2"]][:n]
    pairs["polymorphs of other space groups"] = distances(first.loc[names], last.loc[names])
    shares = (0.001, 0.01, 0.05, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
    return pd.DataFrame(
        {"share_below": shares} | {name: np.quantile(d, shares) for name, d in pairs.items()}
    )


def same_materials(one: pd.DataFrame, other: pd.DataFrame, n: int) -> Values:
    """Distances of the materials that are in both tables."""
    names = one.index.intersection(other.index)
    names = names[np.random.default_rng(0).permutation(len(names))[:n]]
    return distances(one.loc[names], other.loc[names])


def distances(one: pd.DataFrame, other: pd.DataFrame) -> Values:
    """Of the crystals of two tables, row by row."""
    found = [UnateIndex(structures_of(table)).embeddings for table in (one, other)]
    return np.linalg.norm(found[0] - found[1], axis=1)


if __name__ == "__main__":
    run_script(main)
