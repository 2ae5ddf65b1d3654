"""Named settings of a pretraining run."""

from __future__ import annotations

import math

from augmentations.corruption import CorruptionConfig
from matminer_unate.network.config import EncoderConfig
from pretraining.config import LossWeights, PretrainConfig

PRESETS: dict[str, PretrainConfig] = {
    # What ships: sized for CPUs, invariant; every choice from training/results/ablation.csv.
    "default": PretrainConfig(),
    # The closest defensible reading of the paper (what it leaves open is taken from its ancestors
    # CrysAtom, arXiv:2409.04737, and CartNet, arXiv:2501.18369). For a GPU.
    "paper": PretrainConfig(
        epochs=60,
        max_edges=80_000,
        learning_rate=1e-3,
        weight_decay=0.0,
        clip_norm=math.inf,
        warmup=0.01,
        adjacency="multiplicity",
        contrast_views="separate",
        grouped_share=0.0,
        balance_every=0,
        precision="bf16",
        encoder=EncoderConfig(
            cutoff=5.0,
            width=256,
            n_layers=4,
            n_rbf=64,
            geometry="cartesian",
            latent_dim=128,
            latent_layers=(4,),
            column_states=(),
        ),
        corruption=CorruptionConfig(
            species_mask_probability=0.0, jitter=(0.05,), strain=0.0, clean_probability=0.0
        ),
        weights=LossWeights(
            node=0.25,
            adjacency=0.25,
            contrastive=0.5,
            physics=0,
            fingerprint=0,
            tight_binding=0,
            tight_binding_crystal=0,
            properties=0,
        ),
    ),
    # Two minutes on a CPU, to see that everything runs.
    "smoke": PretrainConfig(
        limit=300,
        epochs=10,
        max_edges=8_000,
        n_monitor=64,
        weights=LossWeights(tight_binding=0, tight_binding_crystal=0),
        encoder=EncoderConfig(
            width=16,
            n_layers=2,
            n_rbf=16,
            n_properties=22,
            latent_dim=32,
            latent_layers=(0, 1, 2),
            column_states=(0, 1, 2),
        ),
    ),
}
