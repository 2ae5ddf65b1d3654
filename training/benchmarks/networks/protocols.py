"""Labelled crystals by protocol: which rows, which target, and which rows train, choose and test.

``mp-gap-20``
    Crystals of at most 20 sites of the Materials Project, split by formula (``formula_split``).
    What two CPU cores can run. Also formation energy and log10 bulk modulus; regressors of the gap
    meet crystals of JARVIS-DFT of ``test`` formulas too (OptB88vdW gaps: another functional).
``mp20-test``
    The official test part of MP-20 (Xie et al., arXiv:2110.06197), for comparison with others.
    Trained on crystals whose formulas do not occur there. Pretraining without labels has read most
    of its structures, so the error on the others is given too.
``jarvis-opt``, ``mp-2018``
    JARVIS-DFT OptB88vdW gaps (``dft_3d_2021``) and Materials Project gaps of June 2018 (``megnet``)
    with the published splits, from the downloads of jarvis-tools.
``matbench_mp_gap``
    Fold ``k`` of five of MatBench (Dunn et al. 2020, doi:10.1038/s41524-020-00406-3), from
    matminer's download.
``table``
    Any table of structures with a target column, split by its column ``split`` (train, val, test)
    or, where it has none, by formula.
"""

from __future__ import annotations

import json
import random
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.labelled_tables import arrays_of_rows, read_labelled
from benchmarks.properties import OPTB88VDW_GAP, PROPERTIES, Property
from corpora.formulas import formula_part
from matminer_unate.crystals.checks import check_crystal
from matminer_unate.crystals.structures import CrystalArrays, crystal_arrays
from matminer_unate.errors import InputError, StructureError
from matminer_unate.io.readers import iter_inputs
from matminer_unate.io.structure_dicts import from_jarvis
from matminer_unate.target_floors import target_floor

Index = NDArray[np.int64]

MATBENCH_SEED = 18012019

PARTS = ("train", "val", "test")

PREDICTED = {
    "band_gap": PROPERTIES["gap"],
    "formation_energy": PROPERTIES["formation_energy"],
    "log_bulk_modulus": PROPERTIES["bulk_modulus"],
}
"""By their names in the tables of networks."""


@dataclass
class Labelled:
    """Crystals with targets, and what each row is for.

    Attributes
    ----------
    crystals : list of (lattice, frac_coords, atomic_numbers)
    y : (n_crystals,) float64
    formulas : (n_crystals,) array of str
        Reduced formulas.
    parts : dict of str to int64 array
        Rows of ``train``, ``val``, ``test`` and maybe of further test sets: ``jarvis``, and
        ``unseen``, the rows of ``test`` whose structures pretraining has not read either.
    minimum : float
        Of the target.
    unit : str
    """

    crystals: list[CrystalArrays]
    y: NDArray[np.float64]
    formulas: NDArray[Any]
    parts: dict[str, Index]
    minimum: float
    unit: str


def load_labelled(protocol: str, name: str, data: str, fold: int = 0) -> Labelled:
    """Read the crystals of a protocol.

    Parameters
    ----------
    protocol : str
        One of :data:`PROTOCOLS`.
    name : str
        The property, one of :data:`PREDICTED`; of a ``table``, the column. Protocols from
        downloads know the gap only.
    data : str
        Folder of the parquet files, or the file of a download or a table.
    fold : int
        Of ``matbench_mp_gap``.

    Raises
    ------
    InputError
        There is no such protocol, property, file or column, or a part has no rows.
    """
    if protocol not in PROTOCOLS:
        raise InputError(f"no protocol {protocol!r}; there are {', '.join(PROTOCOLS)}")
    if name not in PREDICTED and protocol != "table":
        raise InputError(f"no property {name!r}; there are {', '.join(PREDICTED)}")
    if not Path(data).exists():
        raise InputError(f"{data}: no such file or folder; check --data")
    if name != "band_gap" and protocol not in ("mp-gap-20", "table"):
        raise InputError(f"protocol {protocol} is about band gaps, it has no {name}")
    found = PROTOCOLS[protocol](Path(data), name, fold)
    for part in PARTS:
        if len(found.parts[part]) < 2:
            cure = "; a column 'split' can say which row is for what" if protocol == "table" else ""
            raise InputError(
                f"{protocol}, {name}: of {len(found.y)} rows fewer than two are for {part}{cure}"
            )
    return found


def _read(path: Path, p: Property) -> pd.DataFrame:
    """Rows with a target ``y``."""
    table = read_labelled(path, [p.column], p.max_sites)
    return table.assign(y=p.targets(table)).dropna(subset="y")


