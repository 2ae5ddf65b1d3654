"""Element grounding: what kind of element was at a masked site?"""

from __future__ import annotations

from torch import Tensor, nn

from corpora.batches import CleanBatch, Encoded


class ElementPropertyReconstruction(nn.Module):
    """Mean squared error of the element properties of the selected sites.

    Cross-entropy calls every wrong element equally wrong; this one says how wrong.

    Parameters
    ----------
    latent_dim : int
    properties : (119, n_properties) Tensor
        Standardised over the elements.
    """

    properties: Tensor

    def __init__(self, latent_dim: int, properties: Tensor) -> None:
        super().__init__()
        self.register_buffer("properties", properties, persistent=False)
        self.decoder = nn.Sequential(
            nn.Linear(latent_dim, latent_dim), nn.SiLU(), nn.Linear(latent_dim, properties.shape[1])
        )

    def forward(self, encoded: Encoded, batch: CleanBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss; nothing to log."""
        selected = encoded.view.selected
        error = (self.decoder(encoded.latent).float() - self.properties[batch.z]).square().mean(1)
        return (error * selected).sum() / selected.sum().clamp(min=1), {}
