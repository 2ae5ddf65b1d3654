"""How far the predicted quantities of held-out crystals are from the true ones."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from corpora.batches import clean_view
from corpora.corpus import Corpus
from corpora.sampling import epoch_batches
from matminer_unate.network.encoder import SiteEncoder
from pretraining.config import PretrainConfig
from pretraining.targets import CRYSTAL_TARGETS, SITE_TARGETS

TARGET_ERRORS = "target_errors.csv"
"""Its name in the output folder."""


@torch.no_grad()
def target_errors(
    encoder: SiteEncoder, corpus: Corpus, config: PretrainConfig, device: torch.device
) -> pd.DataFrame:
    """Errors of the encoder's predictions for uncorrupted crystals, a row a quantity.

    Parameters
    ----------
    encoder : SiteEncoder
        As exported: its BatchNorm statistics are those of clean crystals.
    corpus : Corpus
        Held-out crystals.
    config : PretrainConfig
        After :func:`pretraining.targets.with_predictions`.
    device : torch.device
        The encoder's.

    Returns
    -------
    DataFrame
        ``objective``, ``quantity``, ``n`` (sites, or crystals, whose value is known), ``mae``
        (standard deviations of the quantity over the sites of the corpus that was trained on) and
        ``r2``, 1 − Σ (ŷ − y)² / Σ (y − ȳ)².
    """
    sites, crystals = list[tuple[Tensor, Tensor]](), list[tuple[Tensor, Tensor]]()
    of_sites = [t for t in SITE_TARGETS if getattr(config.weights, t.objective)]
    for members in epoch_batches(corpus, config.max_edges, np.random.default_rng(0)):
        batch = corpus.batch(members).to(device)
        latent = encoder.raw_latent(encoder.backbone(clean_view(batch, corpus.cutoff)))
        if of_sites:
            known = [getattr(batch, t.field)[:, t.columns] for t in of_sites]
            sites.append((encoder.predict(latent), torch.cat(known, dim=1)))
        if encoder.config.crystal_predicted:
            found = encoder.crystal_quantities(latent, batch.crystal, batch.n_crystals)
            known = getattr(batch, CRYSTAL_TARGETS.field)[batch.site_start[:-1]]
            crystals.append((found, known[:, CRYSTAL_TARGETS.columns]))
    widths = [len(range(corpus.n_targets(t.field))[t.columns]) for t in of_sites]
    objectives = [t.objective for t, n in zip(of_sites, widths, strict=True) for _ in range(n)]
    rows = _rows(objectives, encoder.config.predicted, sites)
    names = encoder.config.crystal_predicted
    rows += _rows([CRYSTAL_TARGETS.objective] * len(names), names, crystals)
    return pd.DataFrame(rows, columns=["objective", "quantity", "n", "mae", "r2"])


def _rows(
    objectives: list[str], names: tuple[str, ...], batches: list[tuple[Tensor, Tensor]]
) -> list[tuple[str, str, int, float, float]]:
    """A row a quantity from predictions and targets (n, k), NaN where unknown."""
    if not names:
        return []
    found, true = (torch.cat(parts).double().cpu().numpy() for parts in zip(*batches, strict=True))
    rows = []
    for k, (objective, name) in enumerate(zip(objectives, names, strict=True)):
        known = ~np.isnan(true[:, k])
        y, error = true[known, k], (found - true)[known, k]
        scatter = np.square(y - y.mean()).sum() if len(y) else 0.0
        r2 = 1 - np.square(error).sum() / scatter if scatter else float("nan")
        mae = np.abs(error).mean() if len(y) else float("nan")
        rows.append((objective, name, int(known.sum()), round(mae, 4), round(r2, 4)))
    return rows