def _join(tables: dict[str, pd.DataFrame], p: Property) -> Labelled:
    """Parts by name → one set; every table has its targets in ``y``."""
    ends = np.cumsum([len(t) for t in tables.values()])
    parts = {
        part: np.arange(end - len(t), end)
        for (part, t), end in zip(tables.items(), ends, strict=True)
    }
    joined = pd.concat(tables.values(), ignore_index=True)
    y = joined["y"].to_numpy(dtype=np.float64)
    formulas = joined["formula_reduced"].to_numpy().astype(str)
    return Labelled(arrays_of_rows(joined), y, formulas, parts, p.minimum, p.unit)


def _mp_gap_20(folder: Path, name: str, _fold: int) -> Labelled:
    p = PREDICTED[name]
    table = _read(folder / p.file, p)
    tables = {part: table[table["formula_split"] == part] for part in PARTS}
    if name == "band_gap" and (folder / OPTB88VDW_GAP.file).is_file():
        other = _read(folder / OPTB88VDW_GAP.file, OPTB88VDW_GAP)
        tables["jarvis"] = other[other["formula_split"] == "test"]
    return _join(tables, p)


def _mp20_test(folder: Path, name: str, _fold: int) -> Labelled:
    p = PREDICTED[name]
    index = pd.read_parquet(folder / "dedup_index.parquet").set_index(["file", "row"])

    def read(stem: str) -> pd.DataFrame:
        table = _read(folder / f"{stem}.parquet", p)
        flags = index.loc[stem].loc[table.index, ["group_id", "formula_in_mp20_test"]]
        return pd.concat([table, flags], axis=1)

    older, mp20 = read("mp_mtcgcnn"), read("mp20_val_test")
    # Both files have training rows; of a crystal that is in both, the one with MP-20's own label.
    free = pd.concat([mp20[mp20["split"] == "val"], older], ignore_index=True)
    free = free[~free["formula_in_mp20_test"]].drop_duplicates("group_id")
    tables = {
        "train": free[free["formula_split"] != "val"],
        "val": free[free["formula_split"] == "val"],
        "test": mp20[mp20["split"] == "test"],
    }
    found = _join(tables, p)
    # Pretraining may have read crystals of the test part whose formulas are of our part train.
    test = found.parts["test"]
    found.parts["unseen"] = test[(tables["test"]["formula_split"] != "train").to_numpy()]
    return found


# -- downloads ------------------------------------------------------------------------------------


def _collect(
    crystals: Iterable[tuple[str, Callable[[], Any], float]], path: Path
) -> tuple[list[CrystalArrays], NDArray[np.float64], NDArray[Any]]:
    """Arrays, targets and reduced formulas of (place, structure, target)."""
    from pymatgen.core import Composition

    arrays, y, formulas = [], [], []
    for place, structure, target in crystals:
        try:
            arrays.append(crystal_arrays(structure()))
            check_crystal(*arrays[-1])
        except StructureError as e:
            raise InputError(f"{path}, {place}: {e}") from e
        numbers, counts = np.unique(arrays[-1][2], return_counts=True)
        composition = Composition({int(z): int(n) for z, n in zip(numbers, counts, strict=True)})
        formulas.append(composition.reduced_formula)
        y.append(target)
    if not arrays:
        raise InputError(f"{path} has no row with this target")
    return arrays, np.array(y, dtype=np.float64), np.array(formulas)


def shuffled_split(n: int, n_val: int, n_test: int, n_train: int | None = None) -> dict[str, Index]:
    """The published split of JARVIS and of ``megnet``: shuffled with Python's seed 123.

    Train from the front, test the last, val before it (Choudhary and DeCost 2021,
    doi:10.1038/s41524-021-00650-1).
    """
    order = list(range(n))
    random.Random(123).shuffle(order)
    n_train = n - n_val - n_test if n_train is None else n_train
    if n_train < 1:
        raise InputError(f"{n} rows are too few for {n_val} of val and {n_test} of test")
    val = order[-(n_val + n_test) : -n_test]
    parts = {"train": order[:n_train], "val": val, "test": order[-n_test:]}
    return {part: np.array(rows, dtype=np.int64) for part, rows in parts.items()}


