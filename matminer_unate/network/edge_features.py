"""Edge vectors → what the network reads of an edge: envelope, radial functions, direction.

The direction features carry angles and are exactly invariant to rotation and reflection.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def envelope(distance: Tensor, cutoff: float) -> Tensor:
    """Cosine envelope (cos(πd/r_c) + 1)/2, zero with zero slope at the cutoff."""
    return 0.5 * (torch.cos(math.pi * (distance / cutoff).clamp(max=1.0)) + 1.0)


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
        # Below e⁻⁶⁰ nothing is lost, and exp is ten times slower where the result is denormal.
        exponent = (-self.beta * offset.square()).clamp(min=-60.0)
        return weight.unsqueeze(1) * torch.exp(exponent)


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
    standardised by ``norm``, so that dense and sparse crystals are on one scale.
    """

    centres: Tensor
    spread: Tensor
    orders: Tensor

    def __init__(self, n_moments: int, cutoff: float) -> None:
        super().__init__()
        self.n_features = 4 * n_moments
        centres = torch.linspace(0.4 * cutoff, 0.9 * cutoff, n_moments)
        self.inverse_width = 1.0 / (0.5 * cutoff / max(n_moments - 1, 1))
        self.register_buffer("centres", centres, persistent=False)
        # Products with these matrices are several times faster than views that broadcast.
        # Repeats the harmonics for each channel of the target and of the source: 8 → 2·C·8.
        self.register_buffer("spread", torch.eye(8).repeat(1, 2 * n_moments), persistent=False)
        # Adds up the 3 and the 5 products of each channel, 2·C·8 → 4·C. The edge seen from the
        # source points the other way, so its odd features change sign.
        channels = torch.eye(n_moments)
        odd = torch.kron(channels, torch.tensor([[1.0]] * 3 + [[0.0]] * 5))
        even = torch.kron(channels, torch.tensor([[0.0]] * 3 + [[1.0]] * 5))
        orders = torch.block_diag(torch.cat([odd, even], dim=1), torch.cat([-odd, even], dim=1))
        self.register_buffer("orders", orders, persistent=False)
        self.norm = nn.BatchNorm1d(self.n_features, affine=False)

    def sums(self, distance: Tensor, weight: Tensor, harmonics: Tensor) -> Tensor:
        """Terms of the moments, (n_edges, 8·n_moments), to be summed over each target's edges."""
        offset = (distance.unsqueeze(1) - self.centres) * self.inverse_width
        radial = weight.unsqueeze(1) * torch.exp(-offset.square())
        return (radial.unsqueeze(2) * harmonics.unsqueeze(1)).flatten(1)

    def forward(self, moments: Tensor, harmonics: Tensor, edge_index: Tensor) -> Tensor:
        """Features of edges, before ``norm``, from the moments of sites, (n_sites, 8·n_moments)."""
        ends = edge_index.flip(0).T.reshape(-1)  # target and source of the first edge, ...
        both = moments.index_select(0, ends).view(len(harmonics), 2 * moments.shape[1])
        return (both * (harmonics @ self.spread)) @ self.orders
