"""Symmetry of a CIF block → operations; from the names of space groups where none are listed."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cache, cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from matminer_unate.cif.tokens import Block
from matminer_unate.errors import StructureError

OPERATIONS = (
    "_space_group_symop_operation_xyz",
    "_symmetry_equiv_pos_as_xyz",
    "_space_group_symop_magn_operation_xyz",
)
CENTRING = "_space_group_symop_magn_centering_xyz"
"""Translations of a magnetic cell, to be combined with its operations."""

HALL = ("_space_group_name_hall", "_symmetry_space_group_name_hall")
NAMES = (
    "_space_group_name_h-m_alt",
    "_symmetry_space_group_name_h-m",
    "_space_group_name_h-m_full",
    "_space_group_name_h-m_ref",
)
NUMBERS = ("_space_group_it_number", "_symmetry_int_tables_number")

MAX_STRAIN = 0.01
"""How far, relative to a length, an operation may change a cell that it should map onto itself."""

OWN_STRAIN = 2e-4
"""The same of a cell that is written in the setting of its space group, angles of 90 as 90."""

MAX_OPERATIONS = 2_000
"""Of a list. The cell of a space group has at most 192, a supercell of eight of them 1,536."""

MAX_PRODUCTS = 100_000
"""Products of operations that are made at once, in some 20 MB."""

_TERM = re.compile(r"([+-]?)(\d+\.?\d*(?:/0*[1-9]\d*)?|\.\d+)?\*?([xyz])?")
_CHOICE = re.compile(r"[: ]\s*([12hrszHRSZ])\s*\d*$")
_OLDER = {"cmca": "cmce", "cmma": "cmme", "ccca": "ccce", "abm2": "aem2", "aba2": "aea2"}


@dataclass(frozen=True)
class Symmetry:
    """Operations x → R x + t on fractional coordinates.

    Attributes
    ----------
    rotations : (n, 3, 3)
    translations : (n, 3)
    source : str
        What of the file they are taken from, for people; empty if it says nothing.
    """

    rotations: NDArray[np.float64]
    translations: NDArray[np.float64]
    source: str = ""

    def __len__(self) -> int:
        return len(self.rotations)

    def strain(self, lattice: NDArray[np.float64]) -> float:
        """Largest relative change of a length of the cell under an operation."""
        metric = lattice @ lattice.T
        size = np.sqrt(np.diag(metric))
        moved = np.einsum("nki,kl,nlj->nij", self.rotations, metric, self.rotations)
        return float(np.abs((moved - metric) / np.outer(size, size)).max()) / 2

    @cached_property
    def is_group(self) -> bool:
        """Whether each product of two operations is one of them, but for lattice vectors."""
        known = _keys(self.rotations, self.translations)
        rows = max(1, MAX_PRODUCTS // len(self))
        for begin in range(0, len(self), rows):
            turns = self.rotations[begin : begin + rows]
            rotations = np.einsum("aij,bjk->abik", turns, self.rotations)
            moved = np.einsum("aij,bj->abi", turns, self.translations)
            shifts = moved + self.translations[begin : begin + rows, None]
            if not np.isin(_keys(rotations.reshape(-1, 3, 3), shifts.reshape(-1, 3)), known).all():
                return False
        return True


def _keys(rotations: NDArray[np.float64], translations: NDArray[np.float64]) -> NDArray[np.int64]:
    """A number for each operation, the same where translations differ by lattice vectors."""
    turns = np.round(rotations).reshape(-1, 9).astype(np.int64) + 3
    shifts = np.round(translations * 5040).astype(np.int64) % 5040
    powers = [*(7**k for k in range(9)), *(7**9 * 5040**k for k in range(3))]
    return turns @ np.array(powers[:9]) + shifts @ np.array(powers[9:])


IDENTITY = Symmetry(np.eye(3)[None], np.zeros((1, 3)))


def find_symmetry(block: Block, lattice: NDArray[np.float64]) -> list[Symmetry]:
    """The symmetry that a block states; several where what it says has several meanings.

    Parameters
    ----------
    block : Block
    lattice : (3, 3), Å
        Tells the settings of a space group apart.

    Raises
    ------
    StructureError
        An operation or the name of a group cannot be understood, or the operations are too many.
    """
    for tag in OPERATIONS:
        listed = _values(block, tag)
        if listed:
            centring = tuple(_values(block, CENTRING)) if "magn" in tag else ()
            return [_listed(tuple(listed), centring, tag)]
    for tag in HALL:
        for hall in _values(block, tag):
            found = _of_hall(hall)
            if found is not None:
                return [_from_database(found, f"the Hall symbol {hall!r}")]
    return _named(block, lattice)


def named_otherwise(block: Block, symmetry: Symmetry) -> str:
    """Which space group of the block has more or fewer operations than were taken, or ""."""
    if "magn" in symmetry.source:
        return ""
    for said, settings in _known_groups(block):
        counts = {len(_from_database(setting, said)) for setting in settings}
        if len(symmetry) not in counts:
            has = "lists" if symmetry.source in OPERATIONS else "has"
            listed = f"{symmetry.source} {has} {len(symmetry)} operations"
            return f"{listed}, {said} has {' or '.join(map(str, sorted(counts)))}"
    return ""


def lacks_operations(block: Block, symmetry: Symmetry, lattice: NDArray[np.float64]) -> bool:
    """Whether a space group of the block has more operations in this cell than were taken.

    In a primitive cell, which has not the angles of the centred one that its group is named after,
    there are fewer, and in a supercell there are more.
    """
    for said, settings in _known_groups(block):
        groups = [_from_database(setting, said) for setting in settings]
        counts = [len(group) for group in groups if group.strain(lattice) < OWN_STRAIN]
        if counts and len(symmetry) < min(counts):
            return True
    return False


def contradictions(block: Block, symmetry: Symmetry) -> list[str]:
    """What a block says twice of its symmetry, and differently, so that no number of atoms tells.

    Two lists of operations, and without any list two space groups of as many operations.
    """
    if symmetry.source in OPERATIONS:
        lists = [one for tag in OPERATIONS if "magn" not in tag for one in _lists(block, tag)]
        if "magn" in symmetry.source or all(one == lists[0] for one in lists):
            return []
        return ["the block has two lists of operations that differ; leave the one that is meant"]
    known = [(said, {one.number for one in settings}) for said, settings in _known_groups(block)]
    for said, numbers in known[1:]:
        first, others = known[0]
        if not numbers & others and not named_otherwise(block, symmetry):
            return [f"{first} and {said} are two, and no operations are listed; leave one of them"]
    return []


def _lists(block: Block, tag: str) -> Iterator[frozenset[_Operation] | None]:
    """The operations of each list that has any; None for one that cannot be understood."""
    for loop in block.loops.get(tag, ()):
        texts = dict.fromkeys(v for v in loop.columns[tag] if v is not None and v.strip())
        if texts:
            try:
                yield frozenset(map(_operation, texts))
            except StructureError:
                yield None


def _known_groups(block: Block) -> Iterator[tuple[str, list[_Setting]]]:
    """All space groups of a block that are known, with their settings."""
    for tag in HALL:
        for hall in _values(block, tag):
            setting = _of_hall(hall)
            if setting is not None:
                yield f"the Hall symbol {hall!r}", [setting]
    for said, _, settings in _named_groups(block):
        if settings:
            yield said, settings


def _named_groups(block: Block) -> Iterator[tuple[str, str, list[_Setting]]]:
    """Space groups by name or number, for people; why they may be unknown; and their settings."""
    for tag in NAMES:
        for name in _values(block, tag):
            yield f"the space group {name!r}", "is unknown", _settings(name)
    for tag in NUMBERS:
        for number in _values(block, tag):
            settings = _all_settings().by_number.get(number.strip(), [])
            yield f"the space group number {number}", "is none from 1 to 230", settings


def _named(block: Block, lattice: NDArray[np.float64]) -> list[Symmetry]:
    unknown = ""
    for said, reason, settings in _named_groups(block):
        if settings:
            return _fitting(settings, said, lattice)
        unknown = unknown or f"{said} {reason}"
    if unknown:
        raise StructureError(
            f"{unknown}, and no operations are listed; write them as {OPERATIONS[0]}"
        )
    if block.has("_space_group_magn") or block.has("_space_group_symop_ssg"):
        raise StructureError(
            "the symmetry is magnetic or modulated, and no operations x, y, z are listed; write "
            "them with the program that made the file"
        )
    return [IDENTITY]


def _values(block: Block, tag: str) -> list[str]:
    for loop in block.loops.get(tag, ()):
        if loop.fault:
            raise StructureError(f"the symmetry cannot be read: {loop.fault}; mend that loop")
        found = [value for value in loop.columns[tag] if value is not None and value.strip()]
        if found:
            return found
    return []


# -- operations that are listed -------------------------------------------------------------------


@lru_cache(maxsize=256)
def _listed(texts: tuple[str, ...], centring: tuple[str, ...], tag: str) -> Symmetry:
    number = len(set(texts)) * max(1, len(set(centring)))
    if number > MAX_OPERATIONS:
        raise StructureError(
            f"{tag} lists {number:,} operations, more than the {MAX_OPERATIONS:,} that the cell of "
            "a crystal can have; list those of its space group, or all atoms and x, y, z alone"
        )
    operations = list(dict.fromkeys(map(_operation, texts)))
    if centring:
        shifts = list(dict.fromkeys(map(_operation, centring)))
        operations = list(
            dict.fromkeys(
                (r, tuple((Fraction(a) + b) % 1 for a, b in zip(t, s, strict=True)))
                for _, s in shifts
                for r, t in operations
            )
        )
    if not any(r == _NO_TURN and not any(x % 1 for x in t) for r, t in operations):
        raise StructureError(f"{tag} lacks the operation x, y, z; add it")
    rotations = np.array([r for r, _ in operations], dtype=np.float64)
    translations = np.array([[float(x) for x in t] for _, t in operations])
    return Symmetry(rotations, translations, tag)


_NO_TURN = ((1, 0, 0), (0, 1, 0), (0, 0, 1))

_Operation = tuple[tuple[tuple[int, ...], ...], tuple[Fraction, ...]]


@lru_cache(maxsize=4096)
def _operation(text: str) -> _Operation:
    """Read ``-x+1/2, y, -z``; a fourth part, time reversal, is left out."""
    parts = re.sub(r"[\s']", "", text.lower()).split(",")
    if len(parts) not in (3, 4):
        raise _no_operation(text)
    rows, shifts = [], []
    for part in parts[:3]:
        row, shift, end = [0, 0, 0], Fraction(0), 0
        for match in _TERM.finditer(part):
            sign, number, axis = match.groups()
            if not match[0]:
                continue
            if match.start() != end or not (number or axis):
                raise _no_operation(text)
            end = match.end()
            value = (-1 if sign == "-" else 1) * (Fraction(number) if number else Fraction(1))
            if axis and value.denominator != 1:
                raise _no_operation(text)
            if axis:
                row["xyz".index(axis)] += int(value)
            else:
                shift += value
        if end != len(part) or not any(row):
            raise _no_operation(text)
        rows.append(tuple(row))
        # 0.3333 and 1/3 are the same translation.
        shifts.append(shift.limit_denominator(24) % 1)
    if abs(round(np.linalg.det(np.array(rows, dtype=np.float64)))) != 1:
        raise _no_operation(text)
    return tuple(rows), tuple(shifts)


def _no_operation(text: str) -> StructureError:
    return StructureError(
        f"{text!r} is no symmetry operation; write it like '-x+1/2, y, -z', or leave the list "
        "of operations out and name the space group"
    )


# -- names of space groups ------------------------------------------------------------------------


@dataclass(frozen=True)
class _Setting:
    number: int
    hall_number: int
    choice: str


def _from_database(setting: _Setting, source: str) -> Symmetry:
    return Symmetry(*_database(setting.hall_number), source)


@cache
def _database(hall_number: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Rotations (n, 3, 3) and translations (n, 3) of a setting."""
    import spglib

    found = spglib.get_symmetry_from_database(hall_number)
    assert found is not None
    return found["rotations"].astype(np.float64), found["translations"]


