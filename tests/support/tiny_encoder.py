"""Settings of a small encoder, for the tests."""

from __future__ import annotations

from matminer_unate.network.config import EncoderConfig

TINY = EncoderConfig(
    width=16,
    n_layers=2,
    n_rbf=8,
    n_moments=2,
    latent_dim=8,
    latent_layers=(0, 1, 2),
    column_states=(0, 1, 2),
)
