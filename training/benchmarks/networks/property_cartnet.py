"""CartNet as published, with other node inputs: the networks that UNATE's own experiment compares.

Solé et al., arXiv:2501.18369: the node input is the atomic number; here it can also be a given
vector a site, as UNATE's embeddings (arXiv:2605.25866), or both.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from matminer_unate.finetuning.networks import CrystalBatch, Dropout, PropertyNetwork
from matminer_unate.network.cartnet import CartNet
from matminer_unate.network.config import EncoderConfig
from matminer_unate.network.segments import segment_pool

NodeInput = Literal["species", "vectors", "both"]


class VectorInput(nn.Module):
    """Given site vectors in place of, or beside, the species embedding of a CartNet.

    Species: x = SiLU(W SiLU(e_Z + b)). Vectors: e_Z becomes V v. Both: e_Z + sigmoid(g) V v, with a
    gate g a channel that starts at 0.

    Parameters
    ----------
    n_vector : int
        Length of the site vectors.
    width : int
        Width of the network.
    beside_species : bool
    bottleneck : int
        Channels that the vectors are pressed through first; 0 for none.
    dropout : float
        Share of the channels of the vectors (or of the bottleneck) left out in training.
    """

    def __init__(
        self, n_vector: int, width: int, beside_species: bool, bottleneck: int, dropout: float
    ) -> None:
        super().__init__()
        narrow = [nn.Linear(n_vector, bottleneck)] if bottleneck else []
        self.map = nn.Sequential(
            *narrow,
            Dropout(dropout),
            nn.Linear(bottleneck or n_vector, 2 * width, bias=False),
        )
        self.gate = nn.Parameter(torch.zeros(2 * width)) if beside_species else None

    def forward(self, backbone: CartNet, batch: CrystalBatch) -> Tensor:
        """Site states before any neighbour is seen, (n_sites, width)."""
        hidden = self.map(batch.vectors)
        if self.gate is not None:
            hidden = backbone.species(batch.z) + torch.sigmoid(self.gate) * hidden
        hidden = nn.functional.silu(hidden + backbone.species_bias)
        return nn.functional.silu(backbone.site_in(hidden))


class PropertyCartNet(PropertyNetwork):
    """CartNet with its scalar head: an MLP a site, then the mean over sites.

    Parameters
    ----------
    config : EncoderConfig
        Shape of the network; the latent fields are not read.
    node_input : {"species", "vectors", "both"}
    n_vector : int
        Length of the site vectors, where they are read.
    bottleneck, dropout
        As for :class:`VectorInput`.
    """

    def __init__(
        self,
        config: EncoderConfig,
        node_input: NodeInput = "species",
        n_vector: int = 0,
        bottleneck: int = 0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.backbone = CartNet(config)
        self.vector_input: VectorInput | None = None
        if node_input != "species":
            beside = node_input == "both"
            self.vector_input = VectorInput(n_vector, config.width, beside, bottleneck, dropout)
            if not beside:
                del self.backbone.species
        self.head = ScalarHead(config.width)

    def predict(self, batch: CrystalBatch) -> Tensor:
        start = None if self.vector_input is None else self.vector_input(self.backbone, batch)
        sites = self.backbone(batch, start)[-1]
        found: Tensor = self.head(sites, batch.crystal, batch.n_crystals)
        return found


class ScalarHead(nn.Module):
    """CartNet's head for one intensive property: an MLP a site, then the mean over sites."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(width, width // 2), nn.SiLU(), nn.Linear(width // 2, 1))

    def forward(self, sites: Tensor, batch: Tensor, n_graphs: int) -> Tensor:
        """Site states (n_sites, width) and graph index (n_sites,) → (n_graphs,)."""
        return segment_pool(self.mlp(sites).squeeze(1), batch, n_graphs)
