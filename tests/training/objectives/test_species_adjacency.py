"""The four forms of adjacency: targets and losses by brute force, and what symmetry leaves open."""

from __future__ import annotations

import itertools
import math
from functools import lru_cache

import numpy as np
import pytest
import torch
from encoded_batches import element_latents, encoded
from numpy.typing import NDArray
from pymatgen.core import Structure
from real_crystals import crystals
from scipy.optimize import minimize_scalar
from small_corpora import CUTOFF, make_corpus, prototype_corpus, prototypes
from torch import Tensor

from corpora.batches import CleanBatch
from corpora.clean_targets import RDF_CENTRES, SKIN
from corpora.corpus import Corpus
from objectives.pair_adjacency import PairAdjacency, constant_losses, pair_weights
from objectives.pair_targets import MOST_PARTNERS, Form, pair_of_edge, pair_targets, site_pairs
from objectives.pairwise_floor import pairwise_floor
from objectives.species_adjacency import SpeciesAdjacency

FORMS: tuple[Form, ...] = ("multiplicity", "bond", "pair-rdf")


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


def matrices(form: Form, batch: CleanBatch) -> list[NDArray[np.float64]]:
    """Targets of a batch as one (n, n, …) array a crystal; its cells have few sites."""
    found = pair_targets(form, batch, CUTOFF).numpy()
    first, second = (sites.numpy() for sites in site_pairs(batch))
    whole = np.zeros((len(batch.z), len(batch.z), *found.shape[1:]), found.dtype)
    whole[first, second] = found
    bounds = itertools.pairwise(batch.site_start.tolist())
    return [whole[start:end, start:end] for start, end in bounds]


# -- targets -------------------------------------------------------------------------------------


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


@lru_cache(maxsize=1)
def quartz_twice_and_salt() -> Corpus:
    """The second time its sites are in another order."""
    quartz = crystals()["SiO2 quartz"]
    mixed = Structure.from_sites([quartz[k] for k in (4, 0, 8, 2, 6, 1, 3, 7, 5)])
    return make_corpus([quartz, mixed, crystals()["NaCl"]])


# -- pairwise losses -----------------------------------------------------------------------------


def pair_head(form: Form) -> PairAdjacency:
    torch.manual_seed(0)
    return PairAdjacency(6, form, CUTOFF, rank=4)


@pytest.mark.parametrize("form", FORMS)
def test_pair_loss_is_the_bilinear_formula_pair_by_pair(form: Form) -> None:
    batch = prototype_corpus().batch(np.array([4, 1, 3]))
    head = pair_head(form)
    decoder = head.decoder
    latent = torch.randn(len(batch.z), 6, generator=torch.Generator().manual_seed(2))
    p = decoder.project(latent).detach()
    n_channels = {"multiplicity": 6, "bond": 1, "pair-rdf": 8}[form]
    right, from_right = decoder.left, decoder.from_left
    if form == "multiplicity":
        right, from_right = decoder.right, decoder.from_right
    per_crystal = []
    for g, target in enumerate(matrices(form, batch)):
        start, n = int(batch.site_start[g]), len(target)
        losses, weights = [], []
        for i, j in itertools.product(range(n), repeat=2):
            a, b = p[start + i], p[start + j]
            if i == j:
                guess = decoder.itself(a)
            else:
                guess = decoder.from_left(a) + from_right(b)
                for k in range(n_channels):
                    part = slice(4 * k, 4 * k + 4)
                    terms = decoder.left(a)[part] * decoder.scale[k] * right(b)[part]
                    guess[k] = guess[k] + terms.sum() / 2
            guess = guess.detach().double().numpy()
            weights.append(1.0)
            if form == "multiplicity":
                weights[-1] = 0.1 if target[i, j] == 0 else 1.0
                losses.append(math.log(np.exp(guess).sum()) - guess[target[i, j]])
            elif form == "bond":
                share = 1 / (1 + math.exp(-guess[0]))
                losses.append(-math.log(share if target[i, j] else 1 - share))
            else:
                gap = np.abs(guess - target[i, j])
                losses.append(np.mean(np.where(gap < 1, gap**2 / 2, gap - 0.5)))
        per_crystal.append(np.average(losses, weights=weights))
    loss, _ = head(encoded(batch, latent), batch)
    assert float(loss.detach()) == pytest.approx(np.mean(per_crystal), rel=1e-5)


@pytest.mark.parametrize("form", FORMS)
def test_pair_loss_does_not_depend_on_the_order_of_sites_or_crystals(form: Form) -> None:
    corpus, head = quartz_twice_and_salt(), pair_head(form)
    found = []
    for members in ([0, 2], [1, 2], [2, 0]):
        batch = corpus.batch(np.array(members))
        loss, logged = head(encoded(batch, element_latents(batch)), batch)
        found.append([float(loss.detach()), float(logged["adjacency_skill"])])
    np.testing.assert_allclose(found, np.tile(found[0], (3, 1)), rtol=1e-5)


