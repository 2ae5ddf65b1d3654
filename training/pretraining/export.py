"""Trained encoder → weights folder: recalibrate on clean crystals, standardise, write the card."""

from __future__ import annotations

import dataclasses
import platform
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.optim.swa_utils import update_bn

from corpora.batches import clean_view
from corpora.corpus import Corpus
from corpora.sampling import epoch_batches
from matminer_unate.errors import InputError
from matminer_unate.network.encoder import SiteEncoder
from matminer_unate.network.weights import save_encoder, weights_config
from pretraining.config import PretrainConfig
from pretraining.model_card import model_card

CALIBRATION_BATCHES = 200


def export(
    folder: Path,
    encoder: SiteEncoder,
    corpus: Corpus,
    config: PretrainConfig,
    device: torch.device,
    run: dict[str, Any],
) -> None:
    """Recalibrate, standardise and save an encoder.

    BatchNorm statistics of training are of corrupted graphs, and the averaged weights never had any
    of their own: both are measured anew on clean crystals. Then the mean and standard deviation of
    every component of the site vectors over all sites of the corpus is stored with the weights; of
    several processes, over the share of the first, which is a random one.
    """
    batches = epoch_batches(corpus, config.max_edges, np.random.default_rng(0))
    recalibrate(encoder, corpus, batches[:CALIBRATION_BATCHES], device)
    standardise(encoder, corpus, batches, device)
    counts = Counter({z: int(n) for z, n in enumerate(corpus.element_counts) if n})
    if config.start_from:
        start = weights_config(config.start_from)
        run |= {"start_from": f"`{start.name}` (sha256 {start.sha256[:12]}…)"}
        # What they know is not forgotten for want of examples.
        counts.update({int(z): n for z, n in start.element_counts.items()})
        counts = Counter(dict(sorted(counts.items())))
    training = {
        "config": {
            **dataclasses.asdict(config),
            # Names of files; their folders are of one machine only.
            "data": [Path(d).name for d in config.data],
            **{
                name: Path(getattr(config, name)).name
                for name in ("tight_binding", "teacher", "exclude_formulas", "start_from")
            },
        },
        "n_crystals": corpus.n_in_all,
        "n_sites": int(corpus.element_counts.sum()),
        "date": datetime.now(UTC).date().isoformat(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "run": run,
    }
    save_encoder(
        folder, config.name, encoder, counts, training, model_card(config, training, counts)
    )


def recalibrate(
    encoder: SiteEncoder, corpus: Corpus, batches: list[NDArray[np.int64]], device: torch.device
) -> None:
    """Replace BatchNorm's running statistics by averages over clean batches."""
    views = (clean_view(corpus.batch(members).to(device), corpus.cutoff) for members in batches)
    update_bn(views, encoder.eval().backbone)


@torch.no_grad()
def standardise(
    encoder: SiteEncoder, corpus: Corpus, batches: list[NDArray[np.int64]], device: torch.device
) -> None:
    """Store means and standard deviations of site vectors over the sites of the corpus."""
    latents, columns = Moments(), Moments()
    for members in batches:
        states = encoder.backbone(clean_view(corpus.batch(members).to(device), corpus.cutoff))
        latents.add(encoder.raw_latent(states))
        columns.add(encoder.raw_columns(states))
    for moments, mean, std in (
        (latents, encoder.site_mean, encoder.site_std),
        (columns, encoder.column_mean, encoder.column_std),
    ):
        spread = moments.std()
        if not spread.isfinite().all():
            raise InputError(
                "the site vectors are not finite; start anew with a lower --learning-rate"
            )
        mean.copy_(moments.mean)
        # A component that hardly varies here is not blown up where it does.
        std.copy_(torch.where(spread > 1e-4, spread, 1.0))


class Moments:
    """Mean and standard deviation of vectors that come in parts (Chan, Golub and LeVeque 1979)."""

    def __init__(self) -> None:
        self.n = 0
        self.mean = torch.zeros(0, dtype=torch.float64)
        self._squares = self.mean  # of the distances from the mean

    def add(self, vectors: Tensor) -> None:
        """Take (n, k) more."""
        part = vectors.double()
        mean = part.mean(0)
        squares = (part - mean).square().sum(0)
        if not self.n:
            self.n, self.mean, self._squares = len(part), mean, squares
            return
        n, step = self.n + len(part), mean - self.mean
        self._squares = self._squares + squares + step.square() * (self.n * len(part) / n)
        self.mean = self.mean + step * (len(part) / n)
        self.n = n

    def std(self) -> Tensor:
        """(k,); as of a sample."""
        return (self._squares / (self.n - 1)).sqrt()
