"""Edge denoising: how long was this edge before the atoms moved?"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from corpora.batches import CleanBatch, Encoded
from matminer_unate.network.edge_features import RadialBasis, envelope


class EdgeDenoising(nn.Module):
    """Huber loss of (d_clean − d_noisy)/σ from both sites' latents and the noisy length.

    Lengths are invariant where displacements are not. An edge and its reverse get the same
    prediction, from [p_i + p_j, |p_i − p_j|, rbf(d_noisy)] with p a projection of the latent.
    Rewired edges, and those longer than the cutoff, are left out.

    Parameters
    ----------
    latent_dim : int
    cutoff : float
        Å.
    sigma : float
        Å. Unit of the target.

    References
    ----------
    Denoising of structures: Zaidi et al., "Pre-training via denoising for molecular property
    prediction", arXiv:2206.00133.
    """

    def __init__(self, latent_dim: int, cutoff: float, sigma: float = 0.1) -> None:
        super().__init__()
        if sigma <= 0:
            raise ValueError(f"sigma is a positive length in Å, got {sigma}")
        self.cutoff, self.sigma = cutoff, sigma
        self.radial = RadialBasis(32, cutoff)
        self.project = nn.Linear(latent_dim, 64)
        self.decoder = nn.Sequential(nn.Linear(2 * 64 + 32, 64), nn.SiLU(), nn.Linear(64, 1))

    def forward(self, encoded: Encoded, batch: CleanBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss averaged over edges; and its skill, the share of the loss of no answer it saves."""
        view = encoded.view
        source, target = view.edge_index
        length = view.edge_vector.norm(dim=1)
        # Of an edge between two sites and its reverse, one is enough.
        chosen = ((source <= target) & ~view.rewired & (length < self.cutoff)).nonzero().squeeze(1)
        i, j, noisy = source[chosen], target[chosen], length[chosen]
        clean = batch.edge_vector[view.edge[chosen]].norm(dim=1)
        p = self.project(encoded.latent).float()
        radial = self.radial(noisy, envelope(noisy, self.cutoff))
        features = torch.cat([p[i] + p[j], (p[i] - p[j]).abs(), radial], dim=1)
        found = self.decoder(features).squeeze(1).float()
        true = (clean - noisy) / self.sigma
        n_edges = max(len(chosen), 1)
        loss = nn.functional.huber_loss(found, true, reduction="sum") / n_edges
        with torch.no_grad():
            silent = nn.functional.huber_loss(torch.zeros_like(true), true, reduction="sum")
            skill = 1 - loss / (silent / n_edges).clamp(min=1e-6)
        return loss, {"edge_skill": skill}
