"""Text, table cells and arrays of one crystal → pymatgen Structure."""

from __future__ import annotations

import json
import math
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from matminer_unate.cif.reading import SITE_TOLERANCE, Reading, crystal_blocks, read_crystal
from matminer_unate.errors import StructureError
from matminer_unate.io.poscar import from_poscar
from matminer_unate.io.structure_dicts import from_dict

if TYPE_CHECKING:
    from pymatgen.core import Structure


UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")

_CIF = re.compile(r"(?:^|\r)\s*(data_|_cell_)", re.MULTILINE | re.IGNORECASE)

_MAX_REASON = 300
"""Characters of a foreign error message that are repeated."""


@dataclass(frozen=True)
class Parsed:
    """What came of one attempt to read a structure.

    Attributes
    ----------
    structure : Structure or None
    error : StructureError or None
        Set where ``structure`` is None.
    notes : tuple of str
        Harmless remarks.
    doubts : tuple of str
        Reasons why it may be another crystal than that of the input.
    """

    structure: Structure | None
    error: StructureError | None = None
    notes: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()


def attempt(parse: Callable[..., Structure | Reading], *args: Any) -> Parsed:
    """Call a parser with its warnings collected and every failure made a StructureError."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            found = parse(*args)
            if isinstance(found, Reading):
                return Parsed(found.structure, notes=found.notes, doubts=found.doubts)
            return Parsed(found, notes=_texts(caught))
        except StructureError as e:
            return Parsed(None, e)
        except Exception as e:
            # Parsers of other people's formats fail in every way there is; the row must not.
            reason = _one_line(f"{type(e).__name__}: {e}")
            error = StructureError(
                f"could not be read ({reason}); it is damaged or in another format: export or "
                "download it again"
            )
            error.__cause__ = e
            return Parsed(None, error)


def decode(content: bytes) -> str:
    """Text of a structure file: UTF-8, UTF-16 with its mark, else Latin-1.

    Older CIFs carry authors' names in Latin-1; all that describes the crystal is ASCII.

    Raises
    ------
    StructureError
        The file is empty or binary.
    """
    if not content.strip():
        raise StructureError("the file is empty; download or export it again")
    if content[:2] in UTF16_MARKS:
        try:
            return content.decode("utf-16")
        except UnicodeDecodeError as e:
            raise StructureError(f"damaged UTF-16 text ({e}); save it as UTF-8") from e
    if b"\0" in content:
        raise StructureError("the file is binary, not the text of a structure")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def from_cif(text: str, site_tolerance: float = SITE_TOLERANCE) -> Reading:
    """Read a CIF with one crystal, in the cell that it is written in."""
    blocks = crystal_blocks(text)
    if len(blocks) != 1:
        raise StructureError(
            f"the CIF text holds {len(blocks)} structures; give each a row of its own"
        )
    return read_crystal(blocks[0], site_tolerance)


def from_arrays(lattice: Any, frac_coords: Any, species: Any) -> Structure:
    """Build a crystal of plain arrays, each given as an array, lists or their JSON text.

    Parameters
    ----------
    lattice : 9 numbers or (3, 3), Å
        Lattice vectors as rows.
    frac_coords : 3·n_sites numbers or (n_sites, 3)
    species : (n_sites,)
        Atomic numbers or symbols.

    Raises
    ------
    StructureError
        An array is missing, or its size or shape does not fit.
    """
    from pymatgen.core import Lattice, Structure

    cell = np.asarray(_listed("lattice", lattice), dtype=np.float64)
    coords = np.asarray(_listed("frac_coords", frac_coords), dtype=np.float64)
    elements = [_element(s) for s in _listed("species", species)]
    if cell.size != 9 or coords.size != 3 * len(elements):
        raise StructureError(
            f"lattice has {cell.size} numbers (9 expected), frac_coords {coords.size} (3 for each "
            f"of {len(elements)} species expected)"
        )
    _check_shape("lattice", cell, 3)
    _check_shape("frac_coords", coords, len(elements))
    return Structure(Lattice(cell.reshape(3, 3)), elements, coords.reshape(-1, 3))


def from_cell(value: Any, site_tolerance: float = SITE_TOLERANCE) -> Structure | Reading:
    """Read a table cell: CIF or POSCAR text, a pymatgen dict, or its JSON.

    Raises
    ------
    StructureError
        The cell is empty or holds none of these.
    """
    if value is None or value == "" or (isinstance(value, float) and math.isnan(value)):
        raise StructureError("the structure is missing (empty cell); drop or fill this row")
    if isinstance(value, bytes):
        value = decode(value)
    if isinstance(value, dict):
        return from_dict(value)
    if not isinstance(value, str):
        raise StructureError(
            f"expected the text or dict of a structure, got {_one_line(repr(value))}"
        )
    text = value.strip()
    if text.startswith("{"):
        return from_dict(_json(text))
    if _CIF.search(text):
        return from_cif(value, site_tolerance)
    if "\n" not in text:
        raise StructureError(
            f"{_one_line(text, 60)!r} is no text of a structure; to read files, pass them or their "
            "folder instead of a table of their names"
        )
    if text.startswith(("Full Formula", "Structure Summary")):
        raise StructureError(
            "this is str(structure), made for reading by eye; write the table with "
            "structure.to(fmt='cif') or json.dumps(structure.as_dict())"
        )
    return from_poscar(value)


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as e:
        raise StructureError(
            f"neither JSON nor the text of a structure ({e}); write dicts with "
            "json.dumps(structure.as_dict())"
        ) from e


def _listed(name: str, value: Any) -> list[Any]:
    if isinstance(value, str) and value.strip():
        try:
            value = json.loads(value)
        except json.JSONDecodeError as e:
            raise StructureError(
                f"{name} is no JSON list ({e}); write it with json.dumps(array.tolist())"
            ) from e
    if value is None or (isinstance(value, str) and value == ""):
        raise StructureError(f"{name} is missing (empty cell); drop or fill this row")
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if not isinstance(value, list):
        raise StructureError(f"{name} is no list, got {_one_line(repr(value))}")
    return value


def _check_shape(name: str, array: NDArray[np.float64], n: int) -> None:
    """Raise StructureError unless nested numbers are (n, 3); the others would be scrambled."""
    if array.ndim > 1 and array.shape != (n, 3):
        cure = "transpose it" if array.shape == (3, n) else "nest its numbers so, or not at all"
        raise StructureError(f"{name} has the shape {array.shape}, ({n}, 3) expected; {cure}")


def _element(species: Any) -> Any:
    from pymatgen.core import get_el_sp

    if isinstance(species, str):
        return get_el_sp(species)
    if isinstance(species, bool) or species is None or species != int(species):
        raise StructureError(f"species {species!r} is neither an atomic number nor a symbol")
    return _element_of(int(species))


@lru_cache(maxsize=256)
def _element_of(number: int) -> Any:
    # pymatgen looks through all elements for it.
    from pymatgen.core import Element

    return Element.from_Z(number)


def _texts(caught: list[warnings.WarningMessage]) -> tuple[str, ...]:
    """What was warned of, each once."""
    return tuple(dict.fromkeys(text for w in caught if (text := _one_line(str(w.message)))))


def _one_line(text: str, width: int = _MAX_REASON) -> str:
    joined = " ".join(text.split())
    return joined if len(joined) <= width else joined[: width - 1] + "…"
