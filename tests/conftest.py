"""Shared fixtures."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_encoder import TINY

from matminer_unate.network.encoder import SiteEncoder
from matminer_unate.network.weights import save_encoder


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
