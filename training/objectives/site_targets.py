"""Site-target regression: describe every site's clean surroundings from the corrupted view."""

from __future__ import annotations

from torch import Tensor, nn


class SiteTargetRegression(nn.Module):
    """Mean squared error of an MLP from site latents to standardised per-site targets.

    Targets come from the clean crystal with its true species, so under a mask this is denoising of
    the neighbour chemistry too.

    Parameters
    ----------
    latent_dim : int
    n_targets : int

    References
    ----------
    Cheap descriptors as pretext targets: arXiv:2503.01227.
    """

    def __init__(self, latent_dim: int, n_targets: int) -> None:
        super().__init__()
        self.decoder = nn.Sequential(
            nn.Linear(latent_dim, latent_dim), nn.SiLU(), nn.Linear(latent_dim, n_targets)
        )

    def forward(self, latent: Tensor, targets: Tensor) -> Tensor:
        """Latents (n_sites, latent_dim) and targets (n_sites, n_targets) → loss."""
        return nn.functional.mse_loss(self.decoder(latent), targets)
