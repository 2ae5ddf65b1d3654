"""Pairwise adjacency losses against loops over pairs."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from encoded_batches import element_latents, encoded
from numpy.typing import NDArray
from pair_cases import FORMS, entropy, matrices, quartz_twice_and_salt
from real_crystals import crystals
from scipy.optimize import minimize_scalar
from small_corpora import CUTOFF, make_corpus, prototype_corpus

from objectives.pair_adjacency import PairAdjacency, constant_losses, pair_weights
from objectives.pair_targets import Form, pair_targets


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
