"""Text of a CIF → pymatgen Structure, checked against what else the file says of its crystal.

What may be another crystal than the file means is read with a doubt, which the readers of files
make an error unless they are told to take it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from matminer_unate.cif.expansion import Atoms, expand_sites
from matminer_unate.cif.formula import (
    DENSITIES,
    UNITS,
    VOLUME,
    Amounts,
    Formula,
    difference,
    find_formula,
    mass_density,
    written,
)
from matminer_unate.cif.operations import (
    MAX_STRAIN,
    Symmetry,
    contradictions,
    find_symmetry,
    lacks_operations,
    named_otherwise,
)
from matminer_unate.cif.sites import Remarks, Site, read_sites
from matminer_unate.cif.tokens import Block, no_number, number, read_blocks
from matminer_unate.cif.witnesses import (
    attached_hydrogens,
    disorder_groups,
    modulation,
    multiplicities,
)
from matminer_unate.errors import StructureError

if TYPE_CHECKING:
    from pymatgen.core import Structure


SITE_TOLERANCE = 0.3
"""Å. Images of an atom that are nearer than this are the atom itself, on a special position whose
coordinates were rounded."""

ADD_SYMMETRY = "add the operations or the space group"

LENGTHS = ("_cell_length_a", "_cell_length_b", "_cell_length_c")
ANGLES = ("_cell_angle_alpha", "_cell_angle_beta", "_cell_angle_gamma")

MIN_LENGTH, MIN_VOLUME = 1.0, 2.0
"""Å and Å³. No crystal has a smaller cell."""

SAME_VOLUME = 0.005
"""Relative difference from the volume that the file states that is taken for rounding."""

SAME_DENSITY, SAME_NUMBER = 0.03, 0.02
"""Relative differences of density and of the number of formula units that are rounding."""

OTHER_DENSITY = 1.5
"""Factor between densities from which on the cell is another, though the numbers agree."""

MAX_DENSITY = 30.0
"""g/cm³. No crystal is denser, so that more is in kg/m³."""


@dataclass(frozen=True)
class Reading:
    """A crystal as a text has it, and what there is to say of it.

    Attributes
    ----------
    structure : Structure
        In the cell of the file, atoms in its order; elements without charges.
    notes : tuple of str
        Harmless remarks: the crystal is that of the file.
    doubts : tuple of str
        Reasons why it may be another.
    """

    structure: Structure
    notes: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()


def crystal_blocks(text: str) -> list[Block]:
    """The data blocks of a CIF that hold crystals.

    Raises
    ------
    StructureError
        None does.
    """
    blocks = read_blocks(text)
    found = [
        block
        for block in blocks
        if block.has("_atom_site_fract_") or (block.has("_cell_") and block.has("_atom_site_"))
    ]
    if found:
        return found
    faults = [fault for block in blocks for fault in block.faults]
    said = f" ({faults[0]})" if faults else ""
    has = "a cell but no atoms" if any(b.has("_cell_length_") for b in blocks) else "no crystal"
    raise StructureError(
        f"no structures in this CIF: it has {has}{said}; export or download it again"
    )


def read_crystal(block: Block, site_tolerance: float = SITE_TOLERANCE) -> Reading:
    """Build the crystal of a block and compare it with formula, cell volume and symmetry.

    Parameters
    ----------
    block : Block
    site_tolerance : float, Å
        Images of an atom under symmetry, and atoms that are listed twice, are one where they are
        nearer than this.

    Raises
    ------
    StructureError
        The block holds no crystal that can be read.
    """
    from pymatgen.core import Lattice, Structure

    remarks = Remarks(list(block.faults), [])
    formula, unread = find_formula(block)
    if unread:
        remarks.notes.append(unread)
    lattice = Lattice.from_parameters(*_cell(block, remarks))
    _check_volume(block, lattice.volume, remarks)
    sites = read_sites(block, formula, remarks)
    symmetries = find_symmetry(block, lattice.matrix)
    remarks.doubts += [
        *modulation(block),
        *attached_hydrogens(sites, formula),
        *disorder_groups(sites, formula),
        *contradictions(block, symmetries[0]),
    ]
    atoms = _choose(block, sites, symmetries, lattice.matrix, formula, site_tolerance, remarks)
    species = [next(iter(one)) if set(one.values()) == {1.0} else one for one in atoms.species]
    structure = Structure(lattice, species, atoms.places, to_unit_cell=True)
    return Reading(structure, _each_once(remarks.notes), _each_once(remarks.doubts))


def _each_once(texts: list[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(texts))


# -- cell -----------------------------------------------------------------------------------------


def _cell(block: Block, remarks: Remarks) -> list[float]:
    """a, b, c (Å) and the angles (degrees)."""
    lengths = [_number(block, tag) for tag in LENGTHS]
    for tag, value in zip(LENGTHS, lengths, strict=True):
        if value is None:
            raise StructureError(f"the cell has no {tag}{_fault(block, tag)}; add it")
    angles = [_number(block, tag) for tag in ANGLES]
    missing = [tag for tag, value in zip(ANGLES, angles, strict=True) if value is None]
    # The dictionary's value for an angle that is not given.
    cell = [value or 0.0 for value in lengths] + [90.0 if a is None else a for a in angles]
    if missing and not np.isfinite(_volume(cell)):
        raise StructureError(f"{missing[0]} is missing{_fault(block, missing[0])}; add it")
    _check_cell(cell)
    if missing:
        volume = _stated(block, VOLUME)
        text = f"{missing[0]} is missing{_fault(block, missing[0])} and was taken as 90"
        others = [a for a in angles if a is not None]
        # Two angles make cells of the same volume, unless another angle is 90.
        if volume and 90.0 in others and abs(_volume(cell) / volume - 1) < 0.002:
            remarks.notes.append(f"{text}; the volume of the file agrees")
        else:
            remarks.doubts.append(f"{text}; add it")
    return cell


def _volume(cell: list[float]) -> float:
    """Å³; NaN for angles that no cell has."""
    a, b, c = np.cos(np.radians(cell[3:]))
    square = 1 - a * a - b * b - c * c + 2 * a * b * c
    return float(np.prod(cell[:3]) * np.sqrt(square)) if square > 0 else float("nan")


def _check_cell(cell: list[float]) -> None:
    if min(cell[:3]) <= 0 or not np.isfinite(cell).all() or not np.isfinite(_volume(cell)):
        shown = ", ".join(f"{x:g}" for x in cell)
        raise StructureError(
            f"there is no cell with the lengths and angles {shown}; mend them (Å, degrees)"
        )
    if min(cell[:3]) < MIN_LENGTH or _volume(cell) < MIN_VOLUME:
        raise StructureError(
            f"the cell is {', '.join(f'{x:g}' for x in cell[:3])} Å long with {_volume(cell):.3g} "
            "Å³, too small for any crystal; write its lengths in Å (are they in nm?)"
        )


def _number(block: Block, tag: str) -> float | None:
    text = block.single(tag)
    if text is None:
        return None
    parsed = number(text)
    if parsed is None:
        raise no_number(tag, text)
    return parsed[0]


def _fault(block: Block, tag: str) -> str:
    faults = [loop.fault for loop in block.loops.get(tag, ()) if loop.fault]
    return f" ({faults[0]})" if faults else ""


def _check_volume(block: Block, volume: float, remarks: Remarks) -> None:
    stated = _stated(block, VOLUME)
    if stated is not None and abs(volume - stated) > SAME_VOLUME * volume:
        remarks.doubts.append(
            f"lengths and angles give a cell of {volume:.5g} Å³, {VOLUME} is {stated:g}; mend the "
            "cell"
        )


# -- symmetry and composition ---------------------------------------------------------------------


def _choose(
    block: Block,
    sites: list[Site],
    symmetries: list[Symmetry],
    lattice: NDArray[np.float64],
    formula: Formula | None,
    tolerance: float,
    remarks: Remarks,
) -> Atoms:
    """Expand the sites with the symmetry; of several, with the one that agrees with the file."""
    tried: list[tuple[Atoms, Remarks]] = []
    error = None
    for symmetry in symmetries:
        own = Remarks([], [])
        try:
            atoms = expand_sites(sites, symmetry, lattice, tolerance, own)
        except StructureError as e:
            error = error or e
            continue
        own.doubts += multiplicities(sites, atoms, symmetry)
        _check(block, atoms, symmetry, lattice, formula, own)
        tried.append((atoms, own))
    if not tried:
        assert error is not None
        raise error
    good = [one for one in tried if not one[1].doubts]
    atoms, own = (good or tried)[0]
    if len(good) > 1:
        own.doubts.append(
            f"{symmetries[0].source} has {len(good)} settings that fit, and no operations are "
            f"listed, so that the first was taken; add them"
        )
    remarks.notes += own.notes
    remarks.doubts += own.doubts
    return atoms


def _check(
    block: Block,
    atoms: Atoms,
    symmetry: Symmetry,
    lattice: NDArray[np.float64],
    formula: Formula | None,
    remarks: Remarks,
) -> None:
    """Compare the atoms of the cell with what the file says of them."""
    if len(symmetry) > 1 and symmetry.strain(lattice) > MAX_STRAIN:
        remarks.doubts.append(f"the cell has not the symmetry of {symmetry.source}; mend the cell")
    if not symmetry.is_group:
        remarks.doubts.append(f"{symmetry.source} is no complete list of operations; mend it")
    if atoms.added and formula is None:
        remarks.doubts.append(
            f"{', '.join(atoms.added[:5])} are one element in one place, and no formula tells "
            "whether they are one atom that is listed twice; leave one of them, or add the formula"
        )
    found = atoms.amounts()
    units = None
    if formula is not None:
        units = formula.units(found, atoms.is_ordered)
        if units is None:
            remarks.doubts.append(
                f"the composition that was read, {written(found)}, is not the formula "
                f"{formula.text} of the file ({formula.tag}): {difference(formula, found)}"
            )
            if not symmetry.source:
                remarks.doubts.append(f"no symmetry is given; {ADD_SYMMETRY}")
            return
    _check_number(block, found, units, formula, symmetry, lattice, remarks)


def _check_number(
    block: Block,
    found: Amounts,
    units: float | None,
    formula: Formula | None,
    symmetry: Symmetry,
    lattice: NDArray[np.float64],
    remarks: Remarks,
) -> None:
    """Compare how many formula units the cell has, and thereby the number of atoms."""
    stated = _stated(block, UNITS)
    density = _density(block)
    read_density = mass_density(found, abs(float(np.linalg.det(lattice))))
    ratio = 1.0 if density is None else read_density / density
    dense = density is not None and abs(ratio - 1) < SAME_DENSITY
    agree = (
        formula is not None
        and units is not None
        and stated is not None
        and (
            abs(units - stated) < SAME_NUMBER * stated
            # Some programs write the formula of the whole cell beside Z. A list of a part of the
            # cell, whose operations were lost, looks the same but for density and name.
            or (
                abs(units - 1) < SAME_NUMBER
                and formula.is_divided(stated)
                and density is None
                and symmetry.source != ""
                and not lacks_operations(block, symmetry, lattice)
            )
        )
    )
    if agree and not 1 / OTHER_DENSITY < ratio < OTHER_DENSITY:
        remarks.doubts.append(
            f"the density of what was read is {read_density:.3g} g/cm³, that of the file is "
            f"{density:g}; mend the cell (are its lengths in Å?) or the density"
        )
    elif agree or dense:
        if not symmetry.source:
            remarks.notes.append("no symmetry is given; the cell was taken as it is (P 1)")
    elif not symmetry.source:
        remarks.doubts.append(
            "no symmetry is given, and nothing shows that the list of atoms is that of the whole "
            f"cell; {ADD_SYMMETRY}"
        )
    elif units is not None and stated is not None:
        other = named_otherwise(block, symmetry)
        remarks.doubts.append(
            f"the cell that was read holds {units:.3g} units of the formula, {UNITS} is "
            f"{stated:g}{other and f' ({other})'}; mend the symmetry, the atoms or Z"
        )
    elif density is not None:
        remarks.doubts.append(
            f"the density of what was read is {read_density:.3g} g/cm³, that of the file is "
            f"{density:g}; mend the atoms or the symmetry"
        )
    elif other := named_otherwise(block, symmetry):
        remarks.doubts.append(
            f"{other}, and neither Z nor a density tells which is meant; mend the symmetry, or add "
            f"{UNITS}"
        )


def _density(block: Block) -> float | None:
    """g/cm³, if it is stated."""
    found = next((d for tag in DENSITIES if (d := _stated(block, tag) or 0) > 0), None)
    return found / 1000 if found is not None and found > MAX_DENSITY else found


def _stated(block: Block, tag: str) -> float | None:
    text = block.single(tag)
    parsed = None if text is None else number(text)
    return None if parsed is None else parsed[0]