def _jarvis(key: str, sizes: tuple[int, int, int] | None, path: Path, *_: Any) -> Labelled:
    """A download of jarvis-tools: a JSON list of entries, maybe zipped."""
    try:
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                (member,) = archive.namelist()
                entries = json.loads(archive.read(member))
        else:
            entries = json.loads(path.read_bytes())
        known = [e for e in entries if e[key] not in (None, "na")]
        rows = [
            (
                str(e.get("jid", e.get("id", n))),
                partial(from_jarvis, e["atoms"]),
                float(e[key]),
            )
            for n, e in enumerate(known)
        ]
    except (zipfile.BadZipFile, ValueError, KeyError, TypeError) as e:
        raise InputError(f"{path} is no list of entries with {key!r} and atoms ({e!r})") from e
    crystals, y, formulas = _collect(rows, path)
    if sizes is None:
        tenth = len(y) // 10
        parts = shuffled_split(len(y), tenth, tenth)
    else:
        n_train, n_val, n_test = sizes
        if len(y) != sum(sizes):  # a part of the download keeps the proportions
            n_val, n_test = (round(len(y) * n / sum(sizes)) for n in (n_val, n_test))
            n_train = len(y) - n_val - n_test
        parts = shuffled_split(len(y), n_val, n_test, n_train)
    return Labelled(crystals, y, formulas, parts, 0.0, "eV")


def _matbench(path: Path, _name: str, fold: int) -> Labelled:
    from matminer.utils.io import load_dataframe_from_json
    from sklearn.model_selection import KFold

    table = load_dataframe_from_json(str(path))
    for column in ("structure", "gap pbe"):
        if column not in table:
            raise InputError(f"{path} has no column {column!r}; is it matbench_mp_gap?")
    if not 0 <= fold < 5:
        raise InputError(f"MatBench has folds 0 to 4, got {fold}")
    rows = (
        (f"row {n}", partial(_same, structure), float(gap))
        for n, (structure, gap) in enumerate(zip(table["structure"], table["gap pbe"], strict=True))
    )
    crystals, y, formulas = _collect(rows, path)
    folds = list(KFold(5, shuffle=True, random_state=MATBENCH_SEED).split(y))
    rest, test = folds[fold]
    # MatBench leaves the choice of validation rows to its users: ours are formulas of our own val.
    chooses = np.array([formula_part(f) == "val" for f in formulas[rest]])
    parts = {"train": rest[~chooses], "val": rest[chooses], "test": test}
    return Labelled(crystals, y, formulas, parts, 0.0, "eV")


def _table(path: Path, target: str, _fold: int) -> Labelled:
    if not target:
        raise InputError("protocol table needs --target, the column to predict")
    rows, parts_of = [], []
    for row in iter_inputs([path]):
        if row.error is not None:
            raise InputError(f"{row.place}: {row.error}")
        if target not in row.carried:
            raise InputError(
                f"{row.place}: no column {target!r}; there are {', '.join(row.carried) or 'none'}"
            )
        given, split = row.carried[target], row.carried.get("split")
        if pd.isna(given):
            continue
        try:
            value = float(given)
        except (TypeError, ValueError):
            raise InputError(f"{row.place}: {target} is {given!r}, not a number") from None
        if not np.isfinite(value):
            raise InputError(f"{row.place}: {target} is {value}")
        rows.append((row.place, partial(_same, row.structure), value))
        parts_of.append(None if pd.isna(split) else split)
    crystals, y, formulas = _collect(rows, path)
    if all(part is None for part in parts_of):
        parts_of = [formula_part(f) for f in formulas]
    for part, (place, _, _) in zip(parts_of, rows, strict=True):
        if part not in PARTS:
            raise InputError(f"{place}: split is {part!r}, not one of {', '.join(PARTS)}")
    parts = {part: np.flatnonzero(np.array(parts_of) == part) for part in PARTS}
    train = y[parts["train"]]
    minimum = target_floor("auto", train) if len(train) else -np.inf
    return Labelled(crystals, y, formulas, parts, minimum, "")


def _same(structure: Any) -> Any:
    return structure


PROTOCOLS: dict[str, Callable[[Path, str, int], Labelled]] = {
    "mp-gap-20": _mp_gap_20,
    "mp20-test": _mp20_test,
    "jarvis-opt": partial(_jarvis, "optb88vdw_bandgap", None),
    "mp-2018": partial(_jarvis, "gap pbe", (60_000, 5_000, 4_239)),
    "matbench_mp_gap": _matbench,
    "table": _table,
}


def nested_subset(train: Index, share: float, seed: int) -> Index:
    """The first part of a random order of the training rows, so that smaller parts lie in larger.

    Parameters
    ----------
    share : float
        Up to 1, a share of the rows; above, a number of rows.
    seed : int
        Of the order.
    """
    n = round(share * len(train)) if share <= 1 else round(share)
    if not 2 <= n <= len(train):
        raise InputError(f"{n} labels asked for of {len(train)} training rows")
    return np.random.default_rng(seed).permutation(train)[:n]
