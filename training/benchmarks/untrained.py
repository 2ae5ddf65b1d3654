"""The network of given weights with random ones: what of a result is not pretraining."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path

import torch
from torch.optim.swa_utils import update_bn

from matminer_unate.crystals.batching import collate, fill_batches
from matminer_unate.crystals.structures import CrystalArrays
from matminer_unate.featurizers.unate import masked_graph
from matminer_unate.network.encoder import SiteEncoder
from matminer_unate.network.initialisation import DrawFrom
from matminer_unate.network.weights import load_encoder, save_encoder

BATCH_EDGES = 16_384


def untrained_twin(
    weights: str | Path, folder: Path, crystals: Iterable[CrystalArrays], n_batches: int = 30
) -> Path:
    """Write the same network with random weights, as a weights folder.

    It gets the same element properties, and BatchNorm statistics of clean crystals as trained
    weights do: an untrained network with the statistics of nothing would be too easy to beat.

    Parameters
    ----------
    weights : str or Path
    folder : Path
    crystals : iterable of (lattice, frac_coords, atomic_numbers)
        Read until ``n_batches`` batches are full.
    n_batches : int
    """
    trained, config = load_encoder(weights)
    with DrawFrom(torch.Generator().manual_seed(0)):
        encoder = SiteEncoder(trained.config)
    if trained.config.n_properties:
        encoder.backbone.properties.copy_(trained.backbone.properties)
    graphs = ((row, masked_graph(crystal, config)) for row, crystal in enumerate(crystals))
    batches = itertools.islice(fill_batches(graphs, BATCH_EDGES), n_batches)
    update_bn((collate([graph for _, graph in batch]) for batch in batches), encoder.backbone)
    counts = {int(z): n for z, n in config.element_counts.items()}
    save_encoder(folder, "untrained", encoder.eval(), counts, {}, "")
    return folder
