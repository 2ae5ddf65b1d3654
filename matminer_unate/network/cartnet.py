"""Batched periodic graphs → one vector a site: the CartNet encoder.

The network is the one of Solé et al., "A Cartesian encoding graph neural network for crystal
structures property prediction" (arXiv:2501.18369), rebuilt from its equations with two changes that
leave the result the same. The first linear map of each edge network acts on a concatenation
[x_i; x_j; e_ij]; here it is split into a part per site and a part per edge, so that the site part
is computed once a site instead of once an edge. The edge update of the last layer, which nothing
reads, is left out. In training the edges go through :mod:`matminer_unate.network.edge_update`.

Three inputs describe an edge's direction:

``cartesian``
    The unit vector in the frame of the file, as published. The output depends on how the crystal is
    oriented.
``invariant``
    Contractions of the unit vector with the first and second moments of both sites' neighbourhoods.
    They carry angles and are exactly invariant to rotation and reflection.
``distance``
    Nothing but the length.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from matminer_unate.network.config import EncoderConfig
from matminer_unate.network.edge_features import (
    MomentFeatures,
    RadialBasis,
    envelope,
    real_harmonics,
)
from matminer_unate.network.edge_update import EdgeEmbedding, EdgeUpdate, edge_tiles, linear

N_SPECIES = 119
"""Embedding rows: atomic numbers 1 to 118, and row 0 for a masked or unknown species."""


class CartLayer(nn.Module):
    """One CartNet layer with its first linear maps split by site and edge.

    For q_ij = [x_i; x_j; e_ij]:

    * s_ij = f_c(d_ij) · sigmoid(BN(MLP_gate(q_ij)))
    * x_i ← x_i + SiLU(BN(Σ_j s_ij · MLP_message(q_ij)))
    * e_ij ← e_ij + s_ij
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        # Columns of both maps: [gate from i, message from i, gate from j, message from j].
        self.from_site = nn.Linear(width, 4 * width, bias=False)
        self.from_edge = nn.Linear(width, 2 * width)
        self.gate = nn.Linear(width, width)
        self.message = nn.Linear(width, width)
        self.gate_norm = nn.BatchNorm1d(width)
        self.site_norm = nn.BatchNorm1d(width)
        # The split maps together are one linear of 3·width inputs, and start like one.
        bound = 1.0 / math.sqrt(3 * width)
        for parameter in (self.from_site.weight, self.from_edge.weight, self.from_edge.bias):
            nn.init.uniform_(parameter, -bound, bound)

    def forward(
        self,
        sites: Tensor,
        edges: Tensor,
        edge_index: Tensor,
        weight: Tensor,
        update_edges: bool,
        shares: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Update sites (n_sites, d) and edges (n_edges, d); weight is f_c, (n_edges, 1).

        ``shares``, (n_edges, 1), are the occupancies of the sources, which multiply their messages;
        of inference only.
        """
        at_sites = self.from_site(sites).view(-1, 2 * self.width)
        rows = torch.stack([2 * edge_index[1], 2 * edge_index[0] + 1], dim=1)
        if not torch.is_grad_enabled() and not self.training:
            total, edges = self._infer(at_sites, edges, rows, weight, update_edges, shares)
        elif self.training and not torch.is_autocast_enabled(edges.device.type):
            total, edges = self._train(at_sites, edges, rows, weight, update_edges)
        else:
            hidden = self.from_edge(edges) + at_sites[rows].sum(1)
            gate, message = nn.functional.silu(hidden).chunk(2, dim=1)
            share = torch.sigmoid(self.gate_norm(self.gate(gate))) * weight
            terms = (share * self.message(message)).to(weight.dtype)  # bfloat16 under autocast
            total = weight.new_zeros(sites.shape).index_add(0, edge_index[1], terms)
            edges = edges + share if update_edges else edges
        return sites + nn.functional.silu(self.site_norm(total)), edges

    def _train(
        self, at_sites: Tensor, edges: Tensor, rows: Tensor, weight: Tensor, update_edges: bool
    ) -> tuple[Tensor, Tensor]:
        """Work through the edges with the gradient written out, see :class:`EdgeUpdate`."""
        norm, n_edges = self.gate_norm, len(edges)
        running_mean, running_var, n_batches = norm.buffers()
        if n_edges < 2:
            raise ValueError("batch normalisation needs at least two edges a batch in training")
        total, updated, mean, variance = EdgeUpdate.apply(
            at_sites, edges, weight, rows, self.from_edge.weight, self.from_edge.bias,
            self.gate.weight, self.gate.bias, self.message.weight, self.message.bias,
            norm.weight, norm.bias, norm.eps, update_edges,
        )  # fmt: skip
        n_batches += 1
        # As in torch: without a momentum, a cumulative average.
        share = 1.0 / float(n_batches) if norm.momentum is None else norm.momentum
        running_mean.lerp_(mean, share)
        running_var.lerp_(variance * (n_edges / (n_edges - 1)), share)
        return total, edges if updated is None else updated

    def _infer(
        self,
        at_sites: Tensor,
        edges: Tensor,
        rows: Tensor,
        weight: Tensor,
        update_edges: bool,
        shares: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """Work through tiles of edges, which are independent here, and overwrite the edges."""
        total = edges.new_zeros(len(at_sites) // 2, self.width)
        for part in edge_tiles(edges):
            from_sites = nn.functional.embedding_bag(rows[part], at_sites, mode="sum")
            hidden = linear(edges[part], self.from_edge.weight, self.from_edge.bias, from_sites)
            gate, message = (nn.functional.silu(half) for half in hidden.chunk(2, dim=1))
            gate = self.gate_norm(linear(gate, self.gate.weight, self.gate.bias))
            share = gate.sigmoid_().mul_(weight[part])
            if update_edges:
                edges[part] += share
            message = linear(message, self.message.weight, self.message.bias)
            message = message.mul_(share)
            if shares is not None:
                message = message.mul_(shares[part])
            total.index_add_(0, rows[part, 0] // 2, message.to(total.dtype))
        return total, edges


class CartNet(nn.Module):
    """The backbone: atomic numbers and edge vectors in, one state a site out.

    Parameters
    ----------
    config : EncoderConfig
        The latent fields are not read here.
    """

    properties: Tensor

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.species = nn.Embedding(N_SPECIES, 2 * width)
        nn.init.xavier_uniform_(self.species.weight)
        self.species_bias = nn.Parameter(torch.zeros(2 * width))
        if config.n_properties:
            # One row a species, standardised over the elements; row 0 (masked) stays zero.
            self.register_buffer("properties", torch.zeros(N_SPECIES, config.n_properties))
            self.from_properties = nn.Linear(config.n_properties, 2 * width, bias=False)
        self.site_in = nn.Linear(2 * width, width)
        self.radial = RadialBasis(config.n_rbf, config.cutoff)
        n_direction = 0
        if config.geometry == "invariant":
            self.moments = MomentFeatures(config.n_moments, config.cutoff)
            n_direction = self.moments.n_features
        elif config.geometry == "cartesian":
            n_direction = 3
        self.edge_in = nn.Sequential(
            nn.Linear(config.n_rbf + n_direction, 2 * width),
            nn.SiLU(),
            nn.Linear(2 * width, width),
            nn.SiLU(),
        )
        self.layers = nn.ModuleList(CartLayer(width) for _ in range(config.n_layers))

    def forward(self, data: Any, sites: Tensor | None = None) -> list[Tensor]:
        """Run the layers on one graph or a batch of graphs.

        Parameters
        ----------
        data : torch_geometric.data.Data or Batch
            ``z`` (n_sites,), ``edge_index`` (2, n_edges; source, target), ``edge_vector``
            (n_edges, 3; Å). No edge may be longer than the cutoff. In inference, ``occupancy``
            (n_sites,) may be there.
        sites : (n_sites, width) Tensor, optional
            States to start from instead of the species embedding.

        Returns
        -------
        list of (n_sites, width)
            The species embedding and the output of every layer, ``n_layers + 1`` in all.
        """
        states = [self.embed_species(data.z) if sites is None else sites]
        occupancy, shares = getattr(data, "occupancy", None), None
        if occupancy is not None:
            shares = occupancy[data.edge_index[0]].unsqueeze(1)
        edges, weight = self.embed_edges(data.edge_vector, data.edge_index, len(data.z), shares)
        weight = weight.unsqueeze(1)
        for index, layer in enumerate(self.layers):
            last = index == len(self.layers) - 1
            sites, edges = layer(states[-1], edges, data.edge_index, weight, not last, shares)
            states.append(sites)
        return states

    def embed_species(self, z: Tensor) -> Tensor:
        """Site states before any neighbour is seen, (n_sites,) int64 → (n_sites, width)."""
        hidden = self.species(z) + self.species_bias
        if self.config.n_properties:
            hidden = hidden + self.from_properties(self.properties[z])
        return nn.functional.silu(self.site_in(nn.functional.silu(hidden)))

    def embed_edges(
        self, vector: Tensor, edge_index: Tensor, n_sites: int, shares: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Initial edge states (n_edges, width) and envelopes (n_edges,).

        ``shares``, (n_edges, 1), are the occupancies of the sources.
        """
        distance = vector.norm(dim=1)
        weight = envelope(distance, self.config.cutoff)
        unit = vector / distance.clamp(min=1e-6).unsqueeze(1)
        tiles = edge_tiles(vector)
        invariant = self.config.geometry == "invariant"
        if invariant:
            moments = vector.new_zeros(n_sites, 8 * self.config.n_moments)
            harmonics = [real_harmonics(unit[part]) for part in tiles]
            for part, of_edges in zip(tiles, harmonics, strict=True):
                terms = self.moments.sums(distance[part], weight[part], of_edges)
                if shares is not None:
                    terms = terms * shares[part]
                moments.index_add_(0, edge_index[1, part], terms)

        def features(number: int) -> Tensor:
            part = tiles[number]
            parts = [self.radial(distance[part], weight[part])]
            if invariant:
                parts.append(self.moments(moments, harmonics[number], edge_index[:, part]))
            elif self.config.geometry == "cartesian":
                # CartNet's convention: from the imaged source to the target.
                parts.append(-unit[part])
            return torch.cat(parts, dim=1)

        if self.training or torch.is_grad_enabled():
            return self._embed(torch.cat([features(i) for i in range(len(tiles))])), weight
        states = vector.new_empty(len(vector), self.config.width)
        for i, part in enumerate(tiles):
            states[part] = self._embed(features(i))
        return states, weight

    def _embed(self, features: Tensor) -> Tensor:
        """Features of edges, not yet standardised, (n, n_rbf + n_direction) → (n, width)."""
        if self.config.geometry == "invariant":
            radial, direction = features.tensor_split([self.config.n_rbf], dim=1)
            features = torch.cat([radial, self.moments.norm(direction)], dim=1)
        w_1, b_1, w_2, b_2 = self.edge_in.parameters()
        if not torch.is_grad_enabled():
            hidden = nn.functional.silu(linear(features, w_1, b_1), inplace=True)
            return nn.functional.silu(linear(hidden, w_2, b_2), inplace=True)
        if torch.is_autocast_enabled(features.device.type):
            return self.edge_in(features)
        return EdgeEmbedding.apply(features, w_1, b_1, w_2, b_2)
