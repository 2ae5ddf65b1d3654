"""Typed settings of a pretraining run, and their command line."""

from __future__ import annotations

import dataclasses
import json
import math
import operator
from dataclasses import dataclass, field
from typing import Literal

from augmentations.corruption import CorruptionConfig
from corpora.element_tables import N_PROPERTIES
from matminer_unate.network.config import EncoderConfig
from matminer_unate.network.weights import NAME_PATTERN

RANGES: dict[str, tuple[float, float]] = {
    "max_sites": (1, math.inf),
    "limit": (0, math.inf),
    "epochs": (1, math.inf),
    "max_edges": (1, math.inf),
    "learning_rate": (1e-9, 1),
    "weight_decay": (0, 1),
    "clip_norm": (1e-6, math.inf),
    "warmup": (0, 0.999),
    "ema": (0, 0.999999),
    "temperature": (1e-3, math.inf),
    "hard_weight": (1e-6, 1e6),
    "grouped_share": (0, 1),
    "balance_every": (0, math.inf),
    "n_monitor": (0, math.inf),
    "seed": (0, 2**63 - 1),
    "checkpoint_minutes": (0, math.inf),
    "encoder.width": (1, math.inf),
    "encoder.n_rbf": (1, math.inf),
    "encoder.n_moments": (0, math.inf),
    "encoder.latent_dim": (1, math.inf),
}
"""Least and greatest value of the settings that are numbers."""


@dataclass(frozen=True)
class LossWeights:
    """Weight of each objective; an objective of weight 0 is not built.

    They act on losses of equal gradient norm, see ``balance.GradientBalance``.

    Attributes
    ----------
    node : float
        Give back the species that were hidden.
    adjacency : float
        Give back who the neighbours of a site are, see ``--adjacency``.
    contrastive : float
        Tell the views of one crystal from those of others, see ``--contrast``.
    physics : float
        Predict physical site descriptors (those of ``SiteDescriptorStats``).
    fingerprint : float
        Predict the radial and angular fingerprint of a site.
    tight_binding : float
        Predict what a tight-binding model says of the electrons at a site.
    tight_binding_crystal : float
        Predict what it says of the whole crystal, the gap among it.
    teacher : float
        Predict the site targets in the file of ``--teacher``.
    properties : float
        Predict the properties of the elements that were hidden.
    edge_denoising : float
        Predict how far neighbours were moved.
    space_group : float
        Predict the space group.
    """

    node: float = 1.0
    adjacency: float = 0.5
    contrastive: float = 0.1
    physics: float = 1.0
    fingerprint: float = 0.5
    tight_binding: float = 3.0
    tight_binding_crystal: float = 3.0
    teacher: float = 0.0
    properties: float = 1.0
    edge_denoising: float = 0.0
    space_group: float = 0.0

    def __post_init__(self) -> None:
        values = dataclasses.asdict(self)
        for name, value in values.items():
            if not 0 <= value < math.inf:
                raise ValueError(f"the weight {name} must be a number from 0 on, got {value:g}")
        if not any(values.values()):
            raise ValueError("every weight is 0, so nothing would be learned; set one of them")


