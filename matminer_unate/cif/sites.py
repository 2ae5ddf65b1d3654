"""The atoms that a CIF block lists: element, place and occupancy of each."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from matminer_unate.cif.formula import SYMBOLS, Formula, hydrogen
from matminer_unate.cif.tokens import Block, Loop, decimals, is_shortest, no_number, number
from matminer_unate.errors import StructureError

COORDINATES = ("_atom_site_fract_x", "_atom_site_fract_y", "_atom_site_fract_z")
LABEL, TYPE = "_atom_site_label", "_atom_site_type_symbol"
OCCUPANCY, CALCULATED = "_atom_site_occupancy", "_atom_site_calc_flag"
ATTACHED = "_atom_site_attached_hydrogens"
ASSEMBLY, GROUP = "_atom_site_disorder_assembly", "_atom_site_disorder_group"
MULTIPLICITIES = (
    "_atom_site_symmetry_multiplicity",
    "_atom_site_site_symmetry_multiplicity",
    "_atom_site_site_symmetry_order",
)
SAID = (TYPE, OCCUPANCY, ATTACHED, ASSEMBLY, GROUP, *MULTIPLICITIES)
"""What is kept of a row as it is written, to compare it with what was read."""

NEARLY_FULL = 0.01
"""An occupancy this near to 1 is 1 …"""

MOST_UNCERTAIN = 0.05
"""… or one within its uncertainty of 1, if that is no larger than this."""

MAX_LISTED = 100_000
"""Atoms of a list. No crystal has so many, and to read them takes a minute and gigabytes."""

GROUPS = {
    **dict.fromkeys(("OH", "OH2", "H2O", "HOH", "WAT", "H3O", "HO", "DOD", "OD", "D2O"), "O"),
    **dict.fromkeys(("NH", "NH2", "NH3", "NH4", "ND4", "ND3"), "N"),
    **dict.fromkeys(("CH", "CH2", "CH3", "CH4"), "C"),
}
"""Groups that stand in the place of an atom, and the atom that they are around."""

_TWO_ATOMS = frozenset({"CO", "NO", "CN", "PO", "HF"})
"""In capitals these are elements only where the formula has them."""

_SYMBOL = re.compile(r"([A-Za-z]{1,2})[^A-Za-z]*$")
_LETTERS = re.compile(r"[A-Za-z]+")
_GROUP = re.compile(r"[A-Za-z]+(?:\d[A-Za-z]+)?\d?")
_UNPLACED = "coordinates ? or ."
_TWELFTHS = tuple(n / 12 for n in (1, 2, 4, 5, 7, 8, 10, 11))


@dataclass(frozen=True)
class Site:
    """One atom of the list.

    Attributes
    ----------
    label : str
    element : str
    place : (3,) tuple
        Fractional coordinates.
    occupancy, uncertainty : float
        Occupancies that are nearly 1 are 1.
    said : dict of str to str
        Those of ``SAID`` that its row has, by tag.
    """

    label: str
    element: str
    place: tuple[float, float, float]
    occupancy: float = 1.0
    uncertainty: float = 0.0
    said: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Remarks:
    """What there is to say of a crystal that was read.

    Attributes
    ----------
    notes : list of str
        Harmless: the crystal is that of the file.
    doubts : list of str
        The crystal may be another one than that of the file.
    """

    notes: list[str]
    doubts: list[str]


def read_sites(block: Block, formula: Formula | None, remarks: Remarks) -> list[Site]:
    """The atoms of a block that have a place and are there.

    Raises
    ------
    StructureError
        The list is missing or damaged, or an entry of it is no number or no element.
    """
    loop = _site_loop(block)
    n_listed = len(next(iter(loop.columns.values())))
    if n_listed > MAX_LISTED:
        raise StructureError(
            f"the CIF lists {n_listed:,} atoms, more than the {MAX_LISTED:,} of the largest "
            "crystals; is it a box of a simulation? Write a unit cell"
        )
    loop = _with_other_loops(block, loop, remarks)
    sites = []
    left_out: dict[str, list[str]] = defaultdict(list)
    for label, kind, place, occupancy, calculated, said in _rows(loop):
        name = label or kind or "?"
        value, uncertainty = _occupancy(name, occupancy)
        if (calculated or "").lower() == "dum":
            left_out["marked as no atom (dum)"].append(name)
        elif value == 0:
            left_out["occupancy 0"].append(name)
        elif any(x is None for x in place):
            left_out[_UNPLACED].append(name)
        else:
            element = _element(label, kind, formula, remarks)
            x, y, z = (_coordinate(name, axis, x) for axis, x in zip("xyz", place, strict=True))
            sites.append(Site(name, element, (x, y, z), value, uncertainty, said))
    if not sites:
        raise StructureError(
            "no atom of the list has coordinates; export the structure again with coordinates"
        )
    unplaced = left_out.pop(_UNPLACED, None)
    if unplaced:
        remarks.doubts.append(f"{_names(unplaced)} left out: {_UNPLACED}; add them")
    remarks.notes += [f"{_names(names)} left out: {why}" for why, names in left_out.items()]
    nearly = [site.label for site in sites if site.occupancy == 1 and site.uncertainty]
    if nearly:
        remarks.notes.append(f"{_names(nearly)}: an occupancy that is nearly 1 was taken as 1")
    if block.is_cut and _is_shorter(loop):
        remarks.doubts.append(
            "the file ends in the list of atoms, with a number that is shorter than the others: "
            "it may be cut; download it again"
        )
    return sites


def _is_shorter(loop: Loop) -> bool:
    """Whether the last coordinate, at the end of the file, has fewer decimals than all others."""
    if list(loop.columns)[-1] not in COORDINATES:
        return False
    written = [value or "" for tag in COORDINATES for value in loop.columns[tag]]
    return is_shortest(loop.columns[list(loop.columns)[-1]][-1] or "", written)


def _site_loop(block: Block) -> Loop:
    loops = block.loops.get(COORDINATES[0], [])
    if len(loops) == 1 and len(loops[0].columns) == 1:
        # One atom alone needs no loop: its values are pairs.
        pairs = [one for tag, of in block.loops.items() for one in of if "_atom_site_" in tag]
        columns = {tag: column for one in pairs for tag, column in one.columns.items()}
        loops = [Loop(loops[0].line, {t: c for t, c in columns.items() if len(c) == 1})]
    if not loops:
        if block.has("_atom_site_cartn_x"):
            raise StructureError(
                "the atoms have Cartesian coordinates (_atom_site_Cartn_x), whose axes a CIF need "
                "not say; export it with fractional coordinates (_atom_site_fract_x)"
            )
        raise StructureError(
            f"no structures: there is no list of atoms with coordinates ({COORDINATES[0]})"
            f"{_said(block)}; export the structure again"
        )
    loop = loops[0]
    if any(other.columns != loop.columns for other in loops[1:]):
        lines = " and ".join(str(one.line) for one in loops)
        raise StructureError(f"two lists of atoms, at lines {lines}; leave one of them")
    if loop.fault:
        raise StructureError(
            f"the list of atoms is damaged: {loop.fault}{_said(block)}; each atom needs a value "
            "in each column (export or download the file again)"
        )
    missing = [tag for tag in COORDINATES if tag not in loop.columns]
    if missing:
        raise StructureError(
            f"the list of atoms at line {loop.line} has no {missing[0]}; export it again"
        )
    return loop


def _said(block: Block) -> str:
    return f" ({block.faults[0]})" if block.faults else ""


def _with_other_loops(block: Block, loop: Loop, remarks: Remarks) -> Loop:
    """The list of atoms with the columns of other loops that say more of them, by label."""
    wanted = (CALCULATED, *SAID)
    others = {one.line: one for tag in wanted for one in block.loops.get(tag, ())}
    columns = loop.columns
    for line, other in others.items():
        new = [t for t in wanted if t in other.columns and columns.get(t) != other.columns[t]]
        joined = _joined(columns, other, new) if new else columns
        if joined is None:
            remarks.doubts.append(
                f"the loop at line {line} says more of the atoms ({', '.join(new)}), but does not "
                f"fit the list at line {loop.line}; write all columns of an atom in one loop"
            )
        columns = joined or columns
    return Loop(loop.line, columns)


_Columns = dict[str, list[str | None]]


def _joined(columns: _Columns, other: Loop, tags: list[str]) -> _Columns | None:
    """Columns with those of another loop; None where labels do not tell which atoms are meant."""
    rows = {label: row for row, label in enumerate(columns.get(LABEL, ()))}
    labels = other.columns.get(LABEL, [])
    is_clear = len(rows) == len(columns[COORDINATES[0]]) and None not in rows
    if not (labels and is_clear and len(set(labels)) == len(labels) and rows.keys() >= {*labels}):
        return None
    found = dict(columns)
    for tag in tags:
        column = found[tag] = list(columns.get(tag, [None] * len(rows)))
        for label, value in zip(labels, other.columns[tag], strict=True):
            known = column[rows[label]]
            if value is not None and known not in (None, value):
                return None
            column[rows[label]] = known if value is None else value
    return found


_Row = tuple[str | None, str | None, tuple[str | None, ...], str | None, str | None, dict[str, str]]


def _rows(loop: Loop) -> Iterator[_Row]:
    columns, n = loop.columns, len(loop.columns[COORDINATES[0]])
    nothing: list[str | None] = [None] * n
    told = [(tag, columns[tag]) for tag in SAID if tag in columns]
    return zip(
        columns.get(LABEL, nothing),
        columns.get(TYPE, nothing),
        zip(*(columns[tag] for tag in COORDINATES), strict=True),
        columns.get(OCCUPANCY, nothing),
        columns.get(CALCULATED, nothing),
        ({tag: said for tag, column in told if (said := column[k]) is not None} for k in range(n)),
        strict=True,
    )


def _names(labels: list[str]) -> str:
    return ", ".join(labels[:5]) + (f" and {len(labels) - 5} more" if len(labels) > 5 else "")


# -- numbers --------------------------------------------------------------------------------------


def _occupancy(name: str, text: str | None) -> tuple[float, float]:
    # The dictionary's value for an occupancy that is not given.
    if text is None:
        return 1.0, 0.0
    parsed = number(text)
    if parsed is None:
        raise StructureError(f"the occupancy {text!r} of {name} is no number; mend it")
    value, uncertainty = parsed
    if value == 1 or value < 0:
        uncertainty = 0.0
    off = abs(value - 1)
    if 0 < off <= NEARLY_FULL + 1e-9 or 0 < off <= uncertainty <= MOST_UNCERTAIN:
        return 1.0, max(off, uncertainty)
    if not 0 <= value <= 1:
        raise StructureError(
            f"the occupancy of {name} is {text}, which cannot be; mend it (1 is a full site)"
        )
    return value, max(uncertainty, 0.5 * 10.0 ** -decimals(text) if value < 1 else 0.0)


def _coordinate(name: str, axis: str, text: str | None) -> float:
    parsed = number(text or "")
    if parsed is None:
        raise no_number(f"the coordinate {axis} of {name}", text)
    value, places = parsed[0], decimals(text or "")
    if 3 <= places <= 7:
        # 0.3333 is 1/3 as far as it is written.
        whole, part = divmod(value, 1)
        for twelfth in _TWELFTHS:
            if abs(part - twelfth) < 0.6 * 10.0**-places:
                return whole + twelfth
    return value


# -- elements -------------------------------------------------------------------------------------


def _element(label: str | None, kind: str | None, formula: Formula | None, remarks: Remarks) -> str:
    if kind is not None and kind.strip():
        return _from_type(kind.strip(), label or kind, formula, remarks)
    if label is None or not label.strip():
        raise StructureError(
            f"an atom has neither a label nor a type; add the column {TYPE} with its element"
        )
    return _from_label(label.strip(), formula, remarks)


def _from_type(kind: str, label: str, formula: Formula | None, remarks: Remarks) -> str:
    """An element, perhaps with its charge: ``Fe``, ``Fe3+``, ``FE``, ``O2-``."""
    plain = re.sub(r"\d*[+-]\d*$", "", kind)
    match = _SYMBOL.match(kind)
    if match is not None and match[1] in SYMBOLS:
        return match[1]
    if plain.upper() in GROUPS and not _is_listed(plain.capitalize(), formula):
        return _group(plain, label, remarks)
    symbol = match[1].capitalize() if match is not None else ""
    if symbol in SYMBOLS and (_is_listed(symbol, formula) or plain.upper() not in _TWO_ATOMS):
        return symbol
    raise StructureError(
        f"the type {kind!r} of atom {label} is no element; write its element as {TYPE}, or leave "
        "out what is no atom"
    )


def _from_label(label: str, formula: Formula | None, remarks: Remarks) -> str:
    """The element that a label begins with, where the formula leaves no doubt about it."""
    match = _LETTERS.match(label)
    letters = match[0] if match else ""
    group = _GROUP.match(label)
    named = [s for s in (letters[:2].capitalize(), letters[:1].upper()) if s in SYMBOLS]
    is_group = group is not None and (
        group[0].upper() in GROUPS or letters.upper() in GROUPS or letters.upper() == "WAT"
    )
    listed = [s for s in dict.fromkeys(named) if _is_listed(s, formula)]
    # The hydrogen on O2 is H2O, and its oxygen may be OH1: the composition will show it.
    if letters in SYMBOLS and not (is_group and formula is None):
        return letters if letters in listed or not listed else listed[0]
    if len(listed) == 1 and letters.upper() != "WAT":
        return listed[0]
    if is_group and group is not None:
        key = group[0] if group[0].upper() in GROUPS else letters
        return _group(key, label, remarks)
    raise StructureError(
        f"the label {label!r} names no element{' beyond doubt' if named else ''}; add the column "
        f"{TYPE} with the element of each atom"
    )


def _is_listed(symbol: str, formula: Formula | None) -> bool:
    return formula is not None and any(
        hydrogen(symbol) in reading for reading in (formula.amounts, formula.other or {})
    )


def _group(group: str, label: str, remarks: Remarks) -> str:
    centre = GROUPS[group.upper()]
    text = f"{label} is the group {group}; only its {centre} was read, without the other atoms"
    if text not in remarks.doubts:
        remarks.doubts.append(text)
    return centre
