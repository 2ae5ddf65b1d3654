"""CartNet with a site embedding and named predictions: what is pretrained and shipped."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from matminer_unate.network.cartnet import CartNet
from matminer_unate.network.config import EncoderConfig
from matminer_unate.network.segments import segment_pool


def two_layers(n_in: int, n_out: int) -> nn.Sequential:
    """A small head with 256 hidden channels."""
    return nn.Sequential(nn.Linear(n_in, 256), nn.SiLU(), nn.Linear(256, n_out))


class SiteEncoder(nn.Module):
    """CartNet with a latent head: one standardised embedding a site.

    The chosen layers' states are each layer-normalised, concatenated and mapped linearly to
    ``latent_dim``. The means and standard deviations are set at the end of pretraining, so that
    every component of an exported site vector has mean 0 and standard deviation 1 over the corpus.
    """

    site_mean: Tensor
    site_std: Tensor
    column_mean: Tensor
    column_std: Tensor

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = CartNet(config)
        self.layer_norms = nn.ModuleList(nn.LayerNorm(config.width) for _ in config.latent_layers)
        self.latent = nn.Linear(config.width * len(config.latent_layers), config.latent_dim)
        if config.predicted:
            self.predict = two_layers(config.latent_dim, len(config.predicted))
        if config.crystal_predicted:
            self.predict_crystal = two_layers(3 * config.latent_dim, len(config.crystal_predicted))
        self.register_buffer("site_mean", torch.zeros(config.latent_dim))
        self.register_buffer("site_std", torch.ones(config.latent_dim))
        self.register_buffer("column_mean", torch.zeros(config.n_columns))
        self.register_buffer("column_std", torch.ones(config.n_columns))

    def forward(self, data: Any) -> Tensor:
        """Standardised site embeddings, (n_sites, latent_dim)."""
        return (self.raw_latent(self.backbone(data)) - self.site_mean) / self.site_std

    def columns(self, data: Any, crystal: Tensor, n_crystals: int) -> tuple[Tensor, Tensor]:
        """Standardised site vectors to be pooled into columns, and columns of whole crystals.

        Parameters
        ----------
        data
            As for :meth:`CartNet.forward`.
        crystal : (n_sites,) int64
            Crystal of each site.
        n_crystals : int

        Returns
        -------
        sites : (n_sites, n_columns)
        crystals : (n_crystals, len(crystal_predicted))
        """
        states = self.backbone(data)
        sites = (self.raw_columns(states) - self.column_mean) / self.column_std
        if not self.config.crystal_predicted:
            return sites, sites.new_zeros(n_crystals, 0)
        shares = getattr(data, "occupancy", None)
        return sites, self.crystal_quantities(self.raw_latent(states), crystal, n_crystals, shares)

    def crystal_quantities(
        self, latent: Tensor, crystal: Tensor, n_crystals: int, shares: Tensor | None = None
    ) -> Tensor:
        """Predictions for crystals from the raw embeddings of their sites, (n_crystals, n).

        ``shares`` (n_sites,) are what sites count in the mean.
        """
        given = latent, crystal, n_crystals
        pooled = [segment_pool(*given, how, shares) for how in ("mean", "min", "max")]
        found: Tensor = self.predict_crystal(torch.cat(pooled, dim=1))
        return found

    def raw_latent(self, states: list[Tensor]) -> Tensor:
        """Site embeddings before standardisation, from the states of the backbone."""
        layers = zip(self.layer_norms, self.config.latent_layers, strict=True)
        return self.latent(torch.cat([norm(states[i]) for norm, i in layers], dim=1))

    def raw_columns(self, states: list[Tensor]) -> Tensor:
        """Site vectors for columns before standardisation, from the states of the backbone."""
        parts = [states[i] for i in self.config.column_states]
        if self.config.predicted:
            parts.append(self.predict(self.raw_latent(states)))
        return torch.cat(parts, dim=1) if parts else self.raw_latent(states)