def _fitting(settings: list[_Setting], source: str, lattice: NDArray[np.float64]) -> list[Symmetry]:
    found = [_from_database(setting, source) for setting in settings]
    return [one for one in found if one.strain(lattice) < MAX_STRAIN] or found[:1]


def _settings(name: str) -> list[_Setting]:
    """Settings that a Hermann–Mauguin symbol can mean, e.g. ``F d -3 m :2`` or ``P21/n``."""
    found, choice = _known(name), None
    if not found:
        # The last 1 of P 32 2 1 is no choice of origin.
        choice = _CHOICE.search(name.strip())
        found = _known(_CHOICE.sub("", name.strip()))
    if choice and len(found) > 1:
        wanted = choice[1].lower().replace("z", "2").replace("s", "1")
        found = [one for one in found if one.choice.lower().startswith(wanted)] or found
    elif len({one.choice[:1] for one in found} & {"a", "b", "c"}) > 1:
        # A short monoclinic symbol has b as its axis.
        found = [one for one in found if one.choice.startswith("b")]
    return found


def _known(name: str) -> list[_Setting]:
    plain = _squeezed(name)
    # Fm3m and Cmca, as they were written before 1992, are Fm-3m and Cmce.
    older = _OLDER.get(plain, re.sub(r"(?<=[mnda])3", "-3", plain))
    by_name = _all_settings().by_name
    return by_name.get(plain) or by_name.get(older, [])


