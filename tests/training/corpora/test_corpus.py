"""Tables and folders → clean graphs, targets and batches."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pymatgen.core import Lattice, Structure
from real_crystals import aflow_prototype, crystals
from scipy.spatial.transform import Rotation
from small_corpora import (
    CUTOFF,
    as_crystal,
    make_corpus,
    prototype_corpus,
    prototypes,
)

from corpora import clean_targets
from corpora import corpus as corpora
from corpora.clean_targets import SKIN, species_rdf, undirected_pairs
from corpora.corpus import Corpus
from corpora.sampling import epoch_batches
from matminer_unate.crystals.graph import RadiusGraph, radius_graph
from matminer_unate.crystals.structures import crystal_arrays
from matminer_unate.physics.site_descriptors import site_descriptors

real = lru_cache(maxsize=1)(crystals)

# -- pairs and targets ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(real()))
def test_every_edge_shares_its_number_with_exactly_its_reverse(name: str) -> None:
    graph = radius_graph(*crystal_arrays(real()[name]), 4.5, SKIN)
    pair = undirected_pairs(graph)
    order = np.argsort(pair, kind="stable")
    one, other = order[::2], order[1::2]
    np.testing.assert_array_equal(pair[one], np.arange(graph.n_edges // 2))
    np.testing.assert_array_equal(pair[other], np.arange(graph.n_edges // 2))
    np.testing.assert_array_equal(graph.edge_index[:, one], graph.edge_index[::-1, other])
    np.testing.assert_array_equal(graph.edge_image[one], -graph.edge_image[other])
    np.testing.assert_allclose(graph.edge_vector[one], -graph.edge_vector[other], atol=1e-5)


def test_self_images_of_a_one_atom_cell_are_paired_too() -> None:
    iron = aflow_prototype("A_cI2_229_a").get_primitive_structure()
    graph = radius_graph(*crystal_arrays(iron), 4.5)
    assert graph.n_sites == 1
    assert (np.bincount(undirected_pairs(graph)) == 2).all()


def targets(structure: Structure) -> dict[str, NDArray[np.float32]]:
    """Site-to-species targets by element, (n_sites of it, n_species · 8)."""
    graph = radius_graph(*crystal_arrays(structure), 4.5)
    _, slot = np.unique(graph.atomic_numbers, return_inverse=True)
    rows = species_rdf(graph, slot, 4.5).reshape(len(structure), -1)
    symbols = np.array([site.specie.symbol for site in structure])
    return {s: rows[symbols == s] for s in np.unique(symbols)}


# In each of them all sites of one element are equivalent.
@pytest.mark.parametrize("name", ["NaCl", "Si", "SrTiO3", "MgAl2O4 spinel", "ZnO wurtzite"])
def test_adjacency_targets_are_the_same_for_every_cell_of_a_crystal(name: str) -> None:
    conventional = real()[name]
    primitive = conventional.get_primitive_structure()
    expected = {symbol: rows[0] for symbol, rows in targets(primitive).items()}
    for cell in (primitive, conventional, conventional.copy().make_supercell(2)):
        for symbol, rows in targets(cell).items():
            np.testing.assert_allclose(rows - expected[symbol], 0, atol=1e-5)


def test_adjacency_targets_do_not_depend_on_site_order_or_choice_of_image() -> None:
    quartz = real()["SiO2 quartz"]
    rng = np.random.default_rng(0)
    order = rng.permutation(len(quartz))
    moved = Structure(
        quartz.lattice,
        [quartz[int(k)].specie for k in order],
        quartz.frac_coords[order] + rng.integers(-3, 4, (len(quartz), 3)) + [0.3, 0.1, 0.7],
    )
    before, after = targets(quartz), targets(moved)
    symbols = np.array([site.specie.symbol for site in quartz])
    for symbol, rows in before.items():
        places = [int(np.sum(symbols[:k] == symbol)) for k in order if symbols[k] == symbol]
        np.testing.assert_allclose(after[symbol], rows[places], atol=1e-5)


def bonded_share(structure: Structure) -> float:
    """Share of the Na–Cl pairs of a cell that are bonded: some image at most 1.2 shortest away."""
    graph = radius_graph(*crystal_arrays(structure), 4.5)
    distance = np.linalg.norm(graph.edge_vector, axis=1)
    bonded = np.zeros((graph.n_sites, graph.n_sites), dtype=bool)
    source, target = graph.edge_index[:, distance <= 1.2 * distance.min()]
    bonded[target, source] = True
    return float(bonded[np.ix_(graph.atomic_numbers == 11, graph.atomic_numbers == 17)].mean())


def test_a_pairwise_adjacency_matrix_depends_on_the_cell_and_so_is_no_target() -> None:
    """Why the targets are site-to-species.

    Each Na has six Cl around it. The primitive cell holds one Cl, bonded; of the four of the
    conventional cell three are bonded (each by two images) and one, along the diagonal, is not. The
    embeddings are the same in both cells, so a decoder of this matrix would have to learn a
    property of the file.
    """
    salt = real()["NaCl"]
    assert bonded_share(salt.get_primitive_structure()) == 1.0
    assert bonded_share(salt) == 0.75


# -- the corpus ----------------------------------------------------------------------------------


def standardised(values: NDArray[np.float32]) -> NDArray[np.float64]:
    wide = values.astype(np.float64)
    spread = wide.std(0)
    spread[spread == 0] = 1
    return ((wide - wide.mean(0)) / spread).clip(-4, 4)


def test_scales_and_standardised_targets_are_those_of_all_rows_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values = np.random.default_rng(0).lognormal(size=(500, 82)).astype(np.float32)
    values[:, 5] = 3  # no spread
    values[7] = np.nan  # unknown
    known = np.delete(values, 7, axis=0)
    monkeypatch.setattr(clean_targets, "ROWS", 64)
    mean, spread = scale = clean_targets.measure_scale(values)
    np.testing.assert_array_equal(mean, known.mean(axis=0, dtype=np.float64))
    deviation = known.std(axis=0, dtype=np.float64)
    np.testing.assert_array_equal(spread, np.where(deviation > 0, deviation, 1.0))
    found = clean_targets.standardise(values, scale)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(np.delete(found, 7, axis=0), standardised(known).astype("f4"))
    assert np.isnan(found[7]).all()


def test_scales_are_of_what_is_known_of_each_column() -> None:
    values = np.random.default_rng(0).normal(100, 5, size=(60, 12)).astype(np.float32)
    values[:30, :6] = values[30:, 6:11] = np.nan  # no row knows all
    values[:, 11] = np.nan
    mean, spread = clean_targets.measure_scale(values)
    np.testing.assert_allclose(mean[:11], np.nanmean(values[:, :11], axis=0, dtype=np.float64))
    np.testing.assert_allclose(spread[:11], np.nanstd(values[:, :11], axis=0, dtype=np.float64))
    assert (mean[11], spread[11]) == (0, 1)


def test_a_batch_is_what_its_crystals_give_one_by_one() -> None:
    structures = prototypes()[:12]
    corpus = make_corpus(structures)
    members = np.array([7, 2, 11, 0, 2])  # a crystal may come twice
    batch = corpus.batch(members)

    graphs, slots, descriptors, rdf = [], [], [], []
    for structure in structures:
        near = radius_graph(*crystal_arrays(structure), CUTOFF)
        slot = np.unique(near.atomic_numbers, return_inverse=True)[1]
        graphs.append(radius_graph(*crystal_arrays(structure), CUTOFF, SKIN))
        slots.append(slot)
        descriptors.append(site_descriptors([near], [structure.volume], CUTOFF))
        rdf.append(species_rdf(near, slot, CUTOFF))
    # The corpus standardises over all of its sites.
    n = np.cumsum([0, *map(len, structures)])
    descriptors = np.split(standardised(np.concatenate(descriptors)), n[1:-1])
    n = np.cumsum([0, *map(len, rdf)])
    rdf = np.split(standardised(np.concatenate(rdf)), n[1:-1])

    edge = site = slot_offset = pair = 0
    seen_numbers: set[int] = set()
    for row, member in enumerate(members):
        graph, slot = graphs[member], slots[member]
        n_slots = slot.max() + 1
        sites = slice(site, site + graph.n_sites)
        edges = slice(edge, edge + graph.n_edges)
        pairs = slice(pair, pair + graph.n_sites * n_slots)
        assert batch.site_start[row] == site
        assert batch.slot_start[row] == slot_offset
        equal = np.testing.assert_array_equal
        equal(batch.z[sites], graph.atomic_numbers)
        equal(batch.crystal[sites], np.full(graph.n_sites, row))
        equal(batch.slot[sites], slot + slot_offset)
        equal(batch.edge_index[:, edges], graph.edge_index + site)
        equal(batch.edge_vector[edges], graph.edge_vector)
        equal(batch.pair_site[pairs], np.repeat(np.arange(graph.n_sites), n_slots) + site)
        equal(batch.pair_slot[pairs], np.tile(np.arange(n_slots), graph.n_sites) + slot_offset)
        np.testing.assert_allclose(batch.descriptors[sites], descriptors[member], atol=1e-4)
        np.testing.assert_allclose(batch.pair_rdf[pairs], rdf[member], atol=1e-4)
        # Edges are numbered in pairs within the crystal, and crystals share no number.
        numbers = batch.edge_pair[edges].numpy()
        equal(numbers - numbers.min(), undirected_pairs(graph))
        assert seen_numbers.isdisjoint(numbers.tolist())
        seen_numbers.update(numbers.tolist())
        edge, site, pair = edges.stop, sites.stop, pairs.stop
        slot_offset += n_slots
    assert (edge, site, pair) == (len(batch.edge_vector), len(batch.z), len(batch.pair_site))
    assert (batch.site_start[-1], batch.slot_start[-1]) == (site, slot_offset)
    assert batch.n_crystals == len(members)
    assert batch.formula[1] == batch.formula[4]
    assert len(batch.formula.unique()) == 4


def test_targets_are_standardised_over_the_corpus() -> None:
    corpus = prototype_corpus()
    batch = corpus.batch(np.arange(len(corpus)))
    for values in (batch.descriptors, batch.pair_rdf):
        assert values.abs().max() <= 4.0
        assert torch.isfinite(values).all()
        # Clipping takes a little off.
        assert values.mean(0).abs().max() < 0.1
        spread = values.std(0)
        assert ((spread > 0.8) | (spread == 0)).all()
        assert (spread < 1.05).all()


def test_the_corpus_counts_its_elements() -> None:
    corpus = prototype_corpus()
    counts: dict[int, int] = {}
    for structure in prototypes()[:32]:
        for z in structure.atomic_numbers:
            counts[z] = counts.get(z, 0) + 1
    assert {z: int(n) for z, n in enumerate(corpus.element_counts) if n} == counts
    assert len(corpus.element_counts) == 119


def test_polymorphs_share_a_formula_number_and_systems_a_system_number() -> None:
    build = Structure.from_spacegroup
    zinc = build("F-43m", Lattice.cubic(4.62), ["Zn", "O"], [[0, 0, 0], [0.25, 0.25, 0.25]])
    peroxide = build("Pa-3", Lattice.cubic(4.87), ["Zn", "O"], [[0, 0, 0], [0.41, 0.41, 0.41]])
    corpus = make_corpus([real()["ZnO wurtzite"], real()["Si"], zinc, peroxide])
    formula = corpus.batch(np.arange(4)).formula
    assert formula[0] == formula[2]
    assert len(formula.unique()) == 3
    assert corpus.chemical_system.tolist() == [0, 1, 0, 0]


@pytest.mark.parametrize("last", [False, True])
def test_a_neighbour_at_exactly_the_cutoff_is_not_lost_to_rounding(last: bool) -> None:
    """In float32 a distance of 4.5 Å can come out above 4.5, which left a site without edges."""
    salt = as_crystal(real()["NaCl"].get_primitive_structure())
    rotations = [Rotation.random(random_state=k).as_matrix() for k in range(40)]
    for turn in rotations:
        chain = Structure(np.diag([4.5, 6.0, 6.5]) @ turn, ["Cs"], [[0, 0, 0]])
        given = [salt, as_crystal(chain)] if last else [as_crystal(chain), salt]
        batch = Corpus(given, 4.5, progress=False).batch(np.arange(2))
        assert torch.isfinite(batch.descriptors).all()
    graph = RadiusGraph(
        np.array([55]),
        np.zeros((2, 2), dtype=np.int64),
        np.array([[4.5000005, 0, 0], [-4.5000005, 0, 0]], dtype=np.float32),
        np.array([[1, 0, 0], [-1, 0, 0]]),
    )
    assert corpora._inside(graph, 4.5).n_edges == 2


# -- batches -------------------------------------------------------------------------------------


class Sizes:
    """What :func:`corpora.epoch_batches` reads of a corpus."""

    def __init__(self, n_edges: NDArray[np.int64], chemical_system: NDArray[np.int64]) -> None:
        self.n_edges = n_edges
        self.n_sites = np.full(len(n_edges), 2)
        self.chemical_system = chemical_system

    def __len__(self) -> int:
        return len(self.n_edges)


def random_sizes(n: int = 400, n_systems: int = 100) -> Sizes:
    rng = np.random.default_rng(1)
    return Sizes(rng.integers(10, 300, n), rng.integers(0, n_systems, n))


def cut(sizes: Sizes, max_edges: int, seed: int = 0) -> list[NDArray[np.int64]]:
    return epoch_batches(sizes, max_edges, np.random.default_rng(seed))  # type: ignore[arg-type]


@pytest.mark.parametrize("max_edges", [100, 300, 1000, 5000, 10**9])
def test_an_epoch_holds_every_crystal_once_within_the_budget(max_edges: int) -> None:
    sizes = random_sizes()
    batches = cut(sizes, max_edges)
    np.testing.assert_array_equal(np.sort(np.concatenate(batches)), np.arange(400))
    assert min(map(len, batches)) > 0
    # Only a crystal that is larger than the budget by itself may exceed it.
    assert all(sizes.n_edges[b].sum() <= max_edges for b in batches if len(b) > 1)


@pytest.mark.parametrize("n", [1, 2, 3, 5])
@pytest.mark.parametrize("max_edges", [1, 10**6])
def test_a_few_crystals_make_batches_too(n: int, max_edges: int) -> None:
    batches = cut(random_sizes(n), max_edges)
    assert sorted(np.concatenate(batches).tolist()) == list(range(n))
    assert all(len(b) for b in batches)


def test_a_site_is_never_alone_in_a_batch() -> None:
    sizes = random_sizes(40)
    sizes.n_sites[:] = 1
    batches = cut(sizes, 100)
    np.testing.assert_array_equal(np.sort(np.concatenate(batches)), np.arange(40))
    assert min(map(len, batches)) == 2


def test_batches_follow_from_the_seed() -> None:
    one, same, other = (cut(random_sizes(), 2000, seed) for seed in (3, 3, 4))
    assert [b.tolist() for b in one] == [b.tolist() for b in same]
    assert [b.tolist() for b in one] != [b.tolist() for b in other]


def test_batches_are_well_filled() -> None:
    sizes = random_sizes()
    filled = [sizes.n_edges[b].sum() / 5000 for b in cut(sizes, 5000)[:-1]]
    assert np.mean(filled) > 0.8


def test_crystals_of_one_chemical_system_meet_in_a_batch() -> None:
    sizes = random_sizes()

    def meetings(batches: list[NDArray[np.int64]]) -> int:
        """Pairs of one system in one batch."""
        counts = [np.bincount(sizes.chemical_system[b]) for b in batches]
        return int(sum((c * (c - 1) // 2).sum() for c in counts))

    found = [meetings(cut(sizes, 3000, seed)) for seed in range(5)]
    rng = np.random.default_rng(0)
    cuts = np.cumsum([len(b) for b in cut(sizes, 3000)])[:-1]
    by_chance = [meetings(np.split(rng.permutation(400), cuts)) for _ in range(5)]
    assert np.mean(found) > 3 * np.mean(by_chance)


def test_groups_of_one_chemical_system_have_at_most_four_members() -> None:
    """So that a frequent system does not fill a whole batch."""
    sizes = Sizes(np.full(200, 10), np.zeros(200, dtype=np.int64))
    assert max(len(b) for b in cut(sizes, 40)) == 4
