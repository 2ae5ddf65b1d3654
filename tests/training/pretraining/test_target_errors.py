"""Distances of predicted to true quantities, for predictions of which they are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_corpora import CUTOFF, make_corpus, prototypes
from torch import Tensor, nn

from corpora.sampling import epoch_batches
from matminer_unate.network.config import EncoderConfig
from matminer_unate.network.encoder import SiteEncoder
from pretraining.config import LossWeights, PretrainConfig
from pretraining.target_errors import target_errors
from pretraining.targets import with_predictions

ONE_BATCH = 10**9


class Answer(nn.Module):
    """Predicts what it was given."""

    def __init__(self, answer: Tensor) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, _: Tensor) -> Tensor:
        return self.answer


def test_right_answers_have_no_error_and_means_explain_nothing() -> None:
    corpus = make_corpus(prototypes()[:6])
    config = PretrainConfig(
        max_edges=ONE_BATCH,
        encoder=EncoderConfig(
            cutoff=CUTOFF, width=8, n_layers=1, latent_layers=(1,), column_states=(1,)
        ),
        weights=LossWeights(tight_binding=0.0, tight_binding_crystal=0.0),
    )
    config = with_predictions(config, corpus)
    encoder = SiteEncoder(config.encoder).eval()
    [members] = epoch_batches(corpus, ONE_BATCH, np.random.default_rng(0))
    true = corpus.batch(members).descriptors
    encoder.predict = Answer(true)
    right = target_errors(encoder, corpus, config, torch.device("cpu"))
    assert right["quantity"].tolist() == list(config.encoder.predicted)
    assert set(right["objective"]) == {"physics", "fingerprint"}
    assert (right["n"] == len(true)).all()
    assert (right["mae"] == 0).all()
    varying = (true.std(0) > 1e-3).numpy()
    assert (right["r2"][varying] == 1).all()
    encoder.predict = Answer(true.mean(0).expand_as(true))
    means = target_errors(encoder, corpus, config, torch.device("cpu"))
    assert means["r2"][varying].to_numpy() == pytest.approx(0, abs=1e-3)
