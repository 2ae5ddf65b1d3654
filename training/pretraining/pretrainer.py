"""Encoder and objectives as one module: a clean batch and its views in, losses out."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from corpora.batches import CleanBatch, Encoded, View, mean_pool
from corpora.corpus import Corpus
from corpora.element_tables import element_table
from matminer_unate.network.encoder import SiteEncoder
from objectives import (
    BarlowTwins,
    CrystalTargetRegression,
    DeepGraphInfomax,
    EdgeDenoising,
    ElementPropertyReconstruction,
    NodeReconstruction,
    NTXent,
    PairAdjacency,
    SiteTargetRegression,
    SpaceGroup,
    SpeciesAdjacency,
    Triplet,
    VICReg,
)
from pretraining.balance import GradientBalance
from pretraining.config import PretrainConfig
from pretraining.targets import CRYSTAL_TARGETS, SITE_TARGETS, target_names
from pretraining.views import Views

CONTRAST: dict[str, Callable[[int], nn.Module]] = {
    "nt-xent": NTXent,
    "barlow": BarlowTwins,
    "vicreg": VICReg,
    "triplet": Triplet,
    "dgi": DeepGraphInfomax,
}


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
        element_counts = torch.from_numpy(corpus.element_counts)
        self.encoder = SiteEncoder(config.encoder)
        latent = config.encoder.latent_dim
        properties = torch.from_numpy(element_table(config.element_table)).float()
        if config.encoder.n_properties:
            self.encoder.backbone.properties.copy_(properties)
        builders: dict[str, Callable[[], nn.Module]] = {
            "node": lambda: NodeReconstruction(latent, element_counts),
            "adjacency": lambda: (
                SpeciesAdjacency(latent)
                if config.adjacency == "species-rdf"
                else PairAdjacency(latent, config.adjacency, config.encoder.cutoff)
            ),
            "contrastive": lambda: (
                NTXent(latent, config.temperature, config.hard_weight)
                if config.contrast == "nt-xent"
                else CONTRAST[config.contrast](latent)
            ),
            "properties": lambda: ElementPropertyReconstruction(latent, properties),
            "edge_denoising": lambda: EdgeDenoising(latent, config.encoder.cutoff),
            "space_group": lambda: SpaceGroup(latent, corpus.spacegroup_counts),
        }
        start = 0
        for t in SITE_TARGETS:
            if getattr(config.weights, t.objective):
                end = start + len(target_names(t, corpus))
                answer = slice(start, end)
                builders[t.objective] = partial(SiteTargetRegression, t.field, t.columns, answer)
                start = end
        builders[CRYSTAL_TARGETS.objective] = partial(
            CrystalTargetRegression, CRYSTAL_TARGETS.field, CRYSTAL_TARGETS.columns
        )
        active = {n: getattr(config.weights, n) for n in builders if getattr(config.weights, n)}
        self.objectives = nn.ModuleDict({name: builders[name]() for name in active})
        self.balance = GradientBalance(active, config.balance_every)

    def forward(self, batch: CleanBatch, views: Views, measure: bool = False) -> dict[str, Tensor]:
        """Loss terms, their balanced ``total``, and what the objectives log.

        With ``measure`` the gradient norms of the terms are measured on this batch first.
        """
        decoded = [self.encode(view, batch) for view in views.decode]
        terms: dict[str, list[Tensor]] = {}
        for name, objective in self.objectives.items():
            if name == "contrastive":
                pair = decoded if views.contrast is None else self._contrasted(views, batch)
                results = [objective(*self._pair(pair, objective, batch), batch)]
            else:
                results = [objective(encoded, batch) for encoded in decoded]
            for loss, logged in results:
                for key, value in {name: loss, **logged}.items():
                    terms.setdefault(key, []).append(value)
        result = {name: torch.stack(values).mean() for name, values in terms.items()}
        if measure:
            self.balance.measure(result, self.encoder.latent.weight)
        result["total"] = self.balance(result)
        return result

    def encode(self, view: View, batch: CleanBatch) -> Encoded:
        """Run the encoder on one view."""
        latent = self.encoder.raw_latent(self.encoder.backbone(view)).float()
        predict = self.encoder.predict if self.config.encoder.predicted else _nothing
        crystals = latent.new_zeros(batch.n_crystals, 0)
        if self.config.encoder.crystal_predicted:
            crystals = self.encoder.crystal_quantities(latent, batch.crystal, batch.n_crystals)
        pooled = mean_pool(latent, batch)
        return Encoded(view, latent, predict(latent).float(), pooled, crystals.float())

    def _contrasted(self, views: Views, batch: CleanBatch) -> list[Encoded]:
        assert views.contrast is not None
        return [self.encode(view, batch) for view in views.contrast]

    def _pair(
        self, encoded: list[Encoded], objective: nn.Module, batch: CleanBatch
    ) -> tuple[Encoded, Encoded]:
        if not objective.negatives_by_permutation:
            return encoded[0], encoded[1]
        # Deep Graph Infomax: the negative is the first view with its species dealt out anew.
        view = encoded[0].view
        order = torch.randperm(len(view.z), generator=_generator(view)).to(view.z.device)
        mixed = View(
            view.z[order], view.edge_index, view.edge_vector, view.edge, view.rewired, view.selected
        )
        return encoded[0], self.encode(mixed, batch)


def _nothing(latent: Tensor) -> Tensor:
    return latent.new_zeros(len(latent), 0)


def _generator(view: View) -> torch.Generator:
    """A generator that follows from the view, so that a resumed run repeats."""
    return torch.Generator().manual_seed(int(view.z.sum()) + 1_000_003 * len(view.z))
