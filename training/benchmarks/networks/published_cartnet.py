"""CartNet as published, unfactored: what the speed of ours is measured against."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import Tensor, nn

from matminer_unate.network.cartnet import CartNet
from matminer_unate.network.edge_features import real_harmonics


class PlainLayer(nn.Module):
    """One CartNet layer, term by term as published.

    Parameters
    ----------
    width : int
    share_input : bool
        Concatenate once for both networks. The released code does so for each.
    """

    def __init__(self, width: int, share_input: bool) -> None:
        super().__init__()
        self.share_input = share_input
        self.gate = nn.Sequential(
            nn.Linear(3 * width, width), nn.SiLU(), nn.Linear(width, width), nn.BatchNorm1d(width)
        )
        self.message = nn.Sequential(
            nn.Linear(3 * width, width), nn.SiLU(), nn.Linear(width, width)
        )
        self.site_norm = nn.BatchNorm1d(width)

    def forward(
        self, sites: Tensor, edges: Tensor, edge_index: Tensor, weight: Tensor
    ) -> tuple[Tensor, Tensor]:
        source, target = edge_index
        q = torch.cat([sites[target], sites[source], edges], dim=1)
        share = weight * torch.sigmoid(self.gate(q))
        if not self.share_input:
            q = torch.cat([sites[target], sites[source], edges], dim=1)
        total = torch.zeros_like(sites).index_add(0, target, share * self.message(q))
        return sites + nn.functional.silu(self.site_norm(total)), edges + share


class PlainCartNet(nn.Module):
    """CartNet without any rearrangement, and with the weights of ours."""

    def __init__(self, ours: CartNet, share_input: bool = True) -> None:
        super().__init__()
        self.ours = copy.deepcopy(ours)  # for what is no different
        width = ours.config.width
        self.layers = nn.ModuleList(PlainLayer(width, share_input) for _ in ours.layers)
        layer: Any
        split: Any
        for layer, split in zip(self.layers, self.ours.layers, strict=True):
            i_gate, i_message, j_gate, j_message = split.from_site.weight.detach().chunk(4)
            e_gate, e_message = split.from_edge.weight.detach().chunk(2)
            bias_gate, bias_message = split.from_edge.bias.detach().chunk(2)
            layer.gate[0].weight.data = torch.cat([i_gate, j_gate, e_gate], dim=1)
            layer.message[0].weight.data = torch.cat([i_message, j_message, e_message], dim=1)
            layer.gate[0].bias.data, layer.message[0].bias.data = bias_gate, bias_message
            layer.gate[2], layer.gate[3] = split.gate, split.gate_norm
            layer.message[2], layer.site_norm = split.message, split.site_norm
        del self.ours.layers

    def forward(self, data: Any) -> list[Tensor]:
        states, config = [self.ours.embed_species(data.z)], self.ours.config
        distance = data.edge_vector.norm(dim=1)
        weight = 0.5 * (torch.cos(math.pi * distance / config.cutoff) + 1.0)
        inputs = [self.radial(distance, weight)]
        if config.geometry != "distance":
            unit = data.edge_vector / distance.unsqueeze(1)
            inputs.append(
                -unit
                if config.geometry == "cartesian"
                else self.moments(distance, weight, real_harmonics(unit), data)
            )
        edges = self.ours.edge_in(torch.cat(inputs, dim=1))
        for layer in self.layers:
            sites, edges = layer(states[-1], edges, data.edge_index, weight.unsqueeze(1))
            states.append(sites)
        return states

    def radial(self, distance: Tensor, weight: Tensor) -> Tensor:
        n_rbf, cutoff = self.ours.config.n_rbf, self.ours.config.cutoff
        start = math.exp(-cutoff)
        centres = torch.linspace(start, 1.0, n_rbf, dtype=distance.dtype)
        beta = (2.0 / n_rbf * (1.0 - start)) ** -2
        offset = torch.exp(-5.0 / cutoff * distance).unsqueeze(1) - centres
        return weight.unsqueeze(1) * torch.exp(-beta * offset**2)

    def moments(self, distance: Tensor, weight: Tensor, harmonics: Tensor, data: Any) -> Tensor:
        """Our direction features, (n_edges, 4·n_moments)."""
        ours, target = self.ours.moments, data.edge_index[1]
        terms = ours.sums(distance, weight, harmonics)
        moments = terms.new_zeros(len(data.z), terms.shape[1]).index_add(0, target, terms)
        return ours.norm(ours(moments, harmonics, data.edge_index))


class PlainRegressorBackbone(PlainCartNet):
    """The published form in the place of a regressor's backbone."""

    def __init__(self, ours: CartNet) -> None:
        super().__init__(ours, share_input=False)

    def forward(self, data: Any, sites: Tensor | None = None) -> list[Tensor]:
        return super().forward(data)
