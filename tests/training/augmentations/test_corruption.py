"""Clean batch → corrupted view: rates, seeds, and what must not leak."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace
from functools import lru_cache

import numpy as np
import pytest
import torch
from pymatgen.core import Lattice, Structure
from small_corpora import CUTOFF, make_corpus, prototype_corpus
from torch import Tensor

from augmentations import random_rotations
from augmentations.corruption import Corruption, CorruptionConfig
from augmentations.masking import MASK
from corpora.batches import CleanBatch, View

NOTHING = CorruptionConfig(
    mask_rate=0.0,
    species_mask_probability=0.0,
    jitter=(),
    strain=0.0,
    edge_drop=0.0,
    clean_probability=0.0,
)
"""No corruption at all."""

FAR = 100.0
"""Å. A cutoff that no edge reaches, so that a view keeps the edges of the batch row for row."""


@lru_cache(maxsize=1)
def many() -> CleanBatch:
    """1,280 crystals."""
    corpus = prototype_corpus()
    return corpus.batch(np.tile(np.arange(len(corpus)), 40))


@lru_cache(maxsize=1)
def few() -> CleanBatch:
    return prototype_corpus().batch(np.arange(32))


def corrupt(
    batch: CleanBatch, config: CorruptionConfig, seed: int = 0, cutoff: float = FAR
) -> View:
    counts = torch.from_numpy(prototype_corpus().element_counts)
    return Corruption(config, cutoff, counts)(batch, torch.Generator().manual_seed(seed))


def numbered(batch: CleanBatch) -> CleanBatch:
    """The batch with the number of each edge in place of its vector."""
    number = torch.arange(len(batch.edge_vector)).float()
    return replace(batch, edge_vector=torch.stack([number, 0 * number, 0 * number], dim=1))


def within(found: float, expected: float, n: int, sigmas: float = 5.0) -> bool:
    """Whether a share of ``n`` draws is what it should be, up to chance."""
    return abs(found - expected) <= sigmas * (expected * (1 - expected) / n) ** 0.5


def by_crystal(batch: CleanBatch, of_site: Tensor) -> Iterator[Tensor]:
    yield from of_site.split(batch.site_start.diff().tolist())


# -- masks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [0.01, 0.15, 0.5])
def test_atom_wise_masks_come_at_their_rate_and_at_least_once_a_crystal(rate: float) -> None:
    batch = many()
    selected = corrupt(batch, replace(NOTHING, mask_rate=rate)).selected
    n = batch.site_start.diff()
    assert n.min() > 1
    each = torch.stack([s.sum() for s in by_crystal(batch, selected)])
    assert each.min() == 1
    # The expected number at the rate, and one more where chance selects nobody.
    expected = (n * rate + (1 - rate) ** n).sum()
    assert each.sum() == pytest.approx(float(expected), rel=0.03)


def test_a_single_site_is_masked_at_the_rate_only() -> None:
    """Else a one-atom cell would never show its species."""
    batch = many()
    first = batch.site_start[:-1]
    single = replace(
        batch,
        z=batch.z[first],
        crystal=torch.arange(len(first)),
        slot=torch.arange(len(first)),
        slot_start=torch.arange(len(first) + 1),
        site_start=torch.arange(len(first) + 1),
        edge_index=torch.zeros(2, 0, dtype=torch.long),
        edge_vector=torch.zeros(0, 3),
        edge_pair=torch.zeros(0, dtype=torch.long),
    )
    config = replace(NOTHING, mask_rate=0.15, species_mask_probability=1.0)
    share = corrupt(single, config).selected.float().mean()
    assert within(float(share), 0.15, len(first))


def test_species_wise_masks_select_all_sites_of_exactly_one_element() -> None:
    batch = many()
    view = corrupt(batch, replace(NOTHING, species_mask_probability=1.0))
    chosen_slot = []
    shared = zip(
        by_crystal(batch, batch.z),
        by_crystal(batch, view.selected),
        by_crystal(batch, view.z),
        strict=True,
    )
    for z, selected, seen in shared:
        hidden = z[selected].unique()
        assert len(hidden) == 1
        assert selected.equal(z == hidden)
        assert len(seen[selected].unique()) == 1  # one outcome for all of them
        chosen_slot.append(int((z.unique() == hidden).nonzero()))
    # Each element of a binary crystal is as likely.
    binary = (batch.slot_start.diff() == 2).numpy()
    assert within(float(np.mean(np.array(chosen_slot)[binary])), 0.5, int(binary.sum()))


def test_half_of_the_crystals_are_masked_by_species() -> None:
    batch = many()
    config = replace(NOTHING, mask_rate=0.0, species_mask_probability=0.5)
    selected = corrupt(batch, config).selected
    # With a rate of zero an atom-wise mask is a single site.
    pairs = zip(by_crystal(batch, batch.z), by_crystal(batch, selected), strict=True)
    telling = [(int(s.sum()) > 1) for z, s in pairs if all((z == e).sum() > 1 for e in z.unique())]
    assert len(telling) > 100
    assert within(float(np.mean(telling)), 0.5, len(telling))


@pytest.mark.parametrize("by_species", [0.0, 1.0])
def test_of_the_selected_80_percent_are_masked_10_replaced_10_kept(by_species: float) -> None:
    batch = many()
    config = replace(NOTHING, mask_rate=0.5, species_mask_probability=by_species)
    view = corrupt(batch, config)
    z, seen = batch.z[view.selected], view.z[view.selected]
    if by_species:  # sites of one crystal share their outcome: count crystals
        first = torch.from_numpy(
            np.unique(batch.crystal[view.selected].numpy(), return_index=True)[1]
        )
        z, seen = z[first], seen[first]
    frequency = prototype_corpus().element_counts / prototype_corpus().element_counts.sum()
    by_luck = float(frequency[z.numpy()].mean())  # replaced by itself
    n = len(z)
    assert within(float((seen == MASK).float().mean()), 0.8, n)
    assert within(float((seen == z).float().mean()), 0.1 + 0.1 * by_luck, n)
    other = (seen != MASK) & (seen != z)
    assert within(float(other.float().mean()), 0.1 * (1 - by_luck), n)


def test_wrong_elements_come_as_often_as_in_the_corpus() -> None:
    batch = many()
    view = corrupt(batch, replace(NOTHING, mask_rate=1.0))
    wrong = view.z[(view.z != MASK) & (view.z != batch.z)].numpy()
    counts = prototype_corpus().element_counts
    assert set(wrong) <= set(np.flatnonzero(counts))
    expected = counts / counts.sum()
    found = np.bincount(wrong, minlength=119) / len(wrong)
    assert len(wrong) > 500
    # Fewer of the frequent ones, which are replaced by themselves more often.
    assert np.abs(found - expected).max() < 0.04


def test_sites_that_are_not_selected_keep_their_species() -> None:
    batch = many()
    view = corrupt(batch, CorruptionConfig())
    assert view.z[~view.selected].equal(batch.z[~view.selected])
    assert 0 < view.selected.float().mean() < 1


# -- positions -----------------------------------------------------------------------------------


@pytest.mark.parametrize("sigma", [0.02, 0.1])
def test_jitter_moves_each_site_by_its_standard_deviation(sigma: float) -> None:
    batch = many()
    view = corrupt(batch, replace(NOTHING, jitter=(sigma,)))
    change = view.edge_vector - batch.edge_vector
    source, target = batch.edge_index
    # An edge sees the difference of two independent shifts.
    assert change[source != target].std() == pytest.approx(sigma * 2**0.5, rel=0.03)
    assert abs(change.mean()) < 0.05 * sigma
    # All edges of two sites see the same shifts: it is the atoms that moved.
    pair = torch.stack([source, target])
    _, inverse = pair.unique(dim=1, return_inverse=True)
    first = torch.zeros(int(inverse.max()) + 1, 3)
    first[inverse] = change
    assert (change - first[inverse]).abs().max() < 1e-5


def test_every_level_of_jitter_is_drawn_a_crystal() -> None:
    batch = many()
    levels = (0.02, 0.05, 0.1)
    view = corrupt(batch, replace(NOTHING, jitter=levels))
    change = view.edge_vector - batch.edge_vector
    source, target = batch.edge_index
    crystal = batch.crystal[target]
    other = source != target
    spread = torch.stack(
        [change[other & (crystal == k)].square().mean().sqrt() for k in range(0, 1280, 2)]
    )
    spread = spread[spread.isfinite()] / 2**0.5
    assert spread.mean() == pytest.approx(np.mean(levels), rel=0.1)
    assert spread.min() < 0.03
    assert spread.max() > 0.08


def test_a_self_image_feels_the_strain_and_not_the_jitter() -> None:
    batch = few()
    source, target = batch.edge_index
    itself = source == target
    assert itself.sum() > 50
    moved = corrupt(batch, replace(NOTHING, jitter=(0.1,)))
    difference = moved.edge_vector - batch.edge_vector
    assert difference[itself].abs().max() < 1e-6  # one shift added and taken off again
    assert difference[~itself].abs().mean() > 0.05
    strained = corrupt(batch, replace(NOTHING, strain=0.01))
    both = corrupt(batch, replace(NOTHING, strain=0.01, jitter=(0.1,)))
    assert not strained.edge_vector[itself].equal(batch.edge_vector[itself])
    assert (both.edge_vector - strained.edge_vector)[itself].abs().max() < 1e-6


def deformations(batch: CleanBatch, view: View) -> Tensor:
    """The matrix that maps the clean edges of each crystal to those of the view, (n, 3, 3)."""
    crystal = batch.crystal[batch.edge_index[1]]
    return torch.stack(
        [
            torch.linalg.lstsq(
                batch.edge_vector[crystal == k].double(), view.edge_vector[crystal == k].double()
            ).solution
            for k in range(batch.n_crystals)
        ]
    )


def test_strain_is_one_symmetric_matrix_a_crystal() -> None:
    batch = few()
    config = replace(NOTHING, strain=0.01)
    strain = torch.cat(
        [deformations(batch, corrupt(batch, config, seed)) - torch.eye(3) for seed in range(15)]
    )
    assert (strain - strain.transpose(1, 2)).abs().max() < 1e-5
    diagonal = strain.diagonal(dim1=1, dim2=2)
    assert diagonal.std() == pytest.approx(0.01, rel=0.1)
    assert diagonal.mean().abs() < 0.001
    shear = strain[:, [0, 0, 1], [1, 2, 2]]
    assert shear.std() == pytest.approx(0.01, rel=0.1)
    # Different in every crystal.
    assert diagonal.std(0).min() > 0.005


def test_rotations_are_proper_and_keep_every_length() -> None:
    batch = few()
    view = corrupt(batch, replace(NOTHING, rotate=True))
    torch.testing.assert_close(
        view.edge_vector.norm(dim=1), batch.edge_vector.norm(dim=1), atol=1e-5, rtol=0
    )
    turn = deformations(batch, view)
    identity = torch.eye(3, dtype=torch.float64).expand_as(turn)
    torch.testing.assert_close(turn @ turn.transpose(1, 2), identity, atol=1e-5, rtol=0)
    torch.testing.assert_close(
        torch.linalg.det(turn), torch.ones(32, dtype=torch.float64), atol=1e-5, rtol=0
    )


def test_rotations_are_uniform() -> None:
    turn = random_rotations(20_000, torch.Generator().manual_seed(0))
    # Of a uniform rotation every entry has mean 0 and mean square 1/3.
    assert turn.mean(0).abs().max() < 0.02
    assert (turn.square().mean(0) - 1 / 3).abs().max() < 0.02


# -- edges ---------------------------------------------------------------------------------------


def test_both_directions_of_an_edge_are_dropped_together_and_at_the_rate() -> None:
    batch = numbered(many())
    view = corrupt(batch, replace(NOTHING, edge_drop=0.1), cutoff=float("inf"))
    kept = torch.zeros(len(batch.edge_vector), dtype=torch.bool)
    kept[view.edge_vector[:, 0].long()] = True
    n_pairs = int(batch.edge_pair.max()) + 1
    directions = torch.bincount(batch.edge_pair[kept], minlength=n_pairs)
    assert set(directions.unique().tolist()) == {0, 2}
    assert within(float((directions == 0).float().mean()), 0.1, n_pairs)
    # Sources and targets go with their vectors.
    assert view.edge_index.equal(batch.edge_index[:, kept])


@pytest.mark.parametrize(
    "config",
    [CorruptionConfig(), CorruptionConfig(jitter=(0.5,), strain=0.2), NOTHING],
    ids=["default", "strong", "none"],
)
def test_no_edge_of_a_view_is_longer_than_the_cutoff(config: CorruptionConfig) -> None:
    batch = few()
    assert batch.edge_vector.norm(dim=1).max() > CUTOFF  # the skin
    view = corrupt(batch, config, cutoff=CUTOFF)
    assert view.edge_vector.norm(dim=1).max() <= CUTOFF
    assert view.edge_index.shape == (2, len(view.edge_vector))


def test_atoms_that_come_closer_enter_the_sphere() -> None:
    batch = few()
    outside = batch.edge_vector.norm(dim=1) > CUTOFF
    without_skin = replace(
        batch,
        edge_index=batch.edge_index[:, ~outside],
        edge_vector=batch.edge_vector[~outside],
        edge_pair=batch.edge_pair[~outside],
    )
    config = replace(NOTHING, jitter=(0.1,))
    with_skin, without = (
        corrupt(b, config, cutoff=CUTOFF).edge_vector for b in (batch, without_skin)
    )
    assert len(with_skin) > 1.01 * len(without)


def test_rewired_edges_keep_their_vectors_and_their_reverse() -> None:
    batch = few()
    view = corrupt(batch, replace(NOTHING, edge_rewire=0.3))
    assert view.edge_vector.equal(batch.edge_vector)
    changed = (view.edge_index != batch.edge_index).any(0)
    assert changed.equal(view.rewired)
    assert (view.edge_index != batch.edge_index).sum(0).max() == 1  # one end only
    crystal = batch.crystal
    assert crystal[view.edge_index[0]].equal(crystal[batch.edge_index[0]])
    assert crystal[view.edge_index[1]].equal(crystal[batch.edge_index[1]])
    # Source and target of an edge are target and source of its reverse, before and after.
    order = torch.argsort(batch.edge_pair, stable=True)
    one, other = view.edge_index[:, order[::2]], view.edge_index[:, order[1::2]]
    assert one.equal(other.flip(0))
    # A new end is drawn from all sites of the crystal, the old one among them.
    n = batch.site_start.diff()[crystal[batch.edge_index[1]]]
    expected = 0.3 * (1 - 1 / n.float()).mean()
    assert float(changed.float().mean()) == pytest.approx(float(expected), rel=0.1)


def test_shuffled_crystals_keep_their_composition() -> None:
    batch = many()
    config = replace(NOTHING, mask_rate=0.5, shuffle_probability=1.0)
    view = corrupt(batch, config)
    pairs = list(zip(by_crystal(batch, batch.z), by_crystal(batch, view.z), strict=True))
    assert all(before.sort().values.equal(after.sort().values) for before, after in pairs)
    moved = view.z != batch.z
    assert moved.any()
    assert view.selected[moved].all()


def test_without_masks_every_species_stays() -> None:
    config = replace(CorruptionConfig(), shuffle_probability=0.5).without_masks()
    view = corrupt(few(), config, cutoff=CUTOFF)
    assert view.z.equal(few().z)
    assert not view.selected.any()
    assert len(view.edge_vector) != len(few().edge_vector)


def test_corruption_past_the_skin_is_refused() -> None:
    with pytest.raises(ValueError, match=r"past the skin of 0.4 Å"):
        CorruptionConfig(jitter=(0.2,)).check_skin(4.5)
    CorruptionConfig().check_skin(5.0)


# -- what is left alone --------------------------------------------------------------------------


def test_clean_crystals_are_untouched() -> None:
    batch = few()
    view = corrupt(batch, replace(CorruptionConfig(), clean_probability=1.0), cutoff=CUTOFF)
    inside = batch.edge_vector.norm(dim=1) <= CUTOFF
    assert view.z.equal(batch.z)
    assert not view.selected.any()
    assert view.edge_vector.equal(batch.edge_vector[inside])
    assert view.edge_index.equal(batch.edge_index[:, inside])


def test_a_share_of_the_crystals_is_clean() -> None:
    batch = many()
    config = CorruptionConfig(clean_probability=0.3, edge_drop=0.0)
    view = corrupt(batch, config)
    crystal = batch.crystal[batch.edge_index[1]]
    moved = torch.zeros(batch.n_crystals).index_add(
        0, crystal, (view.edge_vector - batch.edge_vector).abs().sum(1)
    )
    hidden = torch.stack([s.any() for s in by_crystal(batch, view.selected)])
    assert hidden.equal(moved > 0)  # all of the corruption or none of it
    assert within(float((~hidden).float().mean()), 0.3, batch.n_crystals)


def test_the_batch_is_not_modified() -> None:
    batch = few()
    before = {f.name: getattr(batch, f.name).clone() for f in fields(batch)}
    view = corrupt(batch, CorruptionConfig(rotate=True), cutoff=CUTOFF)
    for tensor in (view.z, view.edge_index, view.edge_vector):
        tensor.zero_()  # the view shares no memory with the batch either
    assert all(getattr(batch, name).equal(value) for name, value in before.items())


def test_a_view_follows_from_the_seed() -> None:
    batch = few()
    first, again = (corrupt(batch, CorruptionConfig(), 5, CUTOFF) for _ in range(2))
    other = corrupt(batch, CorruptionConfig(), 6, CUTOFF)
    for name in ("z", "edge_index", "edge_vector", "selected"):
        assert getattr(first, name).equal(getattr(again, name))
    assert not first.z.equal(other.z)
    assert first.edge_vector.shape != other.edge_vector.shape


def test_the_two_views_of_one_generator_differ() -> None:
    counts = torch.from_numpy(prototype_corpus().element_counts)
    corruption = Corruption(CorruptionConfig(), FAR, counts)
    generator = torch.Generator().manual_seed(0)
    one, two = (corruption(few(), generator) for _ in range(2))
    assert not one.selected.equal(two.selected)
    assert one.edge_vector.shape != two.edge_vector.shape


# -- leaks ---------------------------------------------------------------------------------------


def test_no_clean_distance_reaches_a_corrupted_view() -> None:
    batch = few()
    config = replace(CorruptionConfig(), clean_probability=0.0)
    view = corrupt(batch, config, cutoff=CUTOFF)
    clean = set(batch.edge_vector.norm(dim=1).tolist())
    seen = view.edge_vector.norm(dim=1).tolist()
    # A few of thousands meet by chance at float32 resolution.
    assert sum(d in clean for d in seen) < 0.01 * len(seen)
    # What the encoder reads; the other fields say what was done, for the objectives.
    read = {"z", "edge_index", "edge_vector"}
    assert {f.name for f in fields(view)} == read | {"edge", "rewired", "selected"}


def test_a_view_does_not_depend_on_the_species_it_hides_or_on_any_target() -> None:
    batch = few()
    first = corrupt(batch, CorruptionConfig(), cutoff=CUTOFF)
    hidden = first.z == MASK
    assert hidden.any()
    changed = replace(
        batch,
        z=torch.where(hidden, (batch.z + 7) % 118 + 1, batch.z),
        descriptors=torch.zeros_like(batch.descriptors),
        pair_rdf=torch.zeros_like(batch.pair_rdf),
        formula=torch.zeros_like(batch.formula),
    )
    second = corrupt(changed, CorruptionConfig(), cutoff=CUTOFF)
    for name in ("z", "edge_index", "edge_vector", "selected"):
        assert getattr(first, name).equal(getattr(second, name))


@pytest.mark.parametrize(("jitter", "edge_drop"), [((), 1.0), ((0.15,), 0.9)])
def test_a_batch_of_sparse_crystals_keeps_the_edges_that_normalisation_needs(
    jitter: tuple[float, ...], edge_drop: float
) -> None:
    apart = 0.9995 * CUTOFF  # a little farther, and the one pair of edges is gone
    dimer = Structure(Lattice.cubic(15.0), ["N", "N"], [[0, 0, 0], [apart / 15.0, 0, 0]])
    batch = make_corpus([dimer]).batch(np.array([0]))
    config = replace(NOTHING, jitter=jitter, edge_drop=edge_drop)
    corruption = Corruption(config, CUTOFF, torch.ones(119))
    for seed in range(20):
        view = corruption(batch, torch.Generator().manual_seed(seed))
        assert view.edge_index.shape == (2, 2)
        assert view.edge_vector.norm(dim=1).max() <= CUTOFF
