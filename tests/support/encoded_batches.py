"""What objectives read, made without an encoder."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from small_corpora import CUTOFF, prototype_corpus
from torch import Tensor

from augmentations.corruption import Corruption, CorruptionConfig
from corpora.batches import CleanBatch, Encoded, View, clean_view, mean_pool


def encoded(
    batch: CleanBatch,
    latent: Tensor,
    selected: Tensor | None = None,
    z: Tensor | None = None,
    predicted: Tensor | None = None,
) -> Encoded:
    """Given latents of the uncorrupted batch; some sites are selected or show another species."""
    view = clean_view(batch, CUTOFF)
    view = replace(
        view,
        z=batch.z if z is None else z,
        selected=view.selected if selected is None else selected,
    )
    none = latent.new_zeros(len(latent), 0)
    pooled = mean_pool(latent, batch)
    return Encoded(view, latent, none if predicted is None else predicted, pooled, none)


def element_latents(batch: CleanBatch, width: int = 6) -> Tensor:
    """Latents that are equal at equivalent sites, as those of an encoder are: one an element."""
    table = torch.randn(119, width, generator=torch.Generator().manual_seed(1))
    return table[batch.z]


def crystals_of(formula: list[int], system: list[int] | None = None) -> CleanBatch:
    """A batch of as many crystals, with these numbers of formula and chemical system."""
    batch = prototype_corpus().batch(np.arange(len(formula)))
    return replace(batch, formula=torch.tensor(formula), system=torch.tensor(system or formula))


def pooled_views(batch: CleanBatch, first: Tensor, second: Tensor) -> tuple[Encoded, Encoded]:
    """Two encodings with given pooled latents (n_crystals, d)."""
    return tuple(  # type: ignore[return-value]
        replace(encoded(batch, pooled[batch.crystal]), pooled=pooled) for pooled in (first, second)
    )


def sites(z: list[int]) -> CleanBatch:
    """A batch of one-atom crystals of these elements; only their species are looked at."""
    start = torch.arange(len(z) + 1)
    batch = prototype_corpus().batch(np.arange(len(z)))
    return replace(batch, z=torch.tensor(z), crystal=start[:-1], site_start=start)


def view_of(batch: CleanBatch, latent: Tensor, selected: Tensor, z: Tensor) -> Encoded:
    """Latents of a view without edges."""
    no = torch.zeros(0, dtype=torch.long)
    view = View(z, no.expand(2, 0), torch.zeros(0, 3), no, no.bool(), selected)
    none = latent.new_zeros(len(latent), 0)
    return Encoded(view, latent, none, mean_pool(latent, batch), none)


def noisy_view(batch: CleanBatch, seed: int = 0) -> View:
    config = CorruptionConfig(edge_rewire=0.2, jitter=(0.1,), clean_probability=0.0)
    counts = torch.from_numpy(prototype_corpus().element_counts)
    return Corruption(config, CUTOFF, counts)(batch, torch.Generator().manual_seed(seed))


def random_views(n: int = 6, d: int = 5, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(n, d, dtype=torch.float64, generator=generator) for _ in range(2))  # type: ignore[return-value]


def orthogonal_components(n: int = 8) -> Tensor:
    """n crystals whose n − 1 components have mean 0, variance 1 and no correlation (Hadamard)."""
    matrix = torch.ones(1, 1, dtype=torch.float64)
    while len(matrix) < n:
        matrix = torch.cat([torch.cat([matrix, matrix]), torch.cat([matrix, -matrix])], dim=1)
    return matrix[:, 1:]