@dataclass(frozen=True)
class PretrainConfig:
    """One pretraining run.

    Attributes
    ----------
    name : str
        Name of the exported weights; begins the column names.
    data_statement : str
        Licence and citation of the data, for the model card.
    data : tuple of str
        Tables, folders of structure files, databases (see ``sources.py``).
    part : str
        Formulas that may be seen: ``train``, ``val``, ``test``, or ``all``.
    max_sites : int
        Crystals with more sites are left out.
    limit : int
        Use a random choice of this many crystals; 0 for all.
    exclude_formulas : str
        File of formulas that must not be seen.
    accept_doubtful : bool
        Take crystals that may be others than their file means, instead of leaving them out.
    start_from : str
        Weights (a name or a folder) to go on from, of the same settings of the encoder.
    epochs : int
        Passes over the crystals.
    max_edges : int
        Edges of a batch (with skin), per process.
    learning_rate : float
        Of AdamW; the peak of a one-cycle schedule.
    weight_decay : float
        Of AdamW; not on biases, norms and embeddings.
    clip_norm : float
        Gradients are scaled down to this norm.
    warmup : float
        Share of the steps in which the learning rate rises.
    ema : float
        Decay of the moving average of the weights that is exported.
    temperature : float
        Of the contrastive loss.
    hard_weight : float
        How many times a negative of the same chemical system counts in it.
    adjacency : {"species-rdf", "multiplicity", "bond", "pair-rdf"}
        Form of the adjacency reconstruction.
    contrast : {"nt-xent", "barlow", "vicreg", "triplet", "dgi"}
        Loss of the contrastive branch.
    contrast_views : {"shared", "separate", "composition"}
        What is contrasted: the views that are decoded, two others, or two others that keep every
        species.
    grouped_share : float
        Share of the crystals that come in groups of one chemical system (hard negatives).
    element_table : str
        Element properties that are read and reconstructed.
    tight_binding : str
        Parquet file of tight-binding site targets (``training/teachers.py``); computed where no
        file is given.
    teacher : str
        Parquet file of a teacher's site targets (``training/teachers.py``), for
        ``--weights.teacher``.
    balance_every : int
        Steps between measurements of the gradient norms; 0 to leave the losses as they are.
    n_monitor : int
        Crystals of held-out formulas (part ``val``; else of the corpus) on which the pretext tasks
        are measured after each epoch.
    precision : {"fp32", "bf16"}
        Of the matrix products; bf16 on CUDA only pays.
    tensorboard : bool
        Also write the log for TensorBoard.
    seed : int
        Of all random numbers; a run with the same settings repeats.
    checkpoint_minutes : float
        Time between checkpoints within an epoch; there is one after each epoch as well.
    encoder, corruption, weights
        Settings of the parts.
    """

    name: str = "my_weights"
    data_statement: str = ""
    data: tuple[str, ...] = ()
    part: Literal["train", "val", "test", "all"] = "train"
    max_sites: int = 60
    limit: int = 0
    start_from: str = ""
    epochs: int = 15
    max_edges: int = 32_000
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    clip_norm: float = 1.0
    warmup: float = 0.05
    ema: float = 0.999
    temperature: float = 0.1
    hard_weight: float = 1.0
    adjacency: Literal["species-rdf", "multiplicity", "bond", "pair-rdf"] = "species-rdf"
    contrast: Literal["nt-xent", "barlow", "vicreg", "triplet", "dgi"] = "nt-xent"
    contrast_views: Literal["shared", "separate", "composition"] = "shared"
    grouped_share: float = 0.5
    element_table: Literal["magpie", "magpie+atomic"] = "magpie"
    tight_binding: str = ""
    teacher: str = ""
    exclude_formulas: str = ""
    accept_doubtful: bool = False
    balance_every: int = 50
    n_monitor: int = 512
    precision: Literal["fp32", "bf16"] = "fp32"
    tensorboard: bool = False
    seed: int = 0
    checkpoint_minutes: float = 3.0
    encoder: EncoderConfig = field(default_factory=lambda: EncoderConfig(n_properties=22))
    corruption: CorruptionConfig = field(default_factory=CorruptionConfig)
    weights: LossWeights = field(default_factory=LossWeights)

    def __post_init__(self) -> None:
        # Now, and not hours later when the weights are to be saved.
        if not NAME_PATTERN.fullmatch(self.name):
            raise ValueError(f"name {self.name!r} may hold letters, digits, _, - and . only")
        for setting, (least, greatest) in RANGES.items():
            value = operator.attrgetter(setting)(self)
            if not least <= value <= greatest:  # not so of NaN either
                option = setting.replace("_", "-")
                bounds = f"{least:g} to {greatest:g}" if greatest < math.inf else f"{least:g} on"
                raise ValueError(f"--{option} must be a number from {bounds}, got {value:g}")
        deepest, n_layers = max(self.encoder.latent_layers), self.encoder.n_layers
        if deepest < n_layers:
            raise ValueError(
                f"no loss would reach the layers behind {deepest}: --encoder.n-layers {n_layers} "
                f"needs {n_layers} among --encoder.latent-layers (and, for columns of it, among "
                "--encoder.column-states)"
            )
        self.corruption.check_skin(self.encoder.cutoff)
        n, expected = self.encoder.n_properties, N_PROPERTIES[self.element_table]
        if n not in (0, expected):
            raise ValueError(
                f"the element table {self.element_table!r} has {expected} properties; set "
                f"--encoder.n-properties to {expected}, or to 0 to leave them out"
            )

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> PretrainConfig:
        content = json.loads(text)
        content["encoder"] = EncoderConfig(**content["encoder"])
        content["corruption"] = CorruptionConfig(**content["corruption"])
        content["weights"] = LossWeights(**content["weights"])
        content["data"] = tuple(content["data"])
        return cls(**content)
