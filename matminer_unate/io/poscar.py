"""Text of a POSCAR or CONTCAR → pymatgen Structure, unless the text contradicts itself.

pymatgen takes as many symbols and coordinates as there are counts, and is silent about the others.
VASP itself (https://vasp.at/wiki/POSCAR) lets velocities follow the atoms: of the lattice, then,
after a blank line or one with their coordinate system, of the atoms; and, of molecular dynamics,
what its predictor needs.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import dropwhile, takewhile
from typing import TYPE_CHECKING

from matminer_unate.cif.reading import Reading
from matminer_unate.errors import StructureError
from matminer_unate.io.cut_numbers import ends_in_short_number

if TYPE_CHECKING:
    from pymatgen.core import Structure


_SYMBOLS = 5
"""Where the symbols are, or, of VASP 4, the counts: after comment, scale and lattice."""

_MAX_SYMBOL_LINES = 10
"""VASP begins a new line after 20 symbols."""

_COUNTS = re.compile(r"\s*[0-9]+(\s|$)")

_SELECTIVE = re.compile(r"\s*s", re.IGNORECASE)
"""The line that says that flags stand behind the coordinates."""

_SYSTEM = re.compile(r"\s*[cdk][^0-9]*", re.IGNORECASE)
"""The line above velocities: Cartesian or Direct. ``Direct configuration= 2`` of an XDATCAR has a
number, and coordinates of the next step below."""


@dataclass(frozen=True)
class _Layout:
    """The lines of a POSCAR.

    Attributes
    ----------
    symbols, counts : list of str
        No symbols in VASP 4 style.
    atoms : list of str
        The lines with the coordinates of the atoms that are counted, as far as they are there.
    rest : list of str
        What follows.
    """

    symbols: list[str]
    counts: list[str]
    atoms: list[str]
    rest: list[str]


def from_poscar(text: str) -> Structure | Reading:
    """Read POSCAR text.

    Returns
    -------
    Structure or Reading
        The latter where there are doubts about it.

    Raises
    ------
    StructureError
        It names no elements (VASP 4 style), which pymatgen would make up as H, He, Li, …; or the
        numbers of its symbols, counts and coordinates differ.
    """
    from pymatgen.io.vasp import Poscar

    lines = _lines(text)
    layout = _layout(lines)
    doubts = [] if layout is None else [*_doubts(layout), *_doubts_of_end(layout, text)]
    poscar = Poscar.from_str("\n".join(lines), read_velocities=False)
    if not poscar.true_names:
        raise StructureError(
            "the POSCAR names no elements (VASP 4 style); add a line with the symbols above the "
            "line with the counts"
        )
    return Reading(poscar.structure, doubts=tuple(doubts)) if doubts else poscar.structure


def _lines(text: str) -> list[str]:
    """The lines without what is behind ``!`` or ``#``; the first is the comment, if a blank one."""
    lines = [line.rstrip() for line in text.split("\n")]
    first = next((k for k, line in enumerate(lines) if line), 0)
    comment, *others = lines[max(0, first - 1) :]
    return [comment, *(re.split("[!#]", line, maxsplit=1)[0].rstrip() for line in others)]


def _layout(lines: list[str]) -> _Layout | None:
    """None where the text ends before its coordinates."""
    near = enumerate(lines[: _SYMBOLS + _MAX_SYMBOL_LINES + 1])
    start = next((k for k, line in near if k >= _SYMBOLS and _COUNTS.match(line)), None)
    if start is None:
        return None
    symbols = " ".join(lines[_SYMBOLS:start]).split()
    # As many lines of counts as of symbols.
    stop = start + max(1, start - _SYMBOLS)
    counts = " ".join(lines[start:stop]).split()
    if not all(count.isdigit() for count in counts):
        raise StructureError(
            f"the counts of the atoms, {_some(counts)}, are no whole numbers; mend them"
        )
    is_selective = any(map(_SELECTIVE.match, lines[stop : stop + 1]))
    first = stop + 1 + is_selective
    last = first + sum(map(int, counts))
    return _Layout(symbols, counts, lines[first:last], lines[last:])


def _doubts(layout: _Layout) -> list[str]:
    """What there is to doubt in the numbers of atoms and velocities.

    Raises
    ------
    StructureError
        The numbers of symbols and counts, or of counts and coordinates, differ.
    """
    symbols, counts = layout.symbols, layout.counts
    if symbols and len(symbols) != len(counts):
        raise StructureError(
            f"the POSCAR has {len(symbols)} symbols ({_some(symbols)}) and {len(counts)} counts "
            f"({_some(counts)}); give each symbol its count"
        )
    n_atoms = sum(map(int, counts))
    n_listed = len(list(takewhile(bool, layout.atoms)))
    if n_listed < n_atoms:
        raise StructureError(
            f"the POSCAR counts {n_atoms} atoms ({_some(counts)}) and lists {n_listed}; write it "
            "again, whole and without blank lines between the atoms"
        )
    rest = _after_lattice(layout.rest)
    if rest and rest[0] and not _SYSTEM.fullmatch(rest[0]):
        n_listed += len(list(takewhile(bool, rest)))
        raise StructureError(
            f"the POSCAR counts {n_atoms} atoms ({_some(counts)}) and lists {n_listed}; mend the "
            "counts, or remove what is below the atoms"
        )
    following = list(dropwhile(operator.not_, rest))
    if following and _SYSTEM.fullmatch(following[0]):
        following = following[1:]
    elif following and following[0].strip().isdigit():
        return []  # a number alone begins the lines of the predictor
    velocities = list(takewhile(_is_vector, following))
    if not any(following) or len(velocities) == n_atoms:
        return []
    return [
        f"below the {n_atoms} atoms that the POSCAR counts stand {len(velocities)} lines of three "
        f"numbers, which are not the velocities of {n_atoms} atoms; mend the counts, or remove "
        "what is below the atoms"
    ]


def _after_lattice(rest: list[str]) -> list[str]:
    """What follows the velocities of the lattice: a title, a number, and six vectors."""
    if not (rest and rest[0].lstrip().lower().startswith("lattice")):
        return rest
    rest = rest[2:] if len(rest) > 1 and len(rest[1].split()) == 1 else rest[1:]
    return rest[len(list(takewhile(_is_vector, rest[:6]))) :]


def _is_vector(line: str) -> bool:
    try:
        return len([float(number) for number in line.split()[:3]]) == 3
    except ValueError:
        return False


def _doubts_of_end(layout: _Layout, text: str) -> list[str]:
    if layout.rest or not layout.atoms or len(layout.atoms[-1].split()) != 3:
        return []
    numbers = [number for line in layout.atoms for number in line.split()[:3]]
    if not ends_in_short_number(text, numbers):
        return []
    return [
        f"the POSCAR ends in the coordinate {numbers[-1]}, without a line end, and the others are "
        "longer: it may be cut; write it again, or end its last line if it is whole"
    ]


def _some(words: Sequence[str]) -> str:
    return " ".join(words[:12]) + (" …" if len(words) > 12 else "")
