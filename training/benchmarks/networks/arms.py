"""The arms of ``training/bandgap.py``: what a network reads of a site, and how it is trained."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.embeddings.element_means import ElementMeans, shrink
from benchmarks.embeddings.periodic_table import group
from benchmarks.networks.property_cartnet import NodeInput, PropertyCartNet
from benchmarks.untrained import untrained_twin
from matminer_unate.crystals.structures import CrystalArrays
from matminer_unate.featurizers.unate import embed, masked_graph
from matminer_unate.finetuning.networks import PropertyEncoder, PropertyNetwork
from matminer_unate.finetuning.settings import FitSettings
from matminer_unate.network.config import EncoderConfig
from matminer_unate.network.encoder import SiteEncoder
from matminer_unate.network.initialisation import DrawFrom
from matminer_unate.network.weights import load_encoder, weights_config

Vectors = Literal["site", "element", "random-table", "untrained"]


@dataclass(frozen=True)
class Arm:
    """One way to tell a network about a site.

    Attributes
    ----------
    node_input : {"species", "vectors", "both"} or None
        What CartNet starts from; None: the network is the encoder itself.
    vectors : str or None
        Which site vectors it reads.
    fresh : bool
        The encoder has random weights.
    bottleneck : int
    dropout : float
    settings : dict
        Where its training differs from the preset's, by tuning on ``val``
        (``results/bandgap_tuning.csv``).
    """

    node_input: NodeInput | None
    vectors: Vectors | None = None
    fresh: bool = False
    bottleneck: int = 0
    dropout: float = 0.0
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def pretrained(self) -> bool:
        """Whether pretrained weights play a part."""
        return self.vectors in ("site", "element") or (not self.node_input and not self.fresh)


ARMS: dict[str, Arm] = {
    "Z": Arm("species", settings={"learning_rate": 5e-3}),
    "site": Arm("vectors", "site"),
    "site+Z": Arm("both", "site"),
    "element": Arm("vectors", "element"),
    "random-table": Arm("vectors", "random-table"),
    "untrained": Arm("vectors", "untrained", settings={"learning_rate": 5e-3}),
    "bottleneck": Arm(
        "vectors", "site", bottleneck=16, dropout=0.2, settings={"learning_rate": 5e-3}
    ),
    "finetune": Arm(None, settings={"pretrained_share": 0.2}),
    "estimator": Arm(None),
    "scratch": Arm(None, fresh=True, settings={"pretrained_share": 1.0}),
}


@dataclass(frozen=True)
class Preset:
    """Size of the networks and length of the training.

    Attributes
    ----------
    encoder : EncoderConfig
        Shape of CartNet. ``finetune`` and ``scratch`` have the shape of the weights.
    training : FitSettings
    visits : int
        Crystals seen in training with 4,000 labels; with n labels, √(n / 4,000) times as many.
        0: the epochs of ``training``, whatever the number of labels.
    tuned : bool
        Whether arms have learning rates of their own, which were chosen at this size.
    """

    encoder: EncoderConfig
    training: FitSettings
    visits: int = 0
    tuned: bool = False

    def settings(self, arm: str, n_train: int, minimum: float) -> FitSettings:
        """How an arm is trained on that many labels; ``minimum`` is that of the target."""
        epochs = self.training.epochs
        if self.visits:
            epochs = min(epochs, max(1, round(self.visits / (n_train * 4000) ** 0.5)))
        own = dict(ARMS[arm].settings)
        if not self.tuned:
            own.pop("learning_rate", None)
        return replace(self.training, epochs=epochs, minimum=minimum, **own)


def shape(**changes: Any) -> EncoderConfig:
    """CartNet without anything of a pretrained encoder."""
    layers = changes.get("n_layers", 3)
    return EncoderConfig(latent_layers=(layers,), column_states=(), **changes)


PRESETS = {
    "cpu": Preset(shape(), FitSettings(epochs=80, learning_rate=2e-3), 200_000, True),
    # As released for JARVIS and the Materials Project.
    "paper": Preset(
        shape(cutoff=5.0, width=256, n_layers=4, n_rbf=64, geometry="cartesian"),
        FitSettings(
            epochs=500,
            batch_size=64,
            learning_rate=1e-3,
            weight_decay=0.0,
            warmup=0.01,
            clip_norm=0.0,
            average_share=0.0,
            recalibrate=False,
            standardise=False,
            evaluations=500,
        ),
    ),
}


def make_network(arm: str, preset: Preset, weights: str, seed: int = 0) -> PropertyNetwork:
    """The network of an arm, its new weights drawn from a generator of this seed."""
    what, generator = ARMS[arm], torch.Generator().manual_seed(seed)
    if what.node_input is not None:
        n_vector = weights_config(weights).latent_dim if what.vectors else 0
        with DrawFrom(generator):
            return PropertyCartNet(
                preset.encoder, what.node_input, n_vector, what.bottleneck, what.dropout
            )
    encoder, config = load_encoder(weights)
    with DrawFrom(generator):
        # Drawn for nobody: before the heads of the committed results, such an encoder was.
        SiteEncoder(encoder.config)
        if what.fresh:
            fresh = SiteEncoder(encoder.config)
            if encoder.config.n_properties:
                fresh.backbone.properties.copy_(encoder.backbone.properties)
            encoder = fresh
        return PropertyEncoder(encoder, config.is_known)


def site_vectors(
    kind: Vectors, crystals: Sequence[CrystalArrays], train: NDArray[np.int64], weights: str
) -> list[NDArray[np.float32]]:
    """Vectors of the sites of every crystal, computed once for all epochs.

    Parameters
    ----------
    kind : {"site", "element", "random-table", "untrained"}
    crystals : sequence of (lattice, frac_coords, atomic_numbers)
    train : int64 array
        Crystals that an element's mean may be taken over.
    weights : str

    Returns
    -------
    list of (n_sites, latent_dim) float32 arrays
    """
    if kind == "random-table":
        rng = np.random.default_rng(0)
        table = rng.normal(size=(119, weights_config(weights).latent_dim)).astype(np.float32)
        return [table[numbers] for _, _, numbers in crystals]
    if kind == "untrained":
        some = (crystals[k] for k in train)
        with tempfile.TemporaryDirectory() as folder:
            return _embed(crystals, str(untrained_twin(weights, Path(folder), some)))
    found = _embed(crystals, weights)
    if kind == "site":
        return found
    table = element_means([crystals[k][2] for k in train], [found[k] for k in train], weights)
    return [table[numbers] for _, _, numbers in crystals]


def element_means(
    numbers: Sequence[NDArray[np.int64]], sites: Sequence[NDArray[np.float32]], weights: str
) -> NDArray[np.float32]:
    """Mean site vector of each element, (119, latent_dim); rare ones are shrunk, others 0."""
    config = weights_config(weights)
    means = ElementMeans(config.latent_dim)
    z = np.concatenate(numbers)
    known = config.is_known[z]
    means.add(z[known], np.concatenate(sites)[known])
    elements = means.elements
    groups = [group(int(n)) for n in elements]
    table = np.zeros((119, config.latent_dim), dtype=np.float32)
    table[elements] = shrink(means.means(), means.count[elements], groups)[0]
    return table


def _embed(crystals: Sequence[CrystalArrays], weights: str) -> list[NDArray[np.float32]]:
    """Frozen site embeddings; elements unknown to the weights are masked."""
    config = weights_config(weights)
    graphs = ((row, masked_graph(crystal, config)) for row, crystal in enumerate(crystals))
    found = dict(embed(graphs, weights))
    return [found[row] for row in range(len(crystals))]
