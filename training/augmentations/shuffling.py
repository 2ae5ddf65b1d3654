"""Node-feature shuffling: the selected sites of a crystal exchange their species."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from corpora.batches import CleanBatch


def shuffle_species(z: Tensor, batch: CleanBatch, sites: Tensor, generator: Any) -> Tensor:
    """Permute the species among the chosen sites of each crystal; its composition stays.

    Named in UNATE (arXiv:2605.25866) as an augmentation that was not tried.

    Parameters
    ----------
    z : (n_sites,) int64
    sites : (n_sites,) bool
    """
    chosen = sites.nonzero().squeeze(1)  # in the order of the crystals
    draw = torch.rand(len(chosen), generator=generator, device=generator.device)
    # Sorting by crystal + draw permutes at random within each crystal.
    order = torch.argsort(batch.crystal[chosen] + draw.double())
    return z.index_copy(0, chosen, z[chosen[order]])
