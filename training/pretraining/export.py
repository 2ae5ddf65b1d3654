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
from sklearn.preprocessing import StandardScaler
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
    latents, columns = StandardScaler(), StandardScaler()
    for members in batches:
        states = encoder.backbone(clean_view(corpus.batch(members).to(device), corpus.cutoff))
        for scaler, vectors in (
            (latents, encoder.raw_latent(states)),
            (columns, encoder.raw_columns(states)),
        ):
            if not vectors.isfinite().all():
                raise InputError(
                    "the site vectors are not finite; start anew with a lower --learning-rate"
                )
            scaler.partial_fit(vectors.double().cpu().numpy())
    for scaler, mean, std in (
        (latents, encoder.site_mean, encoder.site_std),
        (columns, encoder.column_mean, encoder.column_std),
    ):
        n = scaler.n_samples_seen_
        spread = torch.from_numpy(np.sqrt(scaler.var_ * n / (n - 1)))  # of a sample
        mean.copy_(torch.from_numpy(scaler.mean_))
        # A component that hardly varies here is not blown up where it does.
        std.copy_(torch.where(spread > 1e-4, spread, 1.0))
