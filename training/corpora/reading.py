"""Sources named on the command line → crystals, with a report of what was left out."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from corpora.crystal import Crystal
from corpora.duplicates import deduplicate
from corpora.entries import open_source
from corpora.formulas import formula_part, read_formulas
from corpora.shares import WHOLE, Share
from matminer_unate.crystals.checks import check_crystal
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
        Entries of this share that were looked at; the others say how many of them were left out,
        and why.
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

    @classmethod
    def of_all(cls, reports: Sequence[ReadReport]) -> ReadReport:
        """What became of the entries of all shares."""
        found = cls()
        for report in reports:
            for name, value in vars(report).items():
                setattr(found, name, getattr(found, name) + value)
        return found

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


def read_with_report(
    sources: Sequence[str],
    max_sites: int,
    part: str | None,
    limit: int | None = None,
    exclude_formulas: str | None = None,
    accept_doubtful: bool = False,
    share: Share = WHOLE,
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
    accept_doubtful : bool
        Take crystals of files that may be others than the file means, such as a CIF without the
        hydrogens that its formula has.
    share : Share
        Keep what is this share's; all processes must call this. The report is of all shares.

    Entries that cannot be used, because they are damaged, disordered or empty, or have atoms that
    coincide, are left out, with one warning for all.

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
        wanted = partial(_is_wanted, max_sites, part, excluded)
        for source in sources:
            of_source = ReadReport()
            crystals.extend(_selected(source, wanted, accept_doubtful, share, of_source))
            report = ReadReport.of_all([report, of_source])
            of_source = ReadReport.of_all(share.all_of(of_source))
            if of_source.read and of_source.read == of_source.unusable:
                raise InputError(
                    f"none of the {of_source.read:,} crystals of {source} can be used: "
                    + "; ".join(of_source.problems[:SHOWN])
                )
    if report.unusable:
        _warn_of_unusable(report)
    distinct = deduplicate(crystals) if crystals else []
    report.duplicates = len(crystals) - len(distinct)
    counts = share.all_of(len(distinct))
    n_distinct, before = sum(counts), sum(counts[: share.rank])
    if limit is not None and limit < n_distinct:
        chosen = np.random.default_rng(0).choice(n_distinct, limit, replace=False) - before
        own = np.sort(chosen[(chosen >= 0) & (chosen < len(distinct))])
        report.beyond_limit = len(distinct) - len(own)
        distinct = [distinct[i] for i in own]
    report = ReadReport.of_all(share.all_of(report))
    if not report.kept:
        raise InputError(
            f"no crystals of part {part!r} with up to {max_sites} sites in {sources}: {report}"
        )
    return distinct, report


def _selected(
    source: str,
    wanted: Callable[[Crystal, ReadReport], bool],
    accept_doubtful: bool,
    share: Share,
    report: ReadReport,
) -> Iterator[Crystal]:
    """The crystals of one source that are wanted and can be used; the others are counted.

    Each by its own share alone.
    """
    entries, total = open_source(source, accept_doubtful)
    bar = tqdm(entries, desc=f"reading {Path(source).name}", total=total, delay=2)
    for place, crystal in bar:
        if not share.has(place if isinstance(crystal, StructureError) else crystal.formula):
            continue
        report.read += 1
        try:
            if isinstance(crystal, StructureError):
                raise crystal
            if not wanted(crystal, report):
                continue
            arrays = (crystal.lattice, crystal.frac_coords, crystal.atomic_numbers)
            check_crystal(*arrays)
            if not crystal.spacegroup_number:
                crystal = replace(crystal, spacegroup_number=find_spacegroup(*arrays))
        except StructureError as e:
            report.unusable += 1
            report.problems.append(f"{place}: {e}")
            continue
        yield crystal


def _is_wanted(
    max_sites: int,
    part: str | None,
    excluded: frozenset[str],
    crystal: Crystal,
    report: ReadReport,
) -> bool:
    """Whether a crystal passes the filters; if not, it is counted."""
    if len(crystal) > max_sites:
        report.too_large += 1
    elif part not in (None, formula_part(crystal.formula)):
        report.other_part += 1
    elif crystal.formula in excluded:
        report.excluded += 1
    else:
        return True
    return False


def _warn_of_unusable(report: ReadReport) -> None:
    more = f"; and {report.unusable - SHOWN:,} more" if report.unusable > SHOWN else ""
    warnings.warn(
        f"{report.unusable:,} of {report.read:,} crystals cannot be used and are left out: "
        f"{'; '.join(report.problems[:SHOWN])}{more}",
        UnateWarning,
        stacklevel=3,
    )
