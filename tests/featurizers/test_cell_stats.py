"""CellStats: what its columns are, invariances, odd crystals, and their cost."""

from __future__ import annotations

import math
import subprocess
import sys
import time

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure
from real_crystals import crystals

from matminer_unate import CellStats
from matminer_unate.errors import InputError, UnateWarning

CRYSTALS = crystals()
EXACT = {"rtol": 1e-5, "atol": 2e-5}
"""Rounding alone: vectors of edges have single precision."""


def values_of(structure: Structure) -> dict[str, float]:
    featurizer = CellStats()
    return dict(zip(featurizer.feature_labels(), featurizer.featurize(structure), strict=True))


def graphene(height: float, turns: int = 1) -> Structure:
    """Layers of graphene, ``height`` apart; the second one is turned over."""
    sites = [[0, 0, 0.25], [1 / 3, 2 / 3, 0.25], [0, 0, 0.75], [2 / 3, 1 / 3, 0.75]]
    lattice = Lattice.hexagonal(2.461, turns * height)
    return Structure(lattice, ["C"] * 2 * turns, sites[: 2 * turns])


# -- values


def test_there_are_29_columns_with_distinct_names_units_and_meanings() -> None:
    table = CellStats().describe_columns()
    assert len(table) == len(set(table["name"])) == 29
    assert table["name"].str.startswith("cell_").all()
    text = CellStats.__doc__ or ""
    for name in table["name"]:
        assert f"\n    {name.removeprefix('cell_')} " in text, name


def test_rock_salt_is_bulk_and_fills_space_as_spheres_do() -> None:
    salt = values_of(CRYSTALS["NaCl"])
    assert salt["cell_atoms_in_bulk_by_neighbours"] == pytest.approx(1, abs=1e-5)
    strengths = [salt[f"cell_weakest_bond_of_{n}_by_radii"] for n in ("chains", "layers", "bulk")]
    assert strengths == pytest.approx([(1.66 + 1.02) / 2.82] * 3, rel=1e-4)
    assert salt["cell_vacuum_share"] == salt["cell_layer_thickness_by_radii"] == 0
    assert salt["cell_log_volume_per_atom_without_vacuum"] == pytest.approx(math.log(5.64**3 / 8))
    spheres = 4 / 3 * math.pi * 4 * (1.66**3 + 1.02**3) / 5.64**3
    assert salt["cell_packing_fraction"] == pytest.approx(spheres, rel=1e-5)
    for way in ("voigt", "reuss"):  # cubic
        assert salt[f"cell_log_bulk_modulus_of_springs_{way}"] == pytest.approx(
            salt["cell_log_bulk_modulus_of_springs_voigt"], abs=1e-4
        )


def test_a_slab_is_described_alike_whatever_its_vacuum() -> None:
    near, far = values_of(graphene(15.0)), values_of(graphene(30.0))
    assert near["cell_atoms_in_layers_by_radii"] == pytest.approx(1, abs=1e-5)
    for name in (
        "cell_log_volume_per_atom_without_vacuum",
        "cell_atoms_per_layer_area_by_radii",
        "cell_weakest_bond_of_layers_by_radii",
        "cell_weakest_bond_of_bulk_by_radii",
    ):
        assert near[name] == pytest.approx(far[name], abs=1e-5), name
    assert far["cell_vacuum_share"] == pytest.approx(26.5 / 30)


def test_two_layers_a_cell_are_two_layers() -> None:
    one, two = values_of(graphene(3.35)), values_of(graphene(3.35, turns=2))
    for name in ("layer_spacing", "interlayer_gap", "atoms_per_layer_area"):
        assert two[f"cell_{name}_by_neighbours"] == pytest.approx(
            one[f"cell_{name}_by_neighbours"], rel=0.02
        )
    spacing = two["cell_layer_spacing_by_radii"] / two["cell_atoms_in_layers_by_radii"]
    assert spacing == pytest.approx(3.35, rel=1e-4)


# -- invariances


