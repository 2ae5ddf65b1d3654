"""A clean batch → two corrupted views of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from augmentations.corruption import Corruption
from corpora.batches import CleanBatch, View
from objectives.infomax import deal_species
from pretraining.config import PretrainConfig

SECOND_VIEW: dict[str, Callable[[View, torch.Generator], View]] = {"dgi": deal_species}
"""Losses of ``--contrast`` whose second view is made from the first one."""


@dataclass
class Views:
    """The corrupted views of one step."""

    decode: list[View]  # read by the denoising branch
    contrast: tuple[View, ...]  # the two read by the contrastive branch; may be those of `decode`


class ViewMaker:
    """Clean batch → the views that the configuration asks for.

    ``shared``: two views, both decoded and contrasted with each other. ``separate``: one is
    decoded and two others are contrasted, as published. ``composition``: likewise, and the
    contrasted views keep every species, so that a crystal stays told from others by what it is made
    of.
    """

    def __init__(self, config: PretrainConfig, element_counts: Tensor) -> None:
        cutoff, kept = config.encoder.cutoff, config.corruption
        self.shared = config.contrast_views == "shared"
        self.contrast = config.weights.contrastive > 0
        self.corrupt = Corruption(config.corruption, cutoff, element_counts)
        if config.contrast_views == "composition":
            kept = kept.without_masks()
        self.corrupt_contrast = Corruption(kept, cutoff, element_counts)
        self.second_view = SECOND_VIEW.get(config.contrast)

    def __call__(self, batch: CleanBatch, generator: torch.Generator) -> Views:
        decode = [self.corrupt(batch, generator) for _ in range(2 if self.shared else 1)]
        if not self.contrast:
            return Views(decode, ())
        first = decode[0] if self.shared else self.corrupt_contrast(batch, generator)
        if self.second_view is not None:
            return Views(decode, (first, self.second_view(first, generator)))
        return Views(
            decode, (first, decode[1] if self.shared else self.corrupt_contrast(batch, generator))
        )
