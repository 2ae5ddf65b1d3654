"""All objectives on 32 crystals."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from small_corpora import CUTOFF, prototype_corpus
from torch import nn

from corpora.batches import CleanBatch
from matminer_unate.network.config import EncoderConfig
from objectives.node import NodeReconstruction
from pretraining.config import LossWeights, PretrainConfig
from pretraining.optimisation import make_optimizer, step_generator
from pretraining.pretrainer import Pretrainer
from pretraining.targets import with_predictions
from pretraining.views import ViewMaker

OVERFIT = PretrainConfig(
    learning_rate=4e-3,
    weight_decay=0.0,
    encoder=EncoderConfig(
        cutoff=CUTOFF, width=48, n_layers=2, n_rbf=24, latent_dim=64, latent_layers=(0, 1, 2),
        column_states=(), n_properties=22,
    ),
    weights=LossWeights(
        node=1.0, adjacency=0.5, contrastive=0.1, physics=1.0, fingerprint=0.5, tight_binding=0.0,
        tight_binding_crystal=0.0,
        teacher=0.0, properties=1.0,
    ),
)  # fmt: skip


def fit(steps: int, change: Callable[[CleanBatch, int], CleanBatch]) -> dict[str, float]:
    """Train on 32 crystals with targets of a changed batch; means over the last 20 steps."""
    torch.manual_seed(0)
    corpus = prototype_corpus()
    batch = corpus.batch(np.arange(len(corpus)))
    config = with_predictions(OVERFIT, corpus)
    model = Pretrainer(config, corpus).train()
    optimizer = make_optimizer(model, config)
    views = ViewMaker(config, torch.from_numpy(corpus.element_counts))
    cpu = torch.device("cpu")
    log: list[dict[str, float]] = []
    for step in range(steps):
        made = views(batch, step_generator(cpu, 0, step))
        losses = model(change(batch, step), made, step % 50 == 0)
        optimizer.zero_grad()
        losses["total"].backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = OVERFIT.learning_rate * 0.5 * (1 + math.cos(math.pi * step / steps))
        optimizer.step()
        log.append({k: v.item() for k, v in losses.items()})
    return {name: float(np.mean([row[name] for row in log[-20:]])) for name in log[0]}


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_thirty_two_crystals_can_be_learned_by_heart() -> None:
    found = fit(350, lambda batch, step: batch)
    assert found["node"] < 0.1
    assert found["masked_accuracy"] > 0.95
    assert found["retrieval_accuracy"] > 0.98
    for name in ("adjacency", "physics", "fingerprint", "properties"):
        assert found[name] < 0.15


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_shuffled_species_cannot_be_learned() -> None:
    """Without this control a low loss could come from a leak of the answer into the view."""

    def shuffle(batch: CleanBatch, step: int) -> CleanBatch:
        order = torch.randperm(len(batch.z), generator=torch.Generator().manual_seed(step))
        return replace(batch, z=batch.z[order])

    found = fit(150, shuffle)
    # The best there is: the weighted frequencies of the elements, whatever the site.
    counts = torch.from_numpy(prototype_corpus().element_counts)
    weights = NodeReconstruction(4, counts).weights * counts
    share = weights[weights > 0] / weights.sum()
    floor = -float((share * share.log()).sum()) * 1.1
    majority = float(counts.max() / counts.sum())
    assert found["node"] > 0.9 * floor
    assert found["masked_accuracy"] < majority + 0.05