@pytest.mark.parametrize("form", FORMS)
def test_the_best_constant_prediction_has_no_skill_and_others_less(form: Form) -> None:
    batch = make_corpus([crystals()["TiO2 rutile"]]).batch(np.array([0]))
    target = pair_targets(form, batch, CUTOFF)
    if form == "bond":
        best = torch.logit(target.mean()).reshape(1)
    elif form == "multiplicity":
        count = torch.bincount(target, minlength=6) * torch.tensor([0.1, 1, 1, 1, 1, 1])
        best = count.clamp(min=1e-12).log()
    else:
        best = target.mean(0)  # no residual is larger than 1
    head = pair_head(form)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.zero_()
        for bias, share in ((head.decoder.from_left.bias, 1.0), (head.decoder.itself.bias, 1.0)):
            # Between two sites a symmetric decoder adds its bias twice.
            twice = bias is head.decoder.from_left.bias and form != "multiplicity"
            bias.copy_(best * share / (2 if twice else 1))
        view = encoded(batch, element_latents(batch))
        assert float(head(view, batch)[1]["adjacency_skill"]) == pytest.approx(0, abs=1e-4)
        head.decoder.itself.bias.add_(torch.arange(len(best)) + 0.5)
        assert float(head(view, batch)[1]["adjacency_skill"]) < -1e-3


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("mixed", [False, True], ids=["fp32", "bf16"])
def test_pair_loss_sends_gradients_to_every_site(form: Form, mixed: bool) -> None:
    corpus, head = prototype_corpus(), pair_head(form)
    batch = corpus.batch(np.arange(6))
    latent = torch.randn(len(batch.z), 6, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
        loss, logged = head(encoded(batch, latent), batch)
    loss.backward()
    assert loss.dtype == torch.float32
    assert latent.grad is not None
    assert (latent.grad.abs().sum(1) > 0).all()
    assert all(torch.isfinite(p.grad).all() for p in (latent, *head.parameters()))
    assert not logged["adjacency_skill"].requires_grad


# -- the floor -----------------------------------------------------------------------------------


def entropy(*counts: float) -> float:
    total = sum(counts)
    return -sum(c * math.log(c / total) for c in counts if c)


def test_the_floor_of_rock_salt_is_the_entropy_within_its_pairs_of_orbits() -> None:
    salt = crystals()["NaCl"]
    corpus = make_corpus([salt.get_primitive_structure(), salt])
    # One Na, one Cl and no self-image bonds: two of four pairs are joined, and orbits tell which.
    primitive = pairwise_floor("bond", corpus, np.array([0]))
    assert primitive == pytest.approx({"floor": 0, "marginal": math.log(2), "skill": 1}, abs=1e-6)
    # 24 of the 32 Na-Cl pairs, and of 64 in all. Which 24 nothing tells.
    floor, marginal = entropy(24, 8) / 64, entropy(24, 40) / 64
    found = pairwise_floor("bond", corpus, np.array([1]))
    expected = {"floor": floor, "marginal": marginal, "skill": 1 - floor / marginal}
    assert found == pytest.approx(expected, abs=1e-6)
    both = pairwise_floor("bond", corpus, np.array([0, 1]))
    assert both["floor"] == pytest.approx(floor / 2, abs=1e-6)

    # Multiplicity: 24 Na-Cl pairs of two, 8 of none; 24 Na-Na and Cl-Cl of four, 8 sites of none.
    found = pairwise_floor("multiplicity", corpus, np.array([1]))
    weight = 24 + 24 + 0.1 * 16
    assert found["floor"] == pytest.approx(entropy(24, 0.8) / weight, abs=1e-6)
    assert found["marginal"] == pytest.approx(entropy(24, 24, 1.6) / weight, abs=1e-6)
    assert pairwise_floor("multiplicity", corpus, np.array([0]))["floor"] < 1e-6

    assert pairwise_floor("pair-rdf", corpus, np.array([0]))["floor"] < 1e-9
    assert pairwise_floor("pair-rdf", corpus, np.array([1]))["floor"] > 5e-4


@pytest.mark.parametrize("form", FORMS)
def test_embeddings_that_respect_the_symmetry_reach_the_floor_and_no_less(form: Form) -> None:
    # In both, all sites of one element are equivalent.
    corpus = make_corpus([crystals()["NaCl"], crystals()["TiO2 rutile"]])
    batch = corpus.batch(np.array([0, 1]))
    floor = pairwise_floor(form, corpus, np.array([0, 1]))["floor"]
    lowest, last = train(form, batch, element_latents(batch, 12))
    assert lowest > floor - 1e-6
    assert last < floor * 1.03 + 1e-4
    # Sites told apart have more to say.
    apart = torch.randn(len(batch.z), 12, generator=torch.Generator().manual_seed(0))
    assert train(form, batch, apart)[1] < 0.8 * floor


def train(form: Form, batch: CleanBatch, latent: Tensor, steps: int = 200) -> tuple[float, float]:
    """Lowest and last loss of a decoder of fixed latents."""
    torch.manual_seed(0)
    head, view = PairAdjacency(12, form, CUTOFF), encoded(batch, latent)
    optimizer = torch.optim.Adam(head.parameters())
    losses = []
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 0.02 * (1 - step / steps)
        loss, _ = head(view, batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return min(losses), losses[-1]


def test_the_best_constants_are_those_of_a_numerical_minimisation() -> None:
    generator = torch.Generator().manual_seed(0)
    group = torch.randint(4, (40,), generator=generator)
    target = 3 * torch.rand(40, 8, generator=generator).square()
    weight = torch.ones(40)
    found = constant_losses("pair-rdf", target, weight, group)
    for g in range(4):
        total = 0.0
        for channel in target[group == g].T.double().numpy():

            def huber(c: float, t: NDArray[np.float64] = channel) -> float:
                gap = np.abs(t - c)
                return float(np.mean(np.where(gap < 1, gap**2 / 2, gap - 0.5)))

            total += minimize_scalar(huber, bounds=(0, 3), method="bounded").fun / 8
        assert float(found[group == g].mean()) == pytest.approx(total, rel=2e-3)

    classes = torch.randint(6, (40,), generator=generator)
    weight = pair_weights("multiplicity", classes)
    found = constant_losses("multiplicity", classes, weight, group)
    for g in range(4):
        counts = torch.bincount(classes[group == g], minlength=6).double().numpy()
        counts[0] *= 0.1
        expected = entropy(*counts) / counts.sum()
        of_group = weight[group == g]
        mean = float((found[group == g] * of_group).sum() / of_group.sum())
        assert mean == pytest.approx(expected, rel=1e-5)


# -- site to species -----------------------------------------------------------------------------


def adjacency_head() -> SpeciesAdjacency:
    torch.manual_seed(0)
    return SpeciesAdjacency(6, rank=4)


def species_loss(head: SpeciesAdjacency, batch: CleanBatch, latent: Tensor | None = None) -> Tensor:
    latent = element_latents(batch) if latent is None else latent
    return head(encoded(batch, latent), batch)[0].detach()


def test_species_loss_is_the_bilinear_formula_site_by_site() -> None:
    batch = prototype_corpus().batch(np.array([4, 1, 3]))
    head = adjacency_head()
    latent = torch.randn(len(batch.z), 6, generator=torch.Generator().manual_seed(2))
    p = head.project(latent).detach()
    per_crystal = []
    rows = iter(batch.pair_rdf)
    for g in range(batch.n_crystals):
        sites = range(int(batch.site_start[g]), int(batch.site_start[g + 1]))
        elements = sorted({int(batch.z[i]) for i in sites})
        errors = []
        for i in sites:
            for element in elements:
                mean = torch.stack([p[j] for j in sites if batch.z[j] == element]).mean(0)
                left = head.left(p[i]).view(8, 4)
                right = head.right(mean).view(8, 4)
                guess = (left * right).sum(1) / 2.0 + head.from_site(p[i]) + head.from_species(mean)
                gap = (guess - next(rows)).abs()
                errors.append(torch.where(gap < 1, 0.5 * gap**2, gap - 0.5).mean())
        per_crystal.append(torch.stack(errors).mean().detach())
    torch.testing.assert_close(species_loss(head, batch, latent), torch.stack(per_crystal).mean())


def test_species_loss_is_the_same_for_primitive_and_conventional_cells() -> None:
    salt, spinel = crystals()["NaCl"], crystals()["MgAl2O4 spinel"]
    cells = [salt, salt.get_primitive_structure(), spinel, spinel.get_primitive_structure()]
    corpus, head = make_corpus(cells), adjacency_head()
    losses = [float(species_loss(head, corpus.batch(np.array([k])))) for k in range(4)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert losses[2] == pytest.approx(losses[3], rel=1e-5)
    assert losses[0] != pytest.approx(losses[2], rel=1e-2)
    # Every crystal counts once, however many sites its cell has.
    together = float(species_loss(head, corpus.batch(np.arange(4))))
    assert together == pytest.approx(np.mean(losses), rel=1e-5)


def test_species_loss_does_not_depend_on_the_order_of_sites_or_crystals() -> None:
    corpus, head = quartz_twice_and_salt(), adjacency_head()
    members = ([0, 2], [1, 2], [2, 0])
    found = [float(species_loss(head, corpus.batch(np.array(m)))) for m in members]
    assert found == pytest.approx([found[0]] * 3, rel=1e-5)
