"""Batched periodic graphs → one vector a site: the CartNet encoder.

The network is the one of Solé et al., "A Cartesian encoding graph neural network for crystal
structures property prediction" (arXiv:2501.18369), rebuilt from its equations with two changes that
leave the result the same. The first linear map of each edge network acts on a concatenation
[x_i; x_j; e_ij]; here it is split into a part per site and a part per edge, so that the site part
is computed once a site instead of once an edge. The edge update of the last layer, which nothing
reads, is left out.

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

N_SPECIES = 119
"""Embedding rows: atomic numbers 1 to 118, and row 0 for a masked or unknown species."""

EDGE_CHUNK = 16_384
"""Edges handled at once when no gradient is wanted, which bounds memory for any cell size."""

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
    n_rbf : int
        Radial basis functions.
    geometry : {"invariant", "cartesian", "distance"}
    n_moments : int
        Radial channels of the neighbourhood moments (``invariant`` only).
    n_properties : int
        Element properties read beside the learned species embedding; 0 for none.
    latent_dim : int
        Length of a site embedding.
    latent_layers : tuple of int
        Site states that enter the embedding: 0 is the species embedding, l the output of layer l.
    column_states : tuple of int
        Site states that are pooled into columns; empty to pool the embedding instead.
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

    def __post_init__(self) -> None:
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
        return self.width * len(self.column_states) or self.latent_dim


def envelope(distance: Tensor, cutoff: float) -> Tensor:
    """Cosine envelope (cos(πd/r_c) + 1)/2, zero with zero slope at the cutoff."""
    return 0.5 * (torch.cos(math.pi * (distance / cutoff).clamp(max=1.0)) + 1.0)


def edge_chunks(n_edges: int, training: bool) -> list[slice]:
    """Cut the edges into parts of bounded size.

    In evaluation edges are independent of each other given the sites, so parts are exact; in
    training BatchNorm needs all of them at once.
    """
    size = max(n_edges, 1) if training else EDGE_CHUNK
    return [slice(start, start + size) for start in range(0, max(n_edges, 1), size)]


class RadialBasis(nn.Module):
    """Exponential-normal radial functions, f_c(d)·exp(−β (exp(−5d/r_c) − μ_k)²)."""

    def __init__(self, n_rbf: int, cutoff: float) -> None:
        super().__init__()
        self.n_rbf = n_rbf
        self.cutoff = cutoff
        self.start = math.exp(-cutoff)
        self.beta = (2.0 / n_rbf * (1.0 - self.start)) ** -2

    def forward(self, distance: Tensor, weight: Tensor) -> Tensor:
        """Map distances (n_edges,) Å and envelopes (n_edges,) to (n_edges, n_rbf)."""
        centres = torch.linspace(
            self.start, 1.0, self.n_rbf, dtype=distance.dtype, device=distance.device
        )
        offset = torch.exp(distance * (-5.0 / self.cutoff)).unsqueeze(1) - centres
        return weight.unsqueeze(1) * torch.exp(-self.beta * offset.square())


def real_harmonics(unit: Tensor) -> Tensor:
    """First- and second-order real harmonics of unit vectors, (n, 3) → (n, 8).

    Scaled so that the first three of two vectors contract to u·u′ and the last five to
    (u·u′)² − 1/3.
    """
    x, y, z = unit.unbind(1)
    root2 = math.sqrt(2.0)
    return torch.stack(
        [
            x,
            y,
            z,
            root2 * x * y,
            root2 * y * z,
            root2 * z * x,
            (x * x - y * y) / root2,
            (3.0 * z * z - 1.0) / math.sqrt(6.0),
        ],
        dim=1,
    )


class MomentFeatures(nn.Module):
    """Invariant direction features of an edge, (n_edges, 4·n_moments).

    With radial weights g_c(d) around the site, v_i = Σ_k g u_ik and M_i = Σ_k g (u_ik u_ikᵀ − 1/3):
    u·v_i, −u·v_j, uᵀM_i u and uᵀM_j u for the edge's unit vector u from i to j. They are
    standardised by running statistics, so that dense and sparse crystals are on one scale.
    """

    centres: Tensor
    orders: Tensor

    def __init__(self, n_moments: int, cutoff: float) -> None:
        super().__init__()
        self.n_features = 4 * n_moments
        centres = torch.linspace(0.4 * cutoff, 0.9 * cutoff, n_moments)
        self.inverse_width = 1.0 / (0.5 * cutoff / max(n_moments - 1, 1))
        self.register_buffer("centres", centres, persistent=False)
        # Adds up the 3 and the 5 products of each channel: (8·C) → first orders, second orders.
        orders = torch.block_diag(*[torch.tensor([[1.0, 0]] * 3 + [[0, 1.0]] * 5)] * n_moments)
        orders = torch.cat([orders[:, ::2], orders[:, 1::2]], dim=1)
        self.register_buffer("orders", orders, persistent=False)
        self.norm = nn.BatchNorm1d(self.n_features, affine=False)

    def sums(self, distance: Tensor, weight: Tensor, harmonics: Tensor) -> Tensor:
        """Terms of the moments, (n_edges, 8·n_moments), to be summed over each target's edges."""
        offset = (distance.unsqueeze(1) - self.centres) * self.inverse_width
        radial = weight.unsqueeze(1) * torch.exp(-offset.square())
        return (radial.unsqueeze(2) * harmonics.unsqueeze(1)).flatten(1)

    def forward(self, moments: Tensor, harmonics: Tensor, edge_index: Tensor) -> Tensor:
        """Features of edges from the moments of all sites, (n_sites, 8·n_moments)."""
        source, target = edge_index
        at_target = self._contract(moments[target], harmonics)
        odd, even = self._contract(moments[source], harmonics).chunk(2, dim=1)
        # The edge seen from the source points the other way: odd features change sign.
        return self.norm(torch.cat([at_target, -odd, even], dim=1))

    def _contract(self, moments: Tensor, harmonics: Tensor) -> Tensor:
        """(n, 8·C) moments with (n, 8) harmonics → (n, 2·C): first orders, then second orders."""
        product = moments.view(len(moments), -1, 8) * harmonics.unsqueeze(1)
        return product.flatten(1) @ self.orders


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
        at_target, at_source = self.from_site(sites).split(2 * self.width, dim=1)
        total = torch.zeros_like(sites)
        in_place = not torch.is_grad_enabled()
        updated = []
        for part in edge_chunks(len(edges), self.training):
            source, target = edge_index[:, part]
            edge = edges[part]
            hidden = self.from_edge(edge)
            hidden = hidden.add_(at_target.index_select(0, target))
            hidden = hidden.add_(at_source.index_select(0, source))
            # Without gradients nothing is kept for later, and memory traffic is what costs.
            hidden = nn.functional.silu(hidden, inplace=in_place)
            gate, message = hidden.split(self.width, dim=1)
            share = torch.sigmoid(self.gate_norm(self.gate(gate))) * weight[part]
            total = total.index_add(0, target, share * self.message(message))
            if update_edges:
                updated.append(edge.add_(share) if in_place else edge + share)
        if updated and not in_place:
            edges = torch.cat(updated) if len(updated) > 1 else updated[0]
        return sites + nn.functional.silu(self.site_norm(total)), edges


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

    def forward(self, data: Any) -> list[Tensor]:
        """Run the layers on one graph or a batch of graphs.

        Parameters
        ----------
        data : torch_geometric.data.Data or Batch
            ``z`` (n_sites,), ``edge_index`` (2, n_edges; source, target), ``edge_vector``
            (n_edges, 3; Å). No edge may be longer than the cutoff.

        Returns
        -------
        list of (n_sites, width)
            The species embedding and the output of every layer, ``n_layers + 1`` in all.
        """
        states = [self.embed_species(data.z)]
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
        parts = edge_chunks(len(vector), self.training)
        invariant = self.config.geometry == "invariant"
        if invariant:
            moments = vector.new_zeros(n_sites, 8 * self.config.n_moments)
            for part in parts:
                terms = self.moments.sums(distance[part], weight[part], real_harmonics(unit[part]))
                moments.index_add_(0, edge_index[1, part], terms)
        states = vector.new_empty(len(vector), self.config.width)
        for part in parts:
            features = [self.radial(distance[part], weight[part])]
            if invariant:
                harmonics = real_harmonics(unit[part])
                features.append(self.moments(moments, harmonics, edge_index[:, part]))
            elif self.config.geometry == "cartesian":
                # CartNet's convention: from the imaged source to the target.
                features.append(-unit[part])
            states[part] = self.edge_in(torch.cat(features, dim=1))
        return states, weight


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
        self.register_buffer("site_mean", torch.zeros(config.latent_dim))
        self.register_buffer("site_std", torch.ones(config.latent_dim))
        self.register_buffer("column_mean", torch.zeros(config.n_columns))
        self.register_buffer("column_std", torch.ones(config.n_columns))

    def forward(self, data: Any) -> Tensor:
        """Standardised site embeddings, (n_sites, latent_dim)."""
        return (self.raw_latent(self.backbone(data)) - self.site_mean) / self.site_std

    def columns(self, data: Any) -> Tensor:
        """Standardised site vectors that are pooled into columns, (n_sites, n_columns)."""
        return (self.raw_columns(self.backbone(data)) - self.column_mean) / self.column_std

    def raw_latent(self, states: list[Tensor]) -> Tensor:
        """Site embeddings before standardisation, from the states of the backbone."""
        layers = zip(self.layer_norms, self.config.latent_layers, strict=True)
        return self.latent(torch.cat([norm(states[i]) for norm, i in layers], dim=1))

    def raw_columns(self, states: list[Tensor]) -> Tensor:
        """Site vectors for columns before standardisation, from the states of the backbone."""
        if not self.config.column_states:
            return self.raw_latent(states)
        return torch.cat([states[i] for i in self.config.column_states], dim=1)
