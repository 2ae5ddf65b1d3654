"""The shipped columns do not depend on how a crystal is written down.

The bound is 2e-4 of a column's standard deviation over a corpus of real structure types.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from pymatgen.analysis.prototypes import AFLOW_PROTOTYPE_LIBRARY
from pymatgen.core import Lattice, Structure
from real_crystals import crystals

from matminer_unate import UnateFeaturizer

BOUND = 2e-4
RNG = np.random.default_rng(0)


def rotated(structure: Structure, improper: bool = False) -> Structure:
    turn, _ = np.linalg.qr(RNG.normal(size=(3, 3)))
    turn *= np.sign(np.linalg.det(turn)) * (-1 if improper else 1)
    lattice = Lattice(structure.lattice.matrix @ turn)
    return Structure(lattice, structure.species, structure.frac_coords)


def shifted(structure: Structure) -> Structure:
    return structure.copy().translate_sites(range(len(structure)), RNG.uniform(size=3))


def with_other_images(structure: Structure) -> Structure:
    images = RNG.integers(-3, 4, size=(len(structure), 3))
    return Structure(structure.lattice, structure.species, structure.frac_coords + images)


def in_another_basis(structure: Structure) -> Structure:
    change = np.array([[1, 2, 0], [0, 1, -1], [1, 2, 1]])  # unimodular
    lattice = change @ structure.lattice.matrix
    return Structure(lattice, structure.species, structure.cart_coords, coords_are_cartesian=True)


def niggli(structure: Structure) -> Structure:
    return structure.get_reduced_structure("niggli")


SAME_SITES: dict[str, Callable[[Structure], Structure]] = {
    "rotation": rotated,
    "reflection": lambda s: rotated(s, improper=True),
    "origin shift": shifted,
    "image wrapping": with_other_images,
    "unimodular basis": in_another_basis,
    "Niggli cell": niggli,
}


@pytest.fixture(scope="module")
def featurizer() -> UnateFeaturizer:
    return UnateFeaturizer(pooling=("mean", "std", "min", "max"), device="cpu")


@pytest.fixture(scope="module")
def spread(featurizer: UnateFeaturizer) -> NDArray:
    """Standard deviation of each column over AFLOW's structure types."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return featurizer.transform([e["snl"].structure for e in AFLOW_PROTOTYPE_LIBRARY]).std(0)


@pytest.mark.parametrize("change", SAME_SITES)
@pytest.mark.parametrize("name", crystals())
def test_the_same_sites_written_differently(
    featurizer: UnateFeaturizer, spread: NDArray, name: str, change: str
) -> None:
    structure = crystals()[name]
    other = SAME_SITES[change](structure)
    columns = featurizer.transform([structure, other])
    assert (np.abs(columns[1] - columns[0]) / spread).max() < BOUND
    # Site embeddings have standard deviation 1 over the pretraining sites.
    sites = featurizer.embed_sites(structure), featurizer.embed_sites(other)
    assert np.abs(sites[1] - sites[0]).max() < BOUND


@pytest.mark.parametrize("name", crystals())
def test_permuted_sites_permute_the_embeddings(
    featurizer: UnateFeaturizer, spread: NDArray, name: str
) -> None:
    structure = crystals()[name]
    order = RNG.permutation(len(structure))
    other = Structure.from_sites([structure[i] for i in order])
    columns = featurizer.transform([structure, other])
    assert (np.abs(columns[1] - columns[0]) / spread).max() < BOUND
    difference = featurizer.embed_sites(other) - featurizer.embed_sites(structure)[order]
    assert np.abs(difference).max() < BOUND


@pytest.mark.parametrize("name", crystals())
def test_primitive_conventional_and_supercell_have_the_same_columns(
    featurizer: UnateFeaturizer, spread: NDArray, name: str
) -> None:
    conventional = crystals()[name]
    primitive = conventional.get_primitive_structure(tolerance=0.01)
    columns = featurizer.transform([conventional, primitive, conventional * (2, 2, 2)])
    assert (np.abs(columns[1:] - columns[0]) / spread).max() < BOUND
    sites = featurizer.embed_sites(conventional * (2, 2, 2)).reshape(len(conventional), 8, -1)
    assert np.abs(sites - featurizer.embed_sites(conventional)[:, None]).max() < BOUND


def test_alone_in_a_batch_and_in_any_order_agree(featurizer: UnateFeaturizer) -> None:
    structures = list(crystals().values())
    together = featurizer.transform(structures)
    alone = np.array([featurizer.featurize(s) for s in structures])
    backwards = featurizer.transform(structures[::-1])[::-1]
    np.testing.assert_allclose(alone, together, atol=1e-5)
    np.testing.assert_allclose(backwards, together, atol=1e-5)


def test_different_crystals_have_different_columns(
    featurizer: UnateFeaturizer, spread: NDArray
) -> None:
    build = Structure.from_spacegroup
    zincblende = build("F-43m", Lattice.cubic(5.41), ["Zn", "S"], [[0, 0, 0], [0.25, 0.25, 0.25]])
    wurtzite = build(
        "P6_3mc",
        Lattice.hexagonal(3.82, 6.26),
        ["Zn", "S"],
        [[1 / 3, 2 / 3, 0], [1 / 3, 2 / 3, 0.3748]],
    )
    stretched = zincblende.copy()
    stretched.scale_lattice(zincblende.volume * 1.02)
    columns = featurizer.transform([zincblende, wurtzite, stretched])
    assert (np.abs(columns[1:] - columns[0]) / spread).max(axis=1).min() > 100 * BOUND
