"""Loss terms → one total, with weights that mean what they say."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.distributed as dist
from torch import Tensor, nn


class GradientBalance(nn.Module):
    """Weighted sum of losses rescaled to equal gradient norm at one shared layer.

    Stated weights are not effective ones: at equal weight, cross-entropy over elements pulls ten
    times harder than a mean squared error. So every loss is multiplied by ḡ/g_k, with g_k the norm
    of its gradient with respect to the shared layer's weight and ḡ the geometric mean of these over
    the losses. The norms are measured now and then and averaged over time and processes.

    Parameters
    ----------
    weights : mapping of str to float
        Weight of each loss.
    every : int
        Steps between two measurements; 0 leaves the losses as they are.

    References
    ----------
    Equal gradient norms as the starting point of multi-task balance: Chen et al., "GradNorm",
    arXiv:1711.02257.
    """

    norms: Tensor

    def __init__(self, weights: Mapping[str, float], every: int = 50) -> None:
        super().__init__()
        self.weights = dict(weights)
        self.every = every
        self.register_buffer("norms", torch.full((len(weights),), float("nan")))

    def measure(self, losses: Mapping[str, Tensor], shared: Tensor, decay: float = 0.8) -> None:
        """Update the norms from the gradients of the losses with respect to ``shared``."""
        found = torch.stack(
            [
                torch.autograd.grad(losses[name], shared, retain_graph=True)[0].float().norm()
                for name in self.weights
            ]
        )
        # Without a gradient, as of a batch in which no target is known, nothing was measured.
        count = (found > 0).to(found.dtype)
        if dist.is_initialized() and dist.get_world_size() > 1:
            dist.all_reduce(found)
            dist.all_reduce(count)
        found = (found / count.clamp(min=1.0)).clamp(min=1e-8)
        mixed = torch.exp(decay * self.norms.log() + (1 - decay) * found.log())
        mixed = torch.where(self.norms.isnan(), found, mixed)
        self.norms.copy_(torch.where(count > 0, mixed, self.norms))

    def scales(self) -> dict[str, float]:
        """Factor of each loss, its weight included; 1 beside it before a first measurement."""
        known = ~self.norms.isnan()
        factors = [1.0] * len(known)
        if self.every and bool(known.any()):
            mean = self.norms[known].log().mean().exp()
            factors = torch.where(known, mean / self.norms, 1.0).tolist()
        return {
            name: weight * factor
            for (name, weight), factor in zip(self.weights.items(), factors, strict=True)
        }

    def forward(self, losses: Mapping[str, Tensor]) -> Tensor:
        """The total."""
        return torch.stack([scale * losses[name] for name, scale in self.scales().items()]).sum()
