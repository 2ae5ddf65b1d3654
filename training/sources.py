"""Files, data sets and databases → crystals: read, filtered and deduplicated.

A source is a table (Parquet, CSV, JSON), a folder or file of CIF, POSCAR or pymatgen JSON, or one
of ``training/databases.py``. A database is read once into a table, which pretraining then reads in
seconds, and the same every time:

    python training/sources.py --data mp:is_stable=true --max-sites 40 --out mp_stable.parquet
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pymatgen.core import Composition, Element
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from tqdm.auto import tqdm

from command import run_script
from crystal_files import find_spacegroup, open_source
from matminer_unate.errors import InputError, StructureError, UnateWarning
from matminer_unate.structures import check_crystal

SAME_VOLUME = 0.01
"""Largest relative difference in volume per atom of two crystals that are taken for one."""

SHOWN = 5
"""Crystals that cannot be used that are named in the warning."""


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


@dataclass
class ReadReport:
    """What became of the entries of the sources.

    Attributes
    ----------
    read : int
        Entries that were looked at; the others say how many of them were left out, and why.
    too_large, other_part, excluded, unusable, duplicates, beyond_limit : int
    problems : list of str
        Place and reason of each unusable one.
    """

    read: int = 0
    too_large: int = 0
    other_part: int = 0
    excluded: int = 0
    unusable: int = 0
    duplicates: int = 0
    beyond_limit: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def kept(self) -> int:
        left_out = self.too_large + self.other_part + self.excluded + self.unusable
        return self.read - left_out - self.duplicates - self.beyond_limit

    def __str__(self) -> str:
        reasons = {
            "with too many sites": self.too_large,
            "of other parts": self.other_part,
            "of excluded formulas": self.excluded,
            "unusable": self.unusable,
            "duplicates": self.duplicates,
            "beyond the limit": self.beyond_limit,
        }
        left_out = ", ".join(f"{count:,} {reason}" for reason, count in reasons.items() if count)
        kept = f"{self.kept:,} of {self.read:,} crystals"
        return f"{kept} (not: {left_out})" if left_out else kept


def formula_part(formula: str) -> str:
    """The part, train 80 / val 10 / test 10, that a reduced formula falls in, in every data set."""
    residue = int(hashlib.sha256(formula.encode()).hexdigest(), 16) % 100
    return "train" if residue < 80 else "val" if residue < 90 else "test"


def read_crystals(
    sources: Sequence[str],
    max_sites: int,
    part: str | None,
    limit: int | None = None,
    exclude_formulas: str | None = None,
    on_error: Literal["raise", "skip"] = "skip",
) -> list[Crystal]:
    """Read, filter and deduplicate crystals, as :func:`read_with_report` without its report."""
    return read_with_report(sources, max_sites, part, limit, exclude_formulas, on_error)[0]


def read_with_report(
    sources: Sequence[str],
    max_sites: int,
    part: str | None,
    limit: int | None = None,
    exclude_formulas: str | None = None,
    on_error: Literal["raise", "skip"] = "skip",
) -> tuple[list[Crystal], ReadReport]:
    """Read, filter and deduplicate crystals.

    Parameters
    ----------
    sources : sequence of str
        Tables with a column of structures (``structure``, ``cif``, …) or the columns ``lattice``
        (Å), ``frac_coords`` and ``species``, optionally ``material_id`` and
        ``spacegroup_number``; folders and files of CIF, POSCAR or pymatgen JSON; databases (see
        ``training/databases.py``).
    max_sites : int
        Crystals with more sites are left out.
    part : {"train", "val", "test"} or None
        Keep only formulas of this part, so that the others stay unseen.
    limit : int, optional
        Keep a random choice of this many (seed 0).
    exclude_formulas : str, optional
        File of formulas that must not be seen (see :func:`read_formulas`).
    on_error : {"skip", "raise"}
        What an entry does that cannot be used, because it is damaged, disordered, empty, or has
        atoms that coincide: be left out, with one warning for all, or stop the reading.

    Returns
    -------
    crystals : list of Crystal
        The first of each group of duplicates: the same identifier, or the same reduced formula and
        space group and volumes per atom that differ by at most 1 % (chained).
    report : ReadReport

    Raises
    ------
    ValueError
        Nothing is left, or nothing of one source can be used.
    """
    report = ReadReport()
    crystals: list[Crystal] = []
    with warnings.catch_warnings():
        # pymatgen sorts the elements of a formula by electronegativity, and noble gases have none.
        warnings.filterwarnings("ignore", "No Pauling electronegativity")
        excluded = read_formulas(exclude_formulas) if exclude_formulas else frozenset()
        for source in sources:
            before, unusable = report.read, report.unusable
            crystals.extend(_selected(source, max_sites, part, excluded, on_error, report))
            if before < report.read == before + report.unusable - unusable:
                raise InputError(
                    f"none of the {report.read - before:,} crystals of {source} can be used: "
                    + "; ".join(report.problems[unusable : unusable + SHOWN])
                )
    if report.unusable:
        more = f"; and {report.unusable - SHOWN:,} more" if report.unusable > SHOWN else ""
        warnings.warn(
            f"{report.unusable:,} of {report.read:,} crystals cannot be used and are left out: "
            f"{'; '.join(report.problems[:SHOWN])}{more}",
            UnateWarning,
            stacklevel=2,
        )
    distinct = deduplicate(crystals)
    report.duplicates = len(crystals) - len(distinct)
    if limit is not None and limit < len(distinct):
        report.beyond_limit = len(distinct) - limit
        chosen = np.random.default_rng(0).choice(len(distinct), limit, replace=False)
        distinct = [distinct[i] for i in np.sort(chosen)]
    if not distinct:
        raise InputError(
            f"no crystals of part {part!r} with up to {max_sites} sites in {sources}: {report}"
        )
    return distinct, report


def _selected(
    source: str,
    max_sites: int,
    part: str | None,
    excluded: frozenset[str],
    on_error: str,
    report: ReadReport,
) -> Iterator[Crystal]:
    """The crystals of one source that pass the filters; the others are counted."""
    entries, total = open_source(source)
    for entry in tqdm(entries, desc=f"reading {Path(source).name}", total=total, delay=2):
        report.read += 1
        try:
            if isinstance(entry.crystal, StructureError):
                raise entry.crystal
            lattice, frac_coords, numbers = entry.crystal
            if len(numbers) > max_sites:
                report.too_large += 1
                continue
            formula = _formula(np.sort(numbers).tobytes())
            if part not in (None, formula_part(formula)):
                report.other_part += 1
                continue
            if formula in excluded:
                report.excluded += 1
                continue
            check_crystal(lattice, frac_coords, numbers)
            spacegroup = entry.spacegroup or find_spacegroup(lattice, frac_coords, numbers)
        except StructureError as e:
            if on_error == "raise":
                raise InputError(f"{entry.place}: {e}") from e
            report.unusable += 1
            report.problems.append(f"{entry.place}: {e}")
            continue
        # The ids 0, 1, 2, … of two tables are not the same crystals.
        own = entry.identifier
        identifier = f"{source}#{own}" if own.isdigit() else own
        yield Crystal(lattice, frac_coords, numbers, formula, identifier, spacegroup)


@cache
def _formula(numbers: bytes) -> str:
    """Reduced formula of sorted atomic numbers; cached, because polymorphs have the same."""
    counts = Counter(np.frombuffer(numbers, dtype=np.int64).tolist())
    return Composition({Element.from_Z(z): n for z, n in counts.items()}).reduced_formula


def deduplicate(crystals: Sequence[Crystal]) -> list[Crystal]:
    """Keep the first crystal of each group of duplicates (rule: see :func:`read_with_report`).

    The groups are the connected parts of the graph whose edges are "same identifier" and "same
    formula and space group, next in volume and within 1 %", so they do not depend on the order.
    """
    table = pd.DataFrame(
        {
            "identifier": [c.identifier for c in crystals],
            "formula": [c.formula for c in crystals],
            "spacegroup": [c.spacegroup_number for c in crystals],
            "volume": [c.volume / len(c.atomic_numbers) for c in crystals],
        }
    )
    by_volume = table.sort_values(["formula", "spacegroup", "volume"])
    kind = by_volume[["formula", "spacegroup"]]
    same_kind = (kind == kind.shift()).all(axis=1)
    close = same_kind & (by_volume["volume"] <= (1 + SAME_VOLUME) * by_volume["volume"].shift())
    by_name = table[table["identifier"].notna()].sort_values("identifier")
    named = by_name["identifier"] == by_name["identifier"].shift()
    pairs = [
        np.stack([np.roll(ordered.index, 1), ordered.index])[:, same]
        for ordered, same in ((by_volume, close), (by_name, named))
    ]
    rows, columns = np.concatenate(pairs, axis=1)
    edges = coo_array((np.ones(len(rows)), (rows, columns)), shape=(len(table), len(table)))
    group = connected_components(edges, directed=False)[1]
    return [crystals[i] for i in np.sort(np.unique(group, return_index=True)[1])]


def read_formulas(path: str) -> frozenset[str]:
    """Reduced formulas of a file.

    Parameters
    ----------
    path : str
        Parquet or CSV with a column ``formula_reduced`` or ``formula``, or text with one formula a
        line. Formulas need not be reduced: Si2O4 stands for SiO2.

    Raises
    ------
    InputError
        The file cannot be read, has no such column, or holds something that is no formula.
    """
    file = Path(path)
    suffix = file.suffix.lower()
    texts: list[Any]
    try:
        if suffix in (".parquet", ".pq"):
            names = pq.read_schema(file).names
            texts = pd.read_parquet(file, columns=[_column(file, names)]).iloc[:, 0].tolist()
        elif suffix in (".csv", ".tsv"):
            # Not pandas, for which the formula NaN is a missing value.
            with file.open(newline="", encoding="utf-8-sig") as lines:
                rows = csv.DictReader(lines, delimiter="\t" if suffix == ".tsv" else ",")
                name = _column(file, rows.fieldnames or [])
                texts = [row[name] for row in rows]
        else:
            texts = [t for line in file.read_text().splitlines() if (t := line.strip())]
    except (OSError, pa.ArrowException, UnicodeDecodeError) as e:
        raise InputError(f"{file}: no readable table or text of formulas ({e})") from e
    if not texts:
        raise InputError(f"{file} holds no formula; leave the option out to exclude none")
    found = set()
    for n, text in enumerate(texts):
        try:
            composition = Composition(text, strict=True)
            numbers = [z for e, k in composition.items() for z in [e.Z] * round(k)]
        except Exception as e:
            raise InputError(f"{file}, row {n}: {text!r} is no formula; mend the row") from e
        found.add(_formula(np.sort(np.array(numbers, dtype=np.int64)).tobytes()))
    return frozenset(found)


def _column(file: Path, names: Sequence[str]) -> str:
    for name in ("formula_reduced", "formula"):
        if name in names:
            return name
    raise InputError(
        f"{file} has no column 'formula_reduced' or 'formula'; it has {', '.join(names)}"
    )


# -- command --------------------------------------------------------------------------------------


def write_table(path: Path, crystals: Sequence[Crystal]) -> None:
    """Write crystals as the Parquet table that is read fastest."""
    columns = {
        "material_id": [c.identifier for c in crystals],
        "lattice": [c.lattice.ravel() for c in crystals],
        "frac_coords": [c.frac_coords.ravel() for c in crystals],
        "species": [c.atomic_numbers.astype(np.int16) for c in crystals],
        "formula_reduced": [c.formula for c in crystals],
        "spacegroup_number": [c.spacegroup_number for c in crystals],
    }
    pd.DataFrame(columns).to_parquet(path)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", nargs="+", required=True, help="sources")
    parser.add_argument("--out", type=Path, required=True, help="Parquet file to write")
    parser.add_argument("--max-sites", type=int, default=1_000, help="largest cell [1000]")
    parser.add_argument("--exclude-formulas", help="file of formulas to leave out")
    args = parser.parse_args(argv)
    # Now, and not after hours of reading.
    if args.out.is_dir():
        parser.error(f"--out {args.out} is a folder; name a file")
    args.out.parent.mkdir(parents=True, exist_ok=True)
    crystals, report = read_with_report(
        args.data, args.max_sites, None, exclude_formulas=args.exclude_formulas
    )
    write_table(args.out, crystals)
    print(f"{args.out}: {report}")


if __name__ == "__main__":
    run_script(main)
