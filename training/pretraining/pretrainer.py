"""Encoder and objectives as one module: a clean batch and its views in, losses out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from corpora.batches import CleanBatch, Encoded, View, mean_pool
from corpora.corpus import Corpus
from corpora.element_tables import element_table
from matminer_unate.network.encoder import SiteEncoder
from objectives.barlow_twins import BarlowTwins
from objectives.edge_denoising import EdgeDenoising
from objectives.element_properties import ElementPropertyReconstruction
from objectives.infomax import DeepGraphInfomax
from objectives.node import NodeReconstruction
from objectives.nt_xent import NTXent
from objectives.pair_adjacency import PairAdjacency
from objectives.space_group import SpaceGroup
from objectives.species_adjacency import SpeciesAdjacency
from objectives.triplet import Triplet
from objectives.vicreg import VICReg
from pretraining.balance import GradientBalance
from pretraining.config import PretrainConfig
from pretraining.targets import CRYSTAL_TARGETS, SITE_TARGETS, target_regression
from pretraining.views import Views


@dataclass(frozen=True)
class Objective:
    """How an objective is made, and what it gives back, in the words of the model card."""

    make: Callable[[PretrainConfig, Corpus], nn.Module]
    gives_back: str = ""


CONTRAST: dict[str, Callable[[PretrainConfig], nn.Module]] = {
    "nt-xent": lambda c: NTXent(c.encoder.latent_dim, c.temperature, c.hard_weight),
    "barlow": lambda c: BarlowTwins(c.encoder.latent_dim),
    "vicreg": lambda c: VICReg(c.encoder.latent_dim),
    "triplet": lambda c: Triplet(c.encoder.latent_dim),
    "dgi": lambda c: DeepGraphInfomax(c.encoder.latent_dim),
}
"""Losses of the contrastive branch, by ``--contrast``."""


def adjacency(c: PretrainConfig, corpus: Corpus) -> nn.Module:
    """The adjacency reconstruction of ``--adjacency``."""
    if c.adjacency == "species-rdf":
        return SpeciesAdjacency(c.encoder.latent_dim)
    return PairAdjacency(c.encoder.latent_dim, c.adjacency, c.encoder.cutoff)


OBJECTIVES: dict[str, Objective] = {
    "node": Objective(
        lambda c, corpus: NodeReconstruction(
            c.encoder.latent_dim, torch.from_numpy(corpus.element_counts)
        ),
        "species",
    ),
    "adjacency": Objective(adjacency, "adjacency"),
    "contrastive": Objective(lambda c, corpus: CONTRAST[c.contrast](c)),
    "properties": Objective(
        lambda c, corpus: ElementPropertyReconstruction(
            c.encoder.latent_dim, _element_properties(c)
        ),
        "element properties",
    ),
    "edge_denoising": Objective(
        lambda c, corpus: EdgeDenoising(c.encoder.latent_dim, c.encoder.cutoff), "bond lengths"
    ),
    "space_group": Objective(
        lambda c, corpus: SpaceGroup(c.encoder.latent_dim, corpus.spacegroup_counts),
        "space groups",
    ),
    **{
        targets.objective: Objective(partial(target_regression, targets), targets.gives_back)
        for targets in (*SITE_TARGETS, CRYSTAL_TARGETS)
    },
}
"""Every objective by the name of its weight."""


def _element_properties(config: PretrainConfig) -> Tensor:
    return torch.from_numpy(element_table(config.element_table)).float()


class Pretrainer(nn.Module):
    """Encoder, objectives and their balance.

    Parameters
    ----------
    config : PretrainConfig
        After :func:`with_predictions`.
    corpus : Corpus
        Its frequencies of elements weigh the node loss.
    """

    def __init__(self, config: PretrainConfig, corpus: Corpus) -> None:
        super().__init__()
        self.config = config
        self.encoder = SiteEncoder(config.encoder)
        if config.encoder.n_properties:
            self.encoder.backbone.properties.copy_(_element_properties(config))
        weights = {n: w for n in OBJECTIVES if (w := getattr(config.weights, n))}
        self.objectives = nn.ModuleDict({n: OBJECTIVES[n].make(config, corpus) for n in weights})
        self.balance = GradientBalance(weights, config.balance_every)

    def forward(self, batch: CleanBatch, views: Views, measure: bool = False) -> dict[str, Tensor]:
        """Loss terms, their balanced ``total``, and what the objectives log.

        With ``measure`` the gradient norms of the terms are measured on this batch first.
        """
        encoded: dict[int, Encoded] = {}  # a view may be both decoded and contrasted
        for view in (*views.decode, *views.contrast):
            if id(view) not in encoded:
                encoded[id(view)] = self.encode(view, batch)
        decoded = [(encoded[id(view)],) for view in views.decode]
        pair = tuple(encoded[id(view)] for view in views.contrast)
        terms: dict[str, list[Tensor]] = {}
        for name, objective in self.objectives.items():
            for inputs in [pair] if name == "contrastive" else decoded:
                loss, logged = objective(*inputs, batch)
                for key, value in {name: loss, **logged}.items():
                    terms.setdefault(key, []).append(value)
        result = {name: torch.stack(values).mean() for name, values in terms.items()}
        if measure:
            self.balance.measure(result, self.encoder.latent.weight)
        result["total"] = self.balance(result)
        return result

    def encode(self, view: View, batch: CleanBatch) -> Encoded:
        """Run the encoder on one view."""
        encoder, asked = self.encoder, self.config.encoder
        latent = encoder.raw_latent(encoder.backbone(view)).float()
        predicted = latent.new_zeros(len(latent), 0)
        crystals = latent.new_zeros(batch.n_crystals, 0)
        if asked.crystal_predicted:
            crystals = encoder.crystal_quantities(latent, batch.crystal, batch.n_crystals).float()
        pooled = mean_pool(latent, batch)
        if asked.predicted:
            predicted = encoder.predict(latent).float()
        return Encoded(view, latent, predicted, pooled, crystals)
