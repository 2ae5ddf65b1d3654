"""What objectives read, made without an encoder."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from small_corpora import CUTOFF, prototype_corpus
from torch import Tensor

from corpora.batches import CleanBatch, Encoded, clean_view, mean_pool


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
