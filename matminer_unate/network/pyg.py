"""The pretrained encoder as a layer of a network of your own."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import torch
from torch import Tensor, nn

from matminer_unate.errors import InputError
from matminer_unate.network.weights import DEFAULT_WEIGHTS, load_encoder


class UnateEncoderLayer(nn.Module):
    """Crystals in, an embedding of each site out: the ``x`` of ``to_data``, with gradients.

    Parameters
    ----------
    weights : str or path
        Name of weights that come with the package, or a weights folder.
    frozen : bool
        Keep the weights as they are, also in ``train()``. Otherwise they learn on with the rest of
        the network; a learning rate of a fifth of that of new layers is a good start.

    Attributes
    ----------
    encoder : SiteEncoder
    cutoff : float, Å
        Of the graphs that it reads.
    out_channels : int
        Length of a site embedding.
    """

    known: Tensor

    def __init__(self, weights: str | Path = DEFAULT_WEIGHTS, frozen: bool = False) -> None:
        super().__init__()
        self.encoder, config = load_encoder(weights)
        self.register_buffer("known", torch.from_numpy(config.is_known))
        self.cutoff, self.out_channels = config.cutoff, config.latent_dim
        self.frozen = frozen
        self.encoder.requires_grad_(not frozen)

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        self.encoder.train(mode and not self.frozen)
        return self

    def forward(self, data: Any) -> Tensor:
        """Embed the sites of one graph or of a batch.

        Parameters
        ----------
        data : torch_geometric.data.Data or Batch
            Of ``to_data`` or ``structure_to_data``. Species that the weights do not know are
            masked.

        Returns
        -------
        (n_sites, out_channels) Tensor
            Of mean 0 and deviation 1 over the sites that the weights were made with.

        Raises
        ------
        InputError
            The graphs are of another cutoff.
        """
        if bool((data.cutoff != self.cutoff).any()):
            raise InputError(
                f"the graphs have a cutoff of {float(data.cutoff.max()):g} Å, the weights read "
                f"{self.cutoff:g} Å; make them by to_data(structures, weights)"
            )
        known = data.z * self.known[data.z]
        sites: Tensor = self.encoder(
            SimpleNamespace(z=known, edge_index=data.edge_index, edge_vector=data.edge_vector)
        )
        return sites
