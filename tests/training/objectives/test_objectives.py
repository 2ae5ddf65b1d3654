"""What every loss on one view has to do."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from encoded_batches import noisy_view
from small_corpora import CUTOFF, prototype_corpus
from torch import nn

from corpora.batches import Encoded, mean_pool
from objectives.edge_denoising import EdgeDenoising
from objectives.element_properties import ElementPropertyReconstruction
from objectives.node import NodeReconstruction
from objectives.space_group import SpaceGroup

HEADS: dict[str, Callable[[], nn.Module]] = {
    "node": lambda: NodeReconstruction(6, torch.from_numpy(prototype_corpus().element_counts)),
    "properties": lambda: ElementPropertyReconstruction(6, torch.randn(119, 3)),
    "edges": lambda: EdgeDenoising(6, CUTOFF),
    "space group": lambda: SpaceGroup(6),
}


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("mixed", [False, True], ids=["fp32", "bf16"])
def test_gradients_reach_the_latents(name: str, mixed: bool) -> None:
    torch.manual_seed(0)
    batch, head = prototype_corpus().batch(np.arange(6)), HEADS[name]()
    latent = torch.randn(len(batch.z), 6, requires_grad=True)
    view = Encoded(
        noisy_view(batch), latent, latent[:, :0], mean_pool(latent, batch), latent[:, :0]
    )
    with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
        loss, logged = head(view, batch)
    assert loss.dtype == torch.float32
    loss.backward()
    assert latent.grad is not None
    assert latent.grad.abs().max() > 0
    assert all(torch.isfinite(p.grad).all() for p in (latent, *head.parameters()))
    assert not any(value.requires_grad for value in logged.values())
