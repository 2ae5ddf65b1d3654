"""Batched crystals → numbers of a crystal.

:class:`PropertyNetwork` is what the training loop asks of a network, and :class:`PropertyEncoder`
is such a network: the pretrained encoder with a head on all that it says of a crystal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from matminer_unate.crystals.batching import collate
from matminer_unate.crystals.graph import RadiusGraph
from matminer_unate.network.encoder import SiteEncoder
from matminer_unate.network.segments import segment_pool

SHARE_WITHOUT_GIVEN = 0.15
"""Of the crystals of a training batch, those that go without their given columns."""


@dataclass
class CrystalBatch:
    """Several crystals as one graph.

    Attributes
    ----------
    z : (n_sites,) int64 Tensor
    edge_index : (2, n_edges) int64 Tensor
    edge_vector : (n_edges, 3) float32 Tensor, Å
    crystal : (n_sites,) int64 Tensor
        Crystal of each site.
    n_crystals : int
    vectors : (n_sites, k) Tensor or None
        Given site vectors.
    columns : (n_crystals, c) Tensor or None
        Given columns of whole crystals; NaN in crystals that lack them.
    """

    z: Tensor
    edge_index: Tensor
    edge_vector: Tensor
    crystal: Tensor
    n_crystals: int
    vectors: Tensor | None = None
    columns: Tensor | None = None


@dataclass
class Crystals:
    """Graphs of many crystals, and what else is known of them.

    Attributes
    ----------
    graphs : sequence of RadiusGraph
    vectors : sequence of (n_sites, k) float32 arrays, or None
        Site vectors of each crystal.
    columns : (n_crystals, c) float32 array or None
    """

    graphs: Sequence[RadiusGraph]
    vectors: Sequence[NDArray[np.float32]] | None = None
    columns: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.graphs)

    def batch(
        self, members: Sequence[int] | NDArray[np.int64], device: torch.device
    ) -> CrystalBatch:
        """Join some of them, by index."""
        joined = collate([self.graphs[k] for k in members])
        crystal = np.repeat(np.arange(len(members)), np.diff(joined.site_start))
        vectors = columns = None
        if self.vectors is not None:
            vectors = torch.from_numpy(np.concatenate([self.vectors[k] for k in members]))
        if self.columns is not None:
            columns = torch.from_numpy(self.columns[np.asarray(members)])
        parts = [joined.z, joined.edge_index, joined.edge_vector, torch.from_numpy(crystal)]
        z, edge_index, edge_vector, index = (part.to(device) for part in parts)
        vectors, columns = (
            None if part is None else part.to(device) for part in (vectors, columns)
        )
        return CrystalBatch(z, edge_index, edge_vector, index, len(members), vectors, columns)


class Dropout(nn.Module):
    """Leaves out a share of the channels in training, from a random state of its own.

    torch's reads the global random state, so that two trainings in two threads would not repeat.

    Parameters
    ----------
    share : float

    Attributes
    ----------
    generator : torch.Generator or None
        Set by the training loop; None for torch's global one.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share
        self.generator: torch.Generator | None = None

    def extra_repr(self) -> str:
        return f"share={self.share:g}"

    def forward(self, values: Tensor) -> Tensor:
        if not self.training or self.share == 0:
            return values
        drawn = torch.rand(values.shape, generator=self.generator, device=values.device)
        return values * (drawn >= self.share) / (1.0 - self.share)


class RowDropout(Dropout):
    """Tells a share of the rows to do without something in training: (n, 1), 1 or 0."""

    def forward(self, values: Tensor) -> Tensor:
        if not self.training or self.share == 0:
            return torch.ones_like(values)
        drawn = torch.rand(values.shape, generator=self.generator, device=values.device)
        return (drawn >= self.share).to(values.dtype)


class PropertyNetwork(nn.Module):
    """What the training loop asks of a network: numbers of a crystal, in the units of the targets.

    They are (n_crystals,) where there is one target, else (n_crystals, n_targets).
    """

    target_mean: Tensor
    target_std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("target_mean", torch.zeros(()))
        self.register_buffer("target_std", torch.ones(()))

    def set_scale(self, targets: NDArray[np.float64]) -> None:
        """Make an output of 0 ± 1 mean the mean and deviation of these targets."""
        spread = float(np.std(targets))
        self.target_mean.fill_(float(np.mean(targets)))
        self.target_std.fill_(spread if spread > 0 else 1.0)

    def forward(self, batch: CrystalBatch) -> Tensor:
        """Predictions."""
        found: Tensor = self.predict(batch) * self.target_std + self.target_mean
        return found

    def predict(self, batch: CrystalBatch) -> Tensor:
        """Standardised predictions."""
        raise NotImplementedError

    def depth_of(self, parameter: str) -> int:
        """How many layers lie between a parameter and the head, for layer-wise learning rates.

        0 is the head and everything else that is new; the deepest is the species embedding.
        """
        return 0


