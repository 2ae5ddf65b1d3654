"""A clean batch → two corrupted views of it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from augmentations.corruption import Corruption
from corpora.batches import CleanBatch, View
from pretraining.config import PretrainConfig


@dataclass
class Views:
    """The corrupted views of one step."""

    decode: list[View]  # read by the denoising branch
    contrast: tuple[View, View] | None  # read by the contrastive branch; None: the two of `decode`


class ViewMaker:
    """Clean batch → the views that the configuration asks for.

    ``shared``: two views, both decoded and contrasted with each other. ``separate``: one is
    decoded and two others are contrasted, as published. ``composition``: likewise, and the
    contrasted views keep every species, so that a crystal stays told from others by what it is made
    of.
    """

    def __init__(self, config: PretrainConfig, element_counts: Tensor) -> None:
        cutoff = config.encoder.cutoff
        self.shared = config.contrast_views == "shared"
        self.contrast = config.weights.contrastive > 0
        self.corrupt = Corruption(config.corruption, cutoff, element_counts)
        kept = config.corruption
        if config.contrast_views == "composition":
            kept = kept.without_masks()
        self.corrupt_contrast = Corruption(kept, cutoff, element_counts)

    def __call__(self, batch: CleanBatch, generator: torch.Generator) -> Views:
        if self.shared or not self.contrast:
            n_views = 2 if self.shared else 1
            return Views([self.corrupt(batch, generator) for _ in range(n_views)], None)
        decode = [self.corrupt(batch, generator)]
        pair = (self.corrupt_contrast(batch, generator), self.corrupt_contrast(batch, generator))
        return Views(decode, pair)
