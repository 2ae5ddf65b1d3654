"""Encoder and objectives as one module: a clean batch and its views in, losses out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from augment import Corruption
from balance import GradientBalance
from config import PretrainConfig
from corpora import CleanBatch, Corpus
from element_tables import element_table
from matminer_unate.cartnet import SiteEncoder
from matminer_unate.columns import column_slug
from matminer_unate.descriptors import FINGERPRINT_NAMES, PHYSICS_NAMES
from matminer_unate.errors import InputError
from matminer_unate.tight_binding import CRYSTAL_NAMES, SITE_NAMES
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
from views import Encoded, View, mean_pool

CONTRAST: dict[str, Callable[[int], nn.Module]] = {
    "nt-xent": NTXent,
    "barlow": BarlowTwins,
    "vicreg": VICReg,
    "triplet": Triplet,
    "dgi": DeepGraphInfomax,
}


@dataclass(frozen=True)
class Targets:
    """What an objective regresses on: columns of a field of the clean batch, and their names."""

    objective: str
    field: str
    columns: slice
    names: tuple[str, ...] = ()  # of a teacher: none


SITE_TARGETS = (
    Targets("physics", "descriptors", slice(len(PHYSICS_NAMES)), PHYSICS_NAMES),
    Targets("fingerprint", "descriptors", slice(len(PHYSICS_NAMES), None), FINGERPRINT_NAMES),
    Targets("tight_binding", "tight_binding", slice(len(SITE_NAMES)), SITE_NAMES),
    Targets("teacher", "teacher", slice(None)),
)
CRYSTAL_TARGETS = Targets(
    "tight_binding_crystal", "tight_binding", slice(len(SITE_NAMES), None), CRYSTAL_NAMES
)


@dataclass
class Views:
    """The corrupted views of one step."""

    decode: list[View]  # read by the denoising branch
    contrast: tuple[View, View] | None  # read by the contrastive branch; None: the two of `decode`


class ViewMaker:
    """Clean batch → the views that the configuration asks for.

    ``shared``: two views, both decoded and contrasted with each other. ``separate``: one is
    decoded and two others are contrasted, as published. ``composition``: likewise, and the
    contrasted views keep every species, so that a crystal stays told from others by what it is made
    of.
    """

    def __init__(self, config: PretrainConfig, element_counts: Tensor) -> None:
        cutoff = config.encoder.cutoff
        self.shared = config.contrast_views == "shared"
        self.contrast = config.weights.contrastive > 0
        self.corrupt = Corruption(config.corruption, cutoff, element_counts)
        kept = config.corruption
        if config.contrast_views == "composition":
            kept = kept.without_masks()
        self.corrupt_contrast = Corruption(kept, cutoff, element_counts)

    def __call__(self, batch: CleanBatch, generator: torch.Generator) -> Views:
        if self.shared or not self.contrast:
            n_views = 2 if self.shared else 1
            return Views([self.corrupt(batch, generator) for _ in range(n_views)], None)
        decode = [self.corrupt(batch, generator)]
        pair = (self.corrupt_contrast(batch, generator), self.corrupt_contrast(batch, generator))
        return Views(decode, pair)


def with_predictions(config: PretrainConfig, corpus: Corpus) -> PretrainConfig:
    """The configuration with the names of what its objectives let the encoder predict.

    Raises
    ------
    InputError
        An objective has a weight, but the corpus none of its targets, or not the ones it knows.
    """
    active = [t for t in (*SITE_TARGETS, CRYSTAL_TARGETS) if getattr(config.weights, t.objective)]
    names = {t.objective: target_names(t, corpus) for t in active}
    encoder = replace(
        config.encoder,
        predicted=tuple(n for t in SITE_TARGETS for n in names.get(t.objective, ())),
        crystal_predicted=names.get(CRYSTAL_TARGETS.objective, ()),
    )
    return replace(config, encoder=encoder)


def target_names(targets: Targets, corpus: Corpus) -> tuple[str, ...]:
    """Names of the targets as parts of column names, checked against what the corpus has."""
    n, option = corpus.n_targets(targets.field), targets.field.replace("_", "-")
    if not n:
        raise InputError(
            f"--weights.{targets.objective} is set, but --{option} names no file with site targets "
            "of these crystals"
        )
    width = len(range(n)[targets.columns])
    names = targets.names or tuple(f"{k:02d}" for k in range(width))
    if len(names) != width:
        raise InputError(
            f"the file of --{option} has {n} targets a site, which are not those of the present "
            "code; make it anew with training/teachers.py"
        )
    prefix = "" if targets.field == "descriptors" else f"{targets.field} "
    return tuple(column_slug(prefix + name) for name in names)


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
