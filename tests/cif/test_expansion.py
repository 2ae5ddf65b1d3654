"""Atoms that are listed several times, and how many may be made."""

from __future__ import annotations

import numpy as np
import pytest

from matminer_unate.cif.expansion import Atoms, expand_sites
from matminer_unate.cif.operations import IDENTITY, Symmetry
from matminer_unate.cif.sites import TYPE, Remarks, Site
from matminer_unate.errors import StructureError

INVERSION = Symmetry(np.array([np.eye(3), -np.eye(3)]), np.zeros((2, 3)), "P -1")
PLACE, IMAGE = (0.1, 0.2, 0.3), (0.9, 0.8, 0.7)


def site(
    label: str, occupancy: float, place: tuple[float, float, float] = PLACE, kind: str = "Na"
) -> Site:
    return Site(label, "Na", place, occupancy, 0.005, {TYPE: kind})


def expand(*sites: Site) -> tuple[Atoms, Remarks]:
    remarks = Remarks([], [])
    return expand_sites(list(sites), INVERSION, 6 * np.eye(3), 0.3, remarks), remarks


@pytest.mark.parametrize("place", [PLACE, IMAGE])
@pytest.mark.parametrize("occupancy", [0.5, 0.3, 1.0])
def test_a_row_that_is_listed_twice_or_with_its_image_is_one_atom(
    place: tuple[float, float, float], occupancy: float
) -> None:
    atoms, remarks = expand(site("Na1", occupancy), site("Na1", occupancy, place))
    assert atoms.species == [{"Na": occupancy}] * 2
    assert atoms.added == ()
    assert remarks.notes == ["listed more than once, merged: Na1"]


def test_occupancies_of_other_labels_are_added_and_named() -> None:
    atoms, remarks = expand(site("Na1", 0.5), site("Na2", 0.5, IMAGE))
    assert atoms.species == [{"Na": 1.0}] * 2
    assert atoms.added == ("Na1 (0.5) and Na2 (0.5)",)
    assert remarks.notes == []


def test_charges_tell_atoms_in_one_place_apart() -> None:
    first, second = site("Fe1", 0.5, kind="Fe2+"), site("Fe2", 0.5, kind="Fe3+")
    atoms, _ = expand(first, second)
    assert atoms.species == [{"Na": 1.0}] * 2
    assert atoms.added == ()


def test_sizes_are_those_of_the_orbits() -> None:
    atoms, _ = expand(site("Na1", 1.0), Site("Cl1", "Cl", (0.5, 0.5, 0.5)))
    assert atoms.sizes == (2, 1)


def test_more_images_than_fit_in_memory_are_refused_before_they_are_made() -> None:
    many = Symmetry(np.repeat(np.eye(3)[None], 192, axis=0), np.zeros((192, 3)), "F m -3 m")
    sites = [site(f"Na{n}", 1.0) for n in range(20_000)]
    with pytest.raises(StructureError, match="20,000 atoms and 192 operations make 3,840,000 im"):
        expand_sites(sites, many, np.eye(3), 0.3, Remarks([], []))
    apart = [Site("Na", "Na", (n / 2_000, 0, 0)) for n in range(2_000)]
    atoms = expand_sites(apart, IDENTITY, 9_000 * np.eye(3), 0.3, Remarks([], []))
    assert len(atoms.places) == 2_000
