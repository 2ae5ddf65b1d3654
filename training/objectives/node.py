"""Node reconstruction: which element was at a masked site?"""

from __future__ import annotations

from torch import Tensor, nn

from corpora.batches import CleanBatch, Encoded


class NodeReconstruction(nn.Module):
    """Cross-entropy over elements at the selected sites, and a little at the others.

    The weight of an element is its frequency to the power −1/2, clipped to [0.3, 3], so that oxygen
    does not drown the rest. The unselected sites (weight 0.1) keep the species readable.

    Parameters
    ----------
    latent_dim : int
    element_counts : (119,) Tensor
        Sites of each element in the corpus.

    References
    ----------
    Masked atoms: Hu et al., "Strategies for pre-training graph neural networks", arXiv:1905.12265.
    """

    weights: Tensor

    def __init__(self, latent_dim: int, element_counts: Tensor) -> None:
        super().__init__()
        self.decoder = nn.Sequential(
            nn.Linear(latent_dim, latent_dim), nn.SiLU(), nn.Linear(latent_dim, len(element_counts))
        )
        seen = element_counts > 0
        frequency = element_counts.double() / element_counts.sum() * seen.sum()
        weights = frequency.clamp(min=1e-9).rsqrt().clamp(0.3, 3.0)
        self.register_buffer("weights", (weights * seen).float(), persistent=False)

    def forward(self, encoded: Encoded, batch: CleanBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss, and the accuracy at the selected sites that do not show their species."""
        z, selected = batch.z, encoded.view.selected
        logits = self.decoder(encoded.latent).float()
        each = nn.functional.cross_entropy(logits, z, weight=self.weights, reduction="none")
        weight = self.weights[z]

        def average(where: Tensor) -> Tensor:
            return (each * where).sum() / (weight * where).sum().clamp(min=1e-6)

        hidden = selected & (encoded.view.z != z)
        correct = (logits.argmax(1) == z) & hidden
        accuracy = correct.sum() / hidden.sum().clamp(min=1)
        loss = average(selected) + 0.1 * average(~selected)
        return loss, {"masked_accuracy": accuracy}
