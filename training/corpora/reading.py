"""Sources named on the command line → crystals, with a report of what was left out."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from tqdm.auto import tqdm

from corpora.crystal import Crystal
from corpora.duplicates import deduplicate
from corpora.entries import open_source
from corpora.formulas import formula_part, read_formulas
from matminer_unate.crystals.checks import check_crystal
from matminer_unate.crystals.formula import reduced_formula
from matminer_unate.crystals.symmetry import find_spacegroup
from matminer_unate.errors import InputError, StructureError, UnateWarning

SHOWN = 5
"""Crystals that cannot be used that are named in the warning."""


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
        ``matminer_unate/io/databases.py``).
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
            formula = reduced_formula(numbers)
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