def rewritten(structure: Structure) -> dict[str, Structure]:
    """The same crystal in other words."""
    rng = np.random.default_rng(0)
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    if np.linalg.det(turn) > 0:
        turn[0] *= -1  # a reflection as well
    order = rng.permutation(len(structure))
    species = np.array(structure.species, dtype=object)
    shear = np.array([[1, 2, 0], [0, 1, -1], [1, 2, 1]])
    skewed = structure.copy()
    skewed.make_supercell([[1, 1, 0], [0, 2, 0], [0, 1, 1]])
    return {
        "reflected": Structure(
            Lattice(structure.lattice.matrix @ turn),
            structure.species,
            structure.frac_coords + rng.normal(size=3),
        ),
        "reordered": Structure(
            structure.lattice, species[order].tolist(), structure.frac_coords[order]
        ),
        "other images": Structure(
            structure.lattice,
            structure.species,
            structure.frac_coords + rng.integers(-3, 4, size=(len(structure), 3)),
        ),
        "primitive": structure.get_primitive_structure(),
        "2 x 2 x 2": structure * (2, 2, 2),
        "skewed and doubled": skewed,
        "unimodular": Structure(
            Lattice(shear @ structure.lattice.matrix),
            structure.species,
            structure.cart_coords,
            coords_are_cartesian=True,
        ),
    }


INVARIANT = CRYSTALS | {"graphite": graphene(3.35, turns=2), "graphene": graphene(18.0)}


@pytest.mark.parametrize("name", INVARIANT)
def test_columns_depend_on_neither_cell_nor_orientation_nor_origin_nor_order(name: str) -> None:
    featurizer, structure = CellStats(), INVARIANT[name]
    expected = featurizer.featurize(structure)
    for change, other in rewritten(structure).items():
        np.testing.assert_allclose(
            featurizer.featurize(other), expected, **EXACT, err_msg=f"{name}, {change}"
        )


def test_cells_of_which_the_search_takes_another_basis_are_the_same_crystal() -> None:
    structure = CRYSTALS["SiO2 quartz"]
    sheared = np.array([[1, 0, 0], [300, 1, 0], [0, -200, 1]]) @ structure.lattice.matrix
    other = Structure(
        Lattice(sheared), structure.species, structure.cart_coords, coords_are_cartesian=True
    )
    found, expected = CellStats().transform([other, structure])
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_alone_and_among_others_agree() -> None:
    together = CellStats().transform(list(CRYSTALS.values()))
    alone = [CellStats().featurize(s) for s in CRYSTALS.values()]
    np.testing.assert_array_equal(together, np.array(alone, dtype=np.float32))


# -- odd crystals


def test_atoms_without_neighbours_and_radii_are_told_of() -> None:
    with pytest.warns(UnateWarning, match=r"1 row\(s\) hold atoms with no neighbour within 6 Å"):
        found = CellStats().transform([Structure(Lattice.cubic(20), ["Xe"], [[0, 0, 0]])])
    assert found[0, 0] == 1
    with pytest.warns(UnateWarning, match=r"covalent radius is not tabulated \(Bk\)"):
        found = CellStats().transform([Structure(Lattice.cubic(4), ["Bk"], [[0, 0, 0]])])
    assert np.isfinite(found).all()


def test_a_wrong_option_is_named() -> None:
    with pytest.raises(InputError, match="'raise' or 'nan'"):
        CellStats(on_error="ignore").fit()  # type: ignore[arg-type]


# -- cost


def test_no_torch_is_imported() -> None:
    code = (
        "import sys; from pymatgen.core import Lattice, Structure;"
        "from matminer_unate import CellStats;"
        "CellStats().featurize(Structure(Lattice.cubic(3), ['Po'], [[0, 0, 0]]));"
        "print([m for m in ('torch', 'torch_geometric', 'lightgbm') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
def test_hundreds_of_structures_a_second_become_columns() -> None:
    # Measured at 800 a second and core; the bound leaves room for a busy machine.
    structures = []
    for k in range(100):
        for name in ("SrTiO3", "ZnO wurtzite", "TiO2 rutile"):
            structures.append(CRYSTALS[name].copy())
            structures[-1].apply_strain(1e-4 * k)
    featurizer = CellStats()
    featurizer.transform(structures[:10])
    started = time.process_time()
    featurizer.transform(structures)
    assert len(structures) / (time.process_time() - started) > 200


@pytest.mark.slow
def test_a_thousand_sites_take_less_than_a_few_seconds() -> None:
    large = CRYSTALS["SrTiO3"] * (6, 6, 6)
    large.perturb(0.05)
    started = time.process_time()
    assert np.isfinite(CellStats().featurize(large)).all()
    assert time.process_time() - started < 3
