"""Edge denoising against loops over edges."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from encoded_batches import element_latents, encoded, noisy_view, sites, view_of
from small_corpora import CUTOFF, prototype_corpus
from torch import nn

from corpora.batches import Encoded, mean_pool
from matminer_unate.network.edge_features import RadialBasis, envelope
from objectives.edge_denoising import EdgeDenoising


def huber(gap: float) -> float:
    return gap**2 / 2 if abs(gap) < 1 else abs(gap) - 0.5


def test_edge_denoising_is_a_huber_loss_edge_by_edge() -> None:
    torch.manual_seed(0)
    batch = prototype_corpus().batch(np.array([3, 0, 7]))
    view, head = noisy_view(batch), EdgeDenoising(6, CUTOFF, sigma=0.05)
    latent = torch.randn(len(batch.z), 6)
    p = head.project(latent).detach()
    basis, losses, silent = RadialBasis(32, CUTOFF), [], []
    assert view.rewired.any()
    for k in range(len(view.edge)):
        i, j = view.edge_index[:, k].tolist()
        noisy = view.edge_vector[k].norm()
        if view.rewired[k] or i > j or noisy >= CUTOFF:
            continue
        radial = basis(noisy.reshape(1), envelope(noisy, CUTOFF).reshape(1))[0]
        features = torch.cat([p[i] + p[j], (p[i] - p[j]).abs(), radial])
        true = float(batch.edge_vector[view.edge[k]].norm() - noisy) / 0.05
        losses.append(huber(float(head.decoder(features).detach()) - true))
        silent.append(huber(true))
    encoding = Encoded(view, latent, latent[:, :0], mean_pool(latent, batch), latent[:, :0])
    loss, logged = head(encoding, batch)
    assert float(loss.detach()) == pytest.approx(np.mean(losses), rel=1e-4)
    expected = 1 - np.mean(losses) / np.mean(silent)
    assert float(logged["edge_skill"]) == pytest.approx(expected, abs=1e-4)


def test_edge_denoising_answers_an_edge_and_its_reverse_alike() -> None:
    torch.manual_seed(0)
    batch, head = prototype_corpus().batch(np.array([3, 0, 7])), EdgeDenoising(6, CUTOFF)
    view, latent = noisy_view(batch), torch.randn(len(batch.z), 6)
    between = view.edge_index[0] != view.edge_index[1]
    view = replace(view, rewired=view.rewired | ~between)  # self-images come twice: leave them out
    turned = replace(view, edge_index=view.edge_index.flip(0), edge_vector=-view.edge_vector)
    first, second = (
        head(Encoded(v, latent, latent[:, :0], mean_pool(latent, batch), latent[:, :0]), batch)[0]
        for v in (view, turned)
    )
    torch.testing.assert_close(first, second)


def test_edge_denoising_without_edges_or_noise_is_finite() -> None:
    torch.manual_seed(0)
    batch, head = sites([3, 14]), EdgeDenoising(6, CUTOFF)
    loss, logged = head(view_of(batch, torch.randn(2, 6), torch.ones(2).bool(), batch.z), batch)
    assert loss == 0.0
    assert torch.isfinite(logged["edge_skill"])
    nn.init.zeros_(head.decoder[2].weight)
    nn.init.zeros_(head.decoder[2].bias)
    batch = prototype_corpus().batch(np.arange(4))
    assert head(encoded(batch, element_latents(batch)), batch)[0] == 0.0  # nothing has moved
    with pytest.raises(ValueError, match="sigma is a positive length"):
        EdgeDenoising(6, CUTOFF, sigma=0.0)
