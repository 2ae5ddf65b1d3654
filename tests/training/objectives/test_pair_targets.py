"""Targets of pairs of sites against loops over images."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pair_cases import FORMS, matrices
from pymatgen.core import Structure
from real_crystals import crystals
from small_corpora import CUTOFF, make_corpus, prototype_corpus, prototypes

from corpora.clean_targets import RDF_CENTRES, SKIN
from objectives.pair_targets import MOST_PARTNERS, Form, pair_of_edge, pair_targets, site_pairs


def image_distances(structure: Structure, reach: int = 4) -> NDArray[np.float64]:
    """Distances of site i from the images of site j, (n, n, n_images), Å; inf for i itself."""
    images = np.array(list(itertools.product(range(-reach, reach + 1), repeat=3)))
    x = structure.cart_coords
    shift = x[None, :, None] - x[:, None, None] + (images @ structure.lattice.matrix)[None, None]
    distance = np.linalg.norm(shift, axis=3)
    return np.where(distance < 1e-8, np.inf, distance)


def targets_by_loops(form: Form, structure: Structure, reach: int = 4) -> NDArray[np.float64]:
    """Targets of all pairs of a crystal, (n, n) or (n, n, 8)."""
    distance = image_distances(structure, reach)
    n = len(structure)
    result = np.zeros((n, n, 8) if form == "pair-rdf" else (n, n))
    for i, j in itertools.product(range(n), repeat=2):
        if form == "pair-rdf":
            d = distance[i, j][distance[i, j] < CUTOFF]
            smooth = (np.cos(math.pi * d / CUTOFF) + 1) / 2
            for k, centre in enumerate(RDF_CENTRES):
                total = np.sum(np.exp(-(((d - centre) / 0.4) ** 2)) * smooth)
                result[i, j, k] = math.log(1 + total)
        elif form == "bond":
            reach = 1.2 * min(distance[i].min(), distance[j].min())
            result[i, j] = distance[i, j].min() <= reach + 1e-4
        else:
            near = np.sort(distance[i][distance[i] <= CUTOFF + SKIN])
            last = near[:12][-1] + 0.01
            result[i, j] = min(5, np.sum(distance[i, j] <= last))
    return result


def cell_with_neighbours_in_the_list(structure: Structure) -> bool:
    """Bonds may not be longer than the list reaches, nor cells so small that images are missed."""
    nearest = image_distances(structure).min(axis=(1, 2))
    # 1.2 times the nearest-neighbour distance, with a margin for rounding.
    return 1.2 * nearest.max() < CUTOFF + SKIN - 0.01 and min(structure.lattice.abc) > 2.0


@pytest.mark.parametrize("form", FORMS)
def test_pair_targets_are_those_of_loops_over_images(form: Form) -> None:
    real = [*crystals().values(), *prototypes()[:30]]
    chosen = [s for s in real if len(s) <= 16 and cell_with_neighbours_in_the_list(s)]
    assert len(chosen) > 20
    batch = make_corpus(chosen).batch(np.arange(len(chosen)))
    for structure, found in zip(chosen, matrices(form, batch), strict=True):
        expected = targets_by_loops(form, structure)
        np.testing.assert_allclose(found, expected, atol=1e-4, err_msg=structure.formula)


def test_all_pairs_of_small_cells_are_listed_and_every_edge_finds_its_own() -> None:
    corpus = prototype_corpus()
    batch = corpus.batch(np.array([4, 1, 3]))
    first, second = site_pairs(batch)
    expected = {
        (i, j)
        for start, end in itertools.pairwise(batch.site_start.tolist())
        for i, j in itertools.product(range(start, end), repeat=2)
    }
    assert set(zip(first.tolist(), second.tolist(), strict=True)) == expected
    assert len(first) == len(expected)
    row, listed = pair_of_edge(batch)
    assert listed.all()
    source, target = batch.edge_index
    assert first[row].equal(target)
    assert second[row].equal(source)


@pytest.mark.parametrize("form", FORMS)
def test_large_cells_get_the_true_targets_of_fewer_pairs(form: Form) -> None:
    salt = crystals()["NaCl"]
    large = salt.copy()
    large.make_supercell([3, 2, 2])  # 96 sites
    batch = make_corpus([salt, large]).batch(np.array([0, 1]))
    first, second = site_pairs(batch)
    assert len(first) == 8 * 8 + 96 * MOST_PARTNERS
    assert len(set(zip(first.tolist(), second.tolist(), strict=True))) == len(first)
    assert (batch.crystal[first] == batch.crystal[second]).all()
    assert (torch.bincount(first[64:] - 8) == MOST_PARTNERS).all()
    assert ((first == second).sum()) == 104  # the diagonal is always there
    expected = targets_by_loops(form, large, reach=1)
    found = pair_targets(form, batch, CUTOFF)[64:].numpy()
    i, j = (first[64:] - 8).numpy(), (second[64:] - 8).numpy()
    np.testing.assert_allclose(found, expected[i, j], atol=1e-4)


def test_rock_salt_has_other_pairs_in_another_cell_but_the_same_species_targets() -> None:
    """The documented failure of every pairwise form: it asks for a property of the file.

    The six Cl around a Na are all the one Cl of the primitive cell; in the conventional cell they
    are three of the four, each twice. Embeddings are the same in both.
    """
    salt = crystals()["NaCl"]
    primitive = salt.get_primitive_structure()
    large = salt.copy()
    large.make_supercell(2)
    corpus = make_corpus([primitive, salt, large])
    batches = [corpus.batch(np.array([k])) for k in range(3)]
    small, conventional = (
        {form: matrices(form, batch)[0] for form in FORMS} for batch in batches[:2]
    )
    sodium, chlorine = (batches[1].z == 11).numpy(), (batches[1].z == 17).numpy()
    between = np.ix_(sodium, chlorine)
    assert small["bond"][0, 1] == 1
    assert conventional["bond"][between].mean() == 0.75
    assert small["multiplicity"][0, 1] == 5  # six
    assert sorted(conventional["multiplicity"][between][0]) == [0, 2, 2, 2]
    assert np.expm1(small["pair-rdf"][0, 1]).max() == pytest.approx(
        3 * np.expm1(conventional["pair-rdf"][between]).max(), rel=1e-4
    )
    rows = [batch.pair_rdf[(batch.z == 11)[batch.pair_site]].reshape(-1, 2, 8) for batch in batches]
    for row in rows:
        torch.testing.assert_close(row, rows[0][:1].expand_as(row), atol=1e-5, rtol=0)
