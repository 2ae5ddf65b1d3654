"""Disordered crystals → ordered ones: whole atoms in the cell of lowest electrostatic energy.

A site that two elements share, or that is empty here and there, has no place in a graph of atoms.
In the ordered crystal every site holds one atom or none: in the smallest supercell whose numbers of
atoms come near the occupancies, the arrangement with the lowest Ewald energy is looked for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from matminer_unate.crystals.arrangement import EXCLUSION, LEVEL, Places, near_pairs
from matminer_unate.crystals.given_sites import GivenSites, copies_in
from matminer_unate.crystals.structures import CrystalArrays, element_of, structure_of
from matminer_unate.crystals.supercells import compact_supercells
from matminer_unate.crystals.symmetry import SYMPRECS, primitive_cell, symmetry_dataset
from matminer_unate.errors import InputError, StructureError
from matminer_unate.processes import one_blas_thread

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

Disorder = Literal["raise", "ordered", "average"]
"""What becomes of a crystal with sites of mixed or partial occupancy."""

Resolution = Literal["", "oxidation states", "electronegativities", "average"]
"""What ordered a disordered crystal, or that its average is taken; nothing where it was ordered."""

MAX_PLACES = 64
"""Places for atoms in a supercell."""

MAX_CELL = 256
"""The same of a primitive cell in which the numbers of atoms come out as it is."""

TOLERANCE = 0.02
"""How far the share of places that an element has may be from its occupancy."""

SAME_PLACE = 0.05
"""Å. Sites nearer than this are one site, listed twice."""

UNBALANCED = 0.05
"""Elementary charges a site, up to which oxidation states that come with a structure are believed:
occupancies are rounded."""

PLACES_SEARCHED = 600
"""In all supercells together, the most compact first; more take longer."""

MAX_GUESSES = 2_000_000
"""Combinations of oxidation states that are tried, about a second; more are left alone."""


@dataclass(frozen=True)
class PartialSites:
    """The sites of a crystal, each shared by elements, by none, or whole.

    Attributes
    ----------
    lattice : (3, 3), Å
    frac_coords : (n_sites, 3)
    elements : tuple of int
        Atomic numbers.
    occupancy : (n_sites, n_elements)
    charges : (n_sites, n_elements)
        Oxidation states as the structure has them; NaN where it has none.
    """

    lattice: Floats
    frac_coords: Floats
    elements: tuple[int, ...]
    occupancy: Floats
    charges: Floats

    def contents(self) -> tuple[str, ...]:
        """What each site holds: ``Ti``, or ``Sr0.4Ba0.6``."""
        from pymatgen.core import Element

        symbols = [Element.from_Z(z).symbol for z in self.elements]
        return tuple(
            "".join(
                symbol if abs(share - 1) <= 1e-6 else f"{symbol}{share:.4g}"
                for symbol, share in zip(symbols, shares, strict=True)
                if share > 0
            )
            for shares in self.occupancy.tolist()
        )


@dataclass(frozen=True)
class OrderedCrystal:
    """The ordered crystal that stands for a disordered one.

    Attributes
    ----------
    given : PartialSites
    arrays : lattice (3, 3), Å; frac_coords (n_atoms, 3); atomic_numbers (n_atoms,)
    resolution : str
        What ordered it.
    primitive : lattice (3, 3), Å; frac_coords (n_primitive, 3); labels (n_primitive,)
        Of the disordered crystal.
    labels : (n_given,) int64
        Of the given sites: those that hold the same have the same.
    orbit : (n_primitive,) int64
        The set of equivalent sites that each site of the primitive cell is of.
    atom_orbit : (n_atoms,) int64
        The set that each atom is at one of the sites of.
    """

    given: PartialSites
    arrays: CrystalArrays
    resolution: Resolution
    primitive: CrystalArrays
    labels: Integers
    orbit: Integers
    atom_orbit: Integers

    @cached_property
    def given_sites(self) -> GivenSites:
        """For each site stand the atoms at all sites that are equivalent to it.

        Which of them has which element is arbitrary where energies are equal.

        Raises
        ------
        StructureError
            As :func:`~matminer_unate.crystals.given_sites.copies_in`.
        """
        given = self.given.lattice, self.given.frac_coords, self.labels
        kind = self.orbit[copies_in(given, self.primitive)]
        return GivenSites(
            self.given.contents(), kind, self.atom_orbit, np.ones(len(self.atom_orbit))
        )


ORDERING: tuple[Disorder, ...] = ("raise", "ordered")
"""What can be done without averages."""

AVERAGING: tuple[Disorder, ...] = (*ORDERING, "average")


def check_disorder(disorder: Any, known: Sequence[Disorder] = ORDERING) -> None:
    """Raise InputError unless this is one of those that are known."""
    if isinstance(disorder, str) and disorder in known:
        return
    names = " or ".join(map(repr, known))
    average = (
        "; averages are of UnateFeaturizer, UnateSiteFeaturizer and UnateIndex alone"
        if known == ORDERING
        else ""
    )
    raise InputError(f"disorder must be {names}, got {disorder!r}{average}")


def ordered_structure(structure: Any) -> Any:
    """The ordered crystal that ``disorder="ordered"`` takes in place of a disordered one.

    It is a crystal of whole atoms in the smallest supercell of at most 64 places in which every
    element has its share of each set of equivalent sites within 0.02; a primitive cell may have up
    to 256. Of the arrangements in the most compact supercells of that size, that of the lowest
    electrostatic energy is taken, as far as a search by exchanging pairs of atoms finds it.

    The charges are oxidation states: those of the structure, where all its species have some that
    balance, else the likeliest that balance according to pymatgen. To their energy comes a
    hundredth of that of charges by Pauling's electronegativity, less the mean of the elements that
    share sites, of mean square 1. It decides between elements of equal oxidation states, and alone
    where none balance, as in alloys. Two partly occupied places within 1 Å of each other exclude
    each other.

    The same crystal comes out at every call, and of another cell of the crystal but for
    arrangements whose energies are equal.

    Parameters
    ----------
    structure
        Whatever a featurizer takes.

    Returns
    -------
    pymatgen.core.Structure
        Of elements, with sites in an order of its own. One that is ordered already is taken apart
        and put together as it is.

    Raises
    ------
    StructureError
        It is no usable structure; or no such supercell comes near its occupancies.

    References
    ----------
    Ewald, Ann. Phys. 369, 253 (1921), doi:10.1002/andp.19213690304. Supercells: Hart and Forcade,
    Phys. Rev. B 77, 224115 (2008), doi:10.1103/PhysRevB.77.224115. The package's own search of
    pairs stands in for pymatgen's ``OrderDisorderedStructureTransformation``, which tries all
    arrangements and takes hours for some of these cells.

    Examples
    --------
    >>> from pymatgen.core import Lattice, Structure
    >>> from matminer_unate import ordered_structure
    >>> brass = Structure(
    ...     Lattice.cubic(2.95), 2 * [{"Cu": 0.5, "Zn": 0.5}], [[0, 0, 0], [0.5, 0.5, 0.5]]
    ... )
    >>> ordered_structure(brass).formula
    'Zn1 Cu1'
    """
    from pymatgen.core import Element, Structure

    given, arrays = structure_of(structure)
    lattice, frac_coords, numbers = arrays or ordered_crystal(partial_sites(given)).arrays
    return Structure(lattice, [Element.from_Z(z) for z in numbers.tolist()], frac_coords)


def ordered_crystal(sites: PartialSites) -> OrderedCrystal:
    """Order a disordered crystal; see :func:`ordered_structure`.

    Raises
    ------
    StructureError
        No ordered crystal comes near the occupancies.
    """
    parts = (sites.lattice, sites.frac_coords, sites.occupancy, sites.charges)
    found = _ordered(sites.elements, *(part.tobytes() for part in parts))
    lattice, frac_coords, numbers = found.arrays
    return replace(found, arrays=(lattice.copy(), frac_coords.copy(), numbers.copy()))


def partial_sites(structure: Any) -> PartialSites:
    """The occupancies of a pymatgen Structure.

    Raises
    ------
    StructureError
        A site holds what is no element.
    """
    held = [
        [(element_of(species, index).Z, species, o) for species, o in site.species.items()]
        for index, site in enumerate(structure)
    ]
    elements = tuple(sorted({z for site in held for z, _, _ in site}))
    occupancy = np.zeros((len(held), len(elements)))
    total = np.zeros_like(occupancy)
    for index, site in enumerate(held):
        for z, species, share in site:
            column = elements.index(z)
            state = getattr(species, "oxi_state", None)
            occupancy[index, column] += share
            total[index, column] += share * (math.nan if state is None else float(state))
    with np.errstate(invalid="ignore"):
        charges = np.where(occupancy > 0, total / occupancy, 0.0)
    frac_coords = np.array([site.frac_coords for site in structure], dtype=np.float64)
    lattice = np.array(structure.lattice.matrix, dtype=np.float64)
    return PartialSites(lattice, frac_coords, elements, occupancy, charges)


@lru_cache(maxsize=2_000)
def _ordered(
    elements: tuple[int, ...], lattice: bytes, frac_coords: bytes, occupancy: bytes, charges: bytes
) -> OrderedCrystal:
    """Kept, because several featurizers, or a fit and what follows, ask for the same crystals."""

    def read(part: bytes, width: int) -> Floats:
        return np.frombuffer(part).reshape(-1, width)

    n = len(elements)
    places = read(lattice, 3), read(frac_coords, 3)
    with one_blas_thread():
        return _order(PartialSites(*places, elements, read(occupancy, n), read(charges, n)))


def _order(given: PartialSites) -> OrderedCrystal:
    labels = _labels(given)
    sites, primitive, orbit = _primitive(given, labels)
    orbits = [np.flatnonzero(orbit == one) for one in np.unique(orbit)]
    index, counts = _whole_numbers(sites, orbits)
    composition = {z: sum(n[k] for n in counts) for k, z in enumerate(sites.elements)}
    states, resolution = _oxidation_states(sites, composition)
    crystal = sites.lattice, sites.frac_coords
    shapes = PLACES_SEARCHED // (index * len(sites.frac_coords))
    found: list[tuple[float, bool, tuple[CrystalArrays, Integers]]] = []
    for basis in compact_supercells(sites.lattice, index, shapes):
        places = Places.of(*crystal, sites.elements, orbits, counts, states, basis)
        kinds, energy = places.search()
        atoms = places.atoms(kinds, sites.elements)
        found.append((energy, places.has_excluded(kinds), atoms))
    lowest = min(energy for energy, _, _ in found)
    _, excluded, (arrays, at) = next(one for one in found if one[0] <= lowest + LEVEL)
    if excluded:
        raise StructureError(
            f"sites closer than {EXCLUSION:g} Å would both have to be occupied; check the "
            "occupancies of split positions"
        )
    return OrderedCrystal(given, arrays, resolution, primitive, labels, orbit, orbit[at])


# -- how many atoms of each element ---------------------------------------------------------------


def _labels(given: PartialSites) -> Integers:
    """Numbers above 0, the same for sites that hold the same."""
    held = np.hstack([given.occupancy, np.nan_to_num(given.charges, nan=99.0)]).round(3)
    _, labels = np.unique(held, axis=0, return_inverse=True)
    return labels.reshape(-1).astype(np.int64) + 1


def _primitive(
    given: PartialSites, labels: Integers
) -> tuple[PartialSites, CrystalArrays, Integers]:
    """The primitive cell; its arrays, with labels; and which sites symmetry makes equivalent."""
    _check_distinct(given)
    primitive = primitive_cell(given.lattice, given.frac_coords, labels)
    lattice, frac_coords, label = primitive
    first = np.array([int(np.argmax(labels == one)) for one in label])
    sites = PartialSites(
        lattice, frac_coords, given.elements, given.occupancy[first], given.charges[first]
    )
    found = symmetry_dataset(primitive, SYMPRECS[0])
    orbit = label if found is None else np.asarray(found.equivalent_atoms, dtype=np.int64)
    return sites, primitive, orbit


def _check_distinct(sites: PartialSites) -> None:
    for one, other, distance in near_pairs(sites.lattice, sites.frac_coords, SAME_PLACE):
        raise StructureError(
            f"sites {one} and {other} are {distance:.2g} Å apart; make them one site that its "
            "elements share (Structure.merge_sites with mode='sum')"
        )


def _whole_numbers(sites: PartialSites, orbits: Sequence[Integers]) -> tuple[int, list[list[int]]]:
    """How many primitive cells the supercell has, and the atoms of each element on each orbit.

    Raises
    ------
    StructureError
        No supercell is small enough.
    """
    n = len(sites.frac_coords)
    if n > MAX_CELL:
        raise StructureError(
            f"the primitive cell of the disordered crystal has {n} sites, more than the "
            f"{MAX_CELL} in which atoms are ordered; order it beforehand, or drop this row"
        )
    nearest = (math.inf, 0, 0)
    for index in range(1, max(1, MAX_PLACES // n) + 1):
        counts, worst = [], (0.0, 0)
        for orbit in orbits:
            numbers, error = _rounded(sites.occupancy[orbit[0]], index * len(orbit))
            counts.append(numbers)
            worst = max(worst, (error, int(orbit[0])))
        if worst[0] <= TOLERANCE + 1e-9:
            return index, counts
        nearest = min(nearest, (worst[0], worst[1], index))
    error, site, index = nearest
    raise StructureError(
        f"no ordered cell of up to {MAX_PLACES} sites has the occupancies of the site "
        f"{_written(sites, site)} within {TOLERANCE:g} (one of {index * n} sites is {error:.2g} "
        "off); round them to simple fractions, or give an ordered supercell"
    )


def _rounded(occupancy: Floats, n_places: int) -> tuple[list[int], float]:
    """Atoms of each element on so many places, by the largest remainders; and their error."""
    shares = np.append(occupancy, max(0.0, 1.0 - occupancy.sum()))
    exact = shares / shares.sum() * n_places
    numbers = np.floor(exact + 1e-9).astype(int)
    for k in np.argsort(numbers - exact, kind="stable")[: n_places - numbers.sum()]:
        numbers[k] += 1
    return numbers[:-1].tolist(), float(np.abs(numbers / n_places - shares).max())


def _written(sites: PartialSites, site: int) -> str:
    from pymatgen.core import Element

    shares = [
        f"{Element.from_Z(z).symbol} {o:.4g}"
        for z, o in zip(sites.elements, sites.occupancy[site], strict=True)
        if o > 0
    ]
    empty = 1 - sites.occupancy[site].sum()
    return f"of {', '.join(shares)}" + (f", empty {empty:.4g}" if empty > 1e-4 else "")


# -- charges --------------------------------------------------------------------------------------


def _oxidation_states(
    sites: PartialSites, composition: dict[int, int]
) -> tuple[Floats, Resolution]:
    """Charges of elements at sites, (n_sites, n_elements); zeros where none balance."""
    given = sites.charges
    if np.isfinite(given).all() and given.any():
        balance = float((given * sites.occupancy).sum())
        if abs(balance) <= UNBALANCED * len(given):
            return given, "oxidation states"
    guessed = _guessed_states(tuple((z, n) for z, n in composition.items() if n))
    if not guessed:
        return np.zeros_like(given), "electronegativities"
    states = np.array([guessed.get(z, 0.0) for z in sites.elements])
    return np.broadcast_to(states, given.shape), "oxidation states"


@lru_cache(maxsize=2_000)
def _guessed_states(counts: tuple[tuple[int, int], ...]) -> dict[int, float]:
    """The likeliest oxidation states that balance, the mean of each element; none if none do."""
    from pymatgen.core import Composition, Element

    divisor = math.gcd(*(n for _, n in counts))
    reduced = {Element.from_Z(z): n // divisor for z, n in counts}
    tried = 1
    for element, n in reduced.items():
        states = element.icsd_oxidation_states or element.oxidation_states or (0,)
        tried *= n * (max(states) - min(states)) + 1  # sums, of which all combinations are tried
        if max(tried, math.comb(n + len(states) - 1, n)) > MAX_GUESSES:
            return {}
    guesses = Composition(reduced).oxi_state_guesses()
    return {Element(e).Z: state for e, state in guesses[0].items()} if guesses else {}
