"""What a CIF says of its atoms beside their places, against the atoms that were read → doubts."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise

from matminer_unate.cif.expansion import Atoms
from matminer_unate.cif.formula import Formula, hydrogen
from matminer_unate.cif.operations import Symmetry
from matminer_unate.cif.sites import ASSEMBLY, ATTACHED, GROUP, MULTIPLICITIES, OCCUPANCY, Site
from matminer_unate.cif.tokens import Block, number

MODULATION, SUBSYSTEMS = "_cell_modulation_dimension", "_cell_subsystems_number"


def modulation(block: Block) -> list[str]:
    """Whether the crystal is modulated or composite: the list is that of its average alone."""
    for tag, least in ((MODULATION, 1), (SUBSYSTEMS, 2)):
        stated = _positive(block.single(tag))
        if stated >= least:
            return [
                f"the crystal is modulated or composite ({tag} {stated:g}), and only the atoms of "
                "the basic cell were read; write a supercell that shows the modulation"
            ]
    return []


def attached_hydrogens(sites: list[Site], formula: Formula | None) -> list[str]:
    """Hydrogens that are counted at other atoms, of which none is listed; a formula knows better.

    Some programs count them at their atoms and list them, too.
    """
    if formula is not None or any(hydrogen(site.element) == "H" for site in sites):
        return []
    bearing = [site.label for site in sites if _positive(site.said.get(ATTACHED)) > 0]
    if not bearing:
        return []
    return [
        f"{ATTACHED} says that {', '.join(bearing[:5])}{', …' if len(bearing) > 5 else ''} "
        "bear hydrogens, and none was read; add the positions of the hydrogens"
    ]


def disorder_groups(sites: list[Site], formula: Formula | None) -> list[str]:
    """Alternatives of a disordered assembly that were all read as full.

    Groups with occupancies of 1 in so many words are believed where there is a formula.
    """
    full: dict[str, dict[str, Site]] = defaultdict(dict)
    for site in sites:
        group = site.said.get(GROUP, "").strip()
        if group not in ("", "0") and site.occupancy == 1:
            full[site.said.get(ASSEMBLY, "").strip()].setdefault(group, site)
    for groups in full.values():
        for first, second in pairwise(groups.values()):
            if formula is None or not all(OCCUPANCY in one.said for one in (first, second)):
                return [
                    f"{first.label} and {second.label} are alternatives ({GROUP} "
                    f"{first.said[GROUP]} and {second.said[GROUP]}), and both are full; write the "
                    f"occupancies as {OCCUPANCY}, or leave one group out"
                ]
    return []


def multiplicities(sites: list[Site], atoms: Atoms, symmetry: Symmetry) -> list[str]:
    """Multiplicities that are not those of the atoms that were read.

    Most programs write how many places an atom has in the cell, and SHELXL how many operations
    leave it where it is, with the same tag. Ones alone say nothing: some programs write no others.
    """
    if "magn" in symmetry.source:
        return []
    for tag in MULTIPLICITIES:
        stated = [_positive(site.said.get(tag)) for site in sites]
        told = [k for k, value in enumerate(stated) if value > 0]
        places = [k for k in told if stated[k] != atoms.sizes[k]]
        orders = [k for k in told if stated[k] * atoms.sizes[k] != len(symmetry)]
        if places and orders and any(stated[k] != 1 for k in told):
            k = places[0]
            return [
                f"{tag} of {sites[k].label} is {stated[k]:g}, but {symmetry.source or 'P 1'} gives "
                f"it {atoms.sizes[k]} {'place' if atoms.sizes[k] == 1 else 'places'} in the cell; "
                "mend the symmetry or the multiplicities"
            ]
    return []


def _positive(text: str | None) -> float:
    """The number that a text is; 0 where it is none."""
    parsed = number(text or "")
    return 0.0 if parsed is None else max(parsed[0], 0.0)
