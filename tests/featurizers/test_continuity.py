"""Columns follow the atoms: where these move by 10⁻³ Å, no column jumps.

Learned columns, site descriptors and columns of the cell, on crystals that are stretched until
neighbours leave the cutoff, the last one as well, and on crystals whose atoms are moved off their
places.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray
from pymatgen.analysis.prototypes import AFLOW_PROTOTYPE_LIBRARY
from pymatgen.core import Lattice, Structure
from real_crystals import crystals

from matminer_unate import CellStats, SiteDescriptorStats, TightBindingStats, UnateFeaturizer
from matminer_unate.errors import UnateWarning
from matminer_unate.featurizers.base import StructureFeaturizer

STEP = 1e-3
"""Å."""

BOUNDS = {"learned": 0.05, "descriptors": 0.1, "tight binding": 0.05, "cell": 0.1}
"""Deviations that a column may change by where distances change by ``STEP``. A jump at a threshold
is 1 or more, so that paths can go in steps of several thousandths."""


@pytest.fixture(autouse=True)
def _isolated_atoms_are_no_news() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnateWarning)
        yield


@cache
def featurizer(kind: str) -> StructureFeaturizer:
    if kind == "learned":
        return UnateFeaturizer(device="cpu")
    if kind == "cell":
        return CellStats()
    return (
        TightBindingStats() if kind == "tight binding" else SiteDescriptorStats(descriptors="all")
    )


@cache
def spread(kind: str) -> NDArray:
    """Standard deviation of each column over AFLOW's structure types of up to 12 sites."""
    types = [e["snl"].structure for e in AFLOW_PROTOTYPE_LIBRARY]
    some = [s for s in types if len(s) <= 12][:: 8 if kind == "tight binding" else 1]
    deviation = featurizer(kind).transform(some).std(axis=0)
    return np.maximum(deviation, 0.01 * np.median(deviation))  # a few are the same everywhere


def largest_step(kind: str, path: list[Structure]) -> float:
    columns = featurizer(kind).transform(path).astype(float)
    return float((np.abs(np.diff(columns, axis=0)) / spread(kind)).max())


def fcc(element: str, nearest: float) -> Structure:
    lattice = nearest / 2**0.5 * np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]])
    return Structure(Lattice(lattice), [element], [[0, 0, 0]])


def bcc(element: str, nearest: float) -> Structure:
    lattice = nearest / 3**0.5 * np.array([[-1, 1, 1], [1, -1, 1], [1, 1, -1]])
    return Structure(Lattice(lattice), [element], [[0, 0, 0]])


def nitrogen(length: float) -> Structure:
    """Molecules of 1.1 Å on a face-centred lattice, as in α-N₂."""
    centres = np.array([[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]) * length
    along = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) * 0.55 / 3**0.5
    atoms = np.concatenate([centres + along, centres - along])
    return Structure(Lattice.cubic(length), ["N"] * 8, atoms, coords_are_cartesian=True)


@cache
def primitive(name: str) -> Structure:
    return crystals()[name].get_primitive_structure()


def stretched(name: str, factor: float) -> Structure:
    structure = primitive(name)
    return Structure(
        Lattice(structure.lattice.matrix * factor), structure.species, structure.frac_coords
    )


def pulled_apart(name: str, distance: float) -> Structure:
    """The first atom taken out of a crystal of molecules or layers, into a wide gap."""
    structure = primitive(name)
    wide = Lattice(structure.lattice.matrix * np.array([[1], [1], [4]]))
    coords = structure.cart_coords.copy()
    coords[0] += np.array([0, 0, distance])
    return Structure(wide, structure.species, coords, coords_are_cartesian=True)


PATHS: dict[str, tuple[Callable[[float], Structure], NDArray]] = {
    "fcc Xe past the cutoff": (lambda d: fcc("Xe", d), np.arange(4.3, 4.8, 5 * STEP)),
    "fcc Ar": (lambda d: fcc("Ar", d), np.arange(3.6, 4.1, 5 * STEP)),
    "fcc Ne": (lambda d: fcc("Ne", d), np.arange(3.0, 3.4, 5 * STEP)),
    "bcc Cs": (lambda d: bcc("Cs", d), np.arange(3.7, 5.5, 5 * STEP)),
    "N2": (nitrogen, np.arange(5.5, 6.2, 5 * STEP)),
    "NaCl": (lambda d: stretched("NaCl", d / 2.82), np.arange(2.7, 3.4, 4 * STEP)),
    "an atom pulled out": (lambda z: pulled_apart("SrTiO3", z), np.arange(1.5, 5.8, 10 * STEP)),
}
"""Crystals by a distance in Å, and its values."""


@pytest.mark.parametrize("kind", ["learned", "descriptors", "cell"])
@pytest.mark.parametrize("name", PATHS)
def test_no_column_jumps_where_a_crystal_is_stretched(name: str, kind: str) -> None:
    make, values = PATHS[name]
    bound = BOUNDS[kind] * (values[1] - values[0]) / STEP
    assert largest_step(kind, [make(x) for x in values]) < bound


@pytest.mark.parametrize("nearest", [4.5, 5.0])  # both cutoffs
def test_no_column_jumps_where_the_last_neighbour_passes_the_cutoff(nearest: float) -> None:
    path = [fcc("Xe", nearest + shift) for shift in np.arange(-0.004, 0.005, STEP)]
    for kind in BOUNDS:
        assert largest_step(kind, path) < 0.01


def test_volume_is_still_told_where_all_neighbours_are_beyond_the_cutoff() -> None:
    near, far = featurizer("learned").transform([fcc("Xe", 4.6), fcc("Xe", 5.2)])
    assert (np.abs(near - far) / spread("learned")).max() > 0.3


@pytest.mark.parametrize("kind", BOUNDS)
@pytest.mark.parametrize("name", crystals())
def test_no_column_jumps_where_atoms_are_moved_by_a_thousandth(name: str, kind: str) -> None:
    if kind == "tight binding" and name not in ("NaCl", "Si", "SrTiO3", "TiO2 rutile"):
        pytest.skip("a few are enough for the slowest")
    random = np.random.default_rng(0)
    # Off their places, so that no symmetry is lost on the way, and then on along a line.
    structure = primitive(name)
    coords = structure.cart_coords + random.normal(0, 0.02, (len(structure), 3))
    along = random.normal(size=coords.shape)
    along *= STEP / np.linalg.norm(along, axis=1, keepdims=True)
    path = [
        Structure(
            structure.lattice, structure.species, coords + k * along, coords_are_cartesian=True
        )
        for k in range(4 if kind == "tight binding" else 20)
    ]
    assert largest_step(kind, path) < BOUNDS[kind]