class PropertyEncoder(PropertyNetwork):
    """A pretrained encoder, all of which is trained on, with a new head.

    The head reads what the encoder's columns are made of (the states of all layers and the
    predicted quantities, standardised) in two ways: an MLP a site and the mean over sites, as
    CartNet's; and an MLP on mean, deviation, least and greatest over sites beside the predicted
    quantities of the whole crystal. Both are added. Neither grows with the cell.

    Parameters
    ----------
    encoder : SiteEncoder
    known : (119,) bool
        Atomic numbers the encoder has seen; others are masked.
    dropout : float
        Share of hidden channels of the head left out in training.
    n_given : int
        Given columns of whole crystals that the head reads too, after :meth:`set_columns`. It reads
        as well whether a crystal has them, and in training a share of the crystals goes without, so
        that those that lack them are predicted from the rest.
    hidden : int
        Hidden channels of both MLPs.
    n_targets : int
    """

    known: Tensor
    given_mean: Tensor
    given_std: Tensor

    def __init__(
        self,
        encoder: SiteEncoder,
        known: NDArray[np.bool_],
        dropout: float = 0.1,
        n_given: int = 0,
        hidden: int = 128,
        n_targets: int = 1,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.n_given = n_given
        self.without_given = RowDropout(SHARE_WITHOUT_GIVEN)
        self.register_buffer("known", torch.from_numpy(np.array(known)))
        self.register_buffer("given_mean", torch.zeros(n_given))
        self.register_buffer("given_std", torch.ones(n_given))
        n_columns, n_crystal = encoder.config.n_columns, len(encoder.config.crystal_predicted)
        n_whole = 4 * n_columns + n_crystal + (n_given + 1 if n_given else 0)
        self.of_sites = head(n_columns, hidden, dropout, n_targets)
        self.of_crystal = head(n_whole, hidden, dropout, n_targets)

    def set_columns(self, columns: NDArray[np.float32]) -> None:
        """Take the scale of the given columns from those of training crystals, NaN left out."""
        rows = columns[np.isfinite(columns).all(axis=1)].astype(np.float64)
        if len(rows):
            spread = rows.std(axis=0)
            self.given_mean.copy_(torch.from_numpy(rows.mean(axis=0)))
            self.given_std.copy_(torch.from_numpy(np.where(spread > 1e-6, spread, 1.0)))

    def predict(self, batch: CrystalBatch) -> Tensor:
        index, n = batch.crystal, batch.n_crystals
        known = replace(batch, z=batch.z * self.known[batch.z])
        sites, crystals = self.encoder.columns(known, index, n)
        # Far from what pretraining has seen a standardised channel says "far out" and no more.
        sites, crystals = sites.clamp(-8, 8), crystals.clamp(-8, 8)

        def pool(values: Tensor, how: Literal["mean", "min", "max"] = "mean") -> Tensor:
            return segment_pool(values, index, n, how)

        average = pool(sites)
        spread = (pool((sites - average[index]).square()) + 1e-4).sqrt()
        parts = [average, spread, pool(sites, "min"), pool(sites, "max"), crystals]
        if batch.columns is not None:
            has = batch.columns.isfinite().all(dim=1, keepdim=True).to(sites.dtype)
            has = has * self.without_given(has)
            given = ((batch.columns - self.given_mean) / self.given_std).nan_to_num(0.0)
            parts += [given.clamp(-5, 5) * has, 1.0 - has]
        whole = torch.cat(parts, dim=1)
        found: Tensor = pool(self.of_sites(sites)) + self.of_crystal(whole)
        return found.squeeze(1) if found.shape[1] == 1 else found

    def depth_of(self, parameter: str) -> int:
        """0 the head; 1 what the encoder predicts; then its layers; the inputs are deepest."""
        if not parameter.startswith("encoder."):
            return 0
        if not parameter.startswith("encoder.backbone."):
            return 1
        n_layers = self.encoder.config.n_layers
        parts = parameter.split(".")
        return 1 + n_layers - int(parts[3]) if parts[2] == "layers" else 2 + n_layers


def head(n_in: int, hidden: int, dropout: float, n_out: int = 1) -> nn.Sequential:
    """An MLP with one hidden layer, which starts by predicting next to nothing."""
    last = nn.Linear(hidden, n_out)
    nn.init.normal_(last.weight, std=0.01)
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.Linear(n_in, hidden), nn.SiLU(), Dropout(dropout), last)