def _of_hall(symbol: str) -> _Setting | None:
    """The setting of a Hall symbol; P 32 is another group than P 3 2, and P32 may be either."""
    alike = _all_settings().by_hall.get(_squeezed(symbol), [])
    exact = [setting for spaced, setting in alike if spaced == _spaced(symbol)]
    found = exact or [setting for _, setting in alike]
    return found[-1] if len({setting.number for setting in found}) == 1 else None


def _spaced(symbol: str) -> str:
    return " ".join(symbol.replace("_", " ").lower().split())


def _squeezed(name: str) -> str:
    return re.sub(r"[\s_]", "", name).lower()


@dataclass(frozen=True)
class _Settings:
    """All 530 settings of space groups, by symbol without blanks and by number."""

    by_name: dict[str, list[_Setting]]
    by_hall: dict[str, list[tuple[str, _Setting]]]
    by_number: dict[str, list[_Setting]]


@cache
def _all_settings() -> _Settings:
    import spglib

    found = _Settings(defaultdict(list), defaultdict(list), defaultdict(list))
    for hall_number in range(1, 531):
        kind = spglib.get_spacegroup_type(hall_number)
        assert kind is not None
        setting = _Setting(kind.number, hall_number, kind.choice.lstrip("-"))
        found.by_hall[_squeezed(kind.hall_symbol)].append((_spaced(kind.hall_symbol), setting))
        found.by_number[str(kind.number)].append(setting)
        written = [kind.international_full, *kind.international.split("=")]
        # P 1 21/n 1 is P21/n for short.
        if 3 <= kind.number <= 15:
            written.append(re.sub(r" 1(?= |$)", "", kind.international_full))
            written.remove(kind.international.split("=")[0])
        for name in dict.fromkeys(map(_squeezed, written)):
            found.by_name[name].append(setting)
    return found
