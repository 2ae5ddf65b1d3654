"""Batched periodic graphs → one vector a site: the CartNet encoder.

The network is the one of Solé et al., "A Cartesian encoding graph neural network for crystal
structures property prediction" (arXiv:2501.18369), rebuilt from its equations with two changes that
leave the result the same. The first linear map of each edge network acts on a concatenation
[x_i; x_j; e_ij]; here it is split into a part per site and a part per edge, so that the site part
is computed once a site instead of once an edge. The edge update of the last layer, which nothing
reads, is left out. In training the edges go through :mod:`matminer_unate.edge_update`.

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
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from matminer_unate.edge_features import MomentFeatures, RadialBasis, envelope, real_harmonics
from matminer_unate.edge_update import EdgeEmbedding, EdgeUpdate, edge_tiles, linear

N_SPECIES = 119
"""Embedding rows: atomic numbers 1 to 118, and row 0 for a masked or unknown species."""

Geometry = Literal["invariant", "cartesian", "distance"]


@dataclass(frozen=True)
class EncoderConfig:
    """Everything that shapes the encoder; saved beside its weights.

    Attributes
    ----------
    cutoff : float, Å
        The one radius of the graph, the radial basis, the envelope and the moments.
    width : int
        Channels of a site or edge state (d).
    n_layers : int
        Layers of message passing; each sees one cutoff farther.
    n_rbf : int
        Radial basis functions.
    geometry : {"invariant", "cartesian", "distance"}
        How directions enter: by rotation-invariant moments, as vectors, or not at all.
    n_moments : int
        Radial channels of the neighbourhood moments (``invariant`` only).
    n_properties : int
        Element properties read beside the learned species embedding; 0 for none.
    latent_dim : int
        Length of a site embedding.
    latent_layers : tuple of int
        Site states that enter the embedding: 0 is the species embedding, l the output of layer l.
    column_states : tuple of int
        Site states that are pooled into columns.
    predicted : tuple of str
        Names of site quantities that are predicted from the embedding and pooled into columns too.
    crystal_predicted : tuple of str
        Names of quantities of the whole crystal, predicted from the mean, minimum and maximum of
        the embeddings of its sites; a column each.

    Without ``column_states`` and ``predicted`` the embedding itself is pooled.
    """

    cutoff: float = 4.5
    width: int = 64
    n_layers: int = 3
    n_rbf: int = 32
    geometry: Geometry = "invariant"
    n_moments: int = 4
    n_properties: int = 0
    latent_dim: int = 128
    latent_layers: tuple[int, ...] = (0, 1, 2, 3)
    column_states: tuple[int, ...] = (0, 1, 2, 3)
    predicted: tuple[str, ...] = ()
    crystal_predicted: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "predicted", tuple(self.predicted))
        object.__setattr__(self, "crystal_predicted", tuple(self.crystal_predicted))
        for name in ("latent_layers", "column_states"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
            if not all(0 <= i <= self.n_layers for i in getattr(self, name)):
                raise ValueError(f"{name} must name states 0 to {self.n_layers}")
        if self.geometry not in ("invariant", "cartesian", "distance"):
            raise ValueError(
                f"geometry {self.geometry!r} is none of invariant, cartesian, distance"
            )
        if not self.cutoff > 0:
            raise ValueError(f"the cutoff must be positive, got {self.cutoff} Å")
        if not self.latent_layers:
            raise ValueError("latent_layers must name at least one state")

    @property
    def n_columns(self) -> int:
        """Length of the site vector that is pooled into columns."""
        return self.width * len(self.column_states) + len(self.predicted) or self.latent_dim


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
        self, sites: Tensor, edges: Tensor, edge_index: Tensor, weight: Tensor, update_edges: bool
    ) -> tuple[Tensor, Tensor]:
        """Update sites (n_sites, d) and edges (n_edges, d); weight is f_c, (n_edges, 1)."""
        at_sites = self.from_site(sites).view(-1, 2 * self.width)
        rows = torch.stack([2 * edge_index[1], 2 * edge_index[0] + 1], dim=1)
        if not torch.is_grad_enabled() and not self.training:
            total, edges = self._infer(at_sites, edges, rows, weight, update_edges)
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
        self, at_sites: Tensor, edges: Tensor, rows: Tensor, weight: Tensor, update_edges: bool
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
            total.index_add_(0, rows[part, 0] // 2, message.mul_(share).to(total.dtype))
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
            (n_edges, 3; Å). No edge may be longer than the cutoff.
        sites : (n_sites, width) Tensor, optional
            States to start from instead of the species embedding.

        Returns
        -------
        list of (n_sites, width)
            The species embedding and the output of every layer, ``n_layers + 1`` in all.
        """
        states = [self.embed_species(data.z) if sites is None else sites]
        edges, weight = self.embed_edges(data.edge_vector, data.edge_index, len(data.z))
        weight = weight.unsqueeze(1)
        for index, layer in enumerate(self.layers):
            last = index == len(self.layers) - 1
            sites, edges = layer(states[-1], edges, data.edge_index, weight, not last)
            states.append(sites)
        return states

    def embed_species(self, z: Tensor) -> Tensor:
        """Site states before any neighbour is seen, (n_sites,) int64 → (n_sites, width)."""
        hidden = self.species(z) + self.species_bias
        if self.config.n_properties:
            hidden = hidden + self.from_properties(self.properties[z])
        return nn.functional.silu(self.site_in(nn.functional.silu(hidden)))

    def embed_edges(
        self, vector: Tensor, edge_index: Tensor, n_sites: int
    ) -> tuple[Tensor, Tensor]:
        """Initial edge states (n_edges, width) and envelopes (n_edges,)."""
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


class ScalarHead(nn.Module):
    """CartNet's head for one intensive property: an MLP a site, then the mean over sites."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(width, width // 2), nn.SiLU(), nn.Linear(width // 2, 1))

    def forward(self, sites: Tensor, batch: Tensor, n_graphs: int) -> Tensor:
        """Site states (n_sites, width) and graph index (n_sites,) → (n_graphs,)."""
        value = self.mlp(sites).squeeze(1)
        total = value.new_zeros(n_graphs).index_add(0, batch, value)
        count = value.new_zeros(n_graphs).index_add(0, batch, torch.ones_like(value))
        return total / count


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
        return sites, self.crystal_quantities(self.raw_latent(states), crystal, n_crystals)

    def crystal_quantities(self, latent: Tensor, crystal: Tensor, n_crystals: int) -> Tensor:
        """Predictions for crystals from the raw embeddings of their sites, (n_crystals, n)."""
        shape = (n_crystals, latent.shape[1])
        count = torch.bincount(crystal, minlength=n_crystals).unsqueeze(1)
        mean = latent.new_zeros(shape).index_add(0, crystal, latent) / count
        index = crystal.unsqueeze(1).expand_as(latent)
        least, most = (
            latent.new_zeros(shape).scatter_reduce(0, index, latent, how, include_self=False)
            for how in ("amin", "amax")
        )
        found: Tensor = self.predict_crystal(torch.cat([mean, least, most], dim=1))
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
