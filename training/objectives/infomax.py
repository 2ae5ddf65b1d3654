"""Deep Graph Infomax: does this site belong to this crystal?"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from corpora.batches import CleanBatch, Encoded, View


def deal_species(view: View, generator: torch.Generator) -> View:
    """The same graph with its species dealt out anew over the sites of the batch."""
    order = torch.randperm(len(view.z), generator=generator, device=generator.device)
    return replace(view, z=view.z[order])


class DeepGraphInfomax(nn.Module):
    """Discriminates true site latents from those with permuted species, given the crystal.

    With the summary s = σ(mean of the true latents of a crystal) and the discriminator
    D(z, s) = zᵀ W s, binary cross-entropy of D for the true sites and for the sites of the same
    graph whose species were dealt out anew over the batch; averaged over the sites of each crystal,
    then over crystals. Its negatives are its own, so nothing is gathered from other processes.

    Parameters
    ----------
    latent_dim : int

    References
    ----------
    Veličković et al., "Deep Graph Infomax", arXiv:1809.10341, equation 1.
    """

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.discriminator = nn.Linear(latent_dim, latent_dim, bias=False)

    def forward(
        self, first: Encoded, second: Encoded, batch: CleanBatch
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss, and the share of sites, true and false, that are told right.

        ``second`` is the encoding of the first view after :func:`deal_species`.
        """
        summary = self.discriminator(torch.sigmoid(first.pooled)).float()[batch.crystal]
        true = (first.latent.float() * summary).sum(1)
        false = (second.latent.float() * summary).sum(1)
        each = (nn.functional.softplus(-true) + nn.functional.softplus(false)) / 2
        weight = 1 / batch.site_start.diff()[batch.crystal]
        with torch.no_grad():
            right = ((true > 0).float().mean() + (false < 0).float().mean()) / 2
        return (each * weight).sum() / batch.n_crystals, {"infomax_accuracy": right}
