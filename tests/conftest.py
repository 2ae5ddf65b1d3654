"""Shared fixtures."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from matminer_unate.cartnet import EncoderConfig, SiteEncoder
from matminer_unate.checkpoint import save_encoder

TINY = EncoderConfig(
    width=16,
    n_layers=2,
    n_rbf=8,
    n_moments=2,
    latent_dim=8,
    latent_layers=(0, 1, 2),
    column_states=(0, 1, 2),
)


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weights folder of a small untrained encoder that knows the elements up to bismuth."""
    folder = tmp_path_factory.mktemp("tiny_weights")
    torch.manual_seed(0)
    counts = dict.fromkeys(range(1, 84), 100)
    save_encoder(folder, "tiny", SiteEncoder(TINY).eval(), counts, {}, "card {sha256}")
    return folder


@pytest.fixture(scope="session")
def other_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Like ``tiny_weights``, with other random numbers and another name."""
    folder = tmp_path_factory.mktemp("other_weights")
    torch.manual_seed(1)
    counts = dict.fromkeys(range(1, 84), 100)
    save_encoder(folder, "other", SiteEncoder(TINY).eval(), counts, {}, "card {sha256}")
    return folder
