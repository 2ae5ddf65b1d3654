"""Is it learning, or collapsing? Pretext tasks and geometry of the embeddings on fixed crystals."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from corpora.batches import CleanBatch, View, clean_view, mean_pool
from corpora.corpus import FROM_FILES, Corpus
from corpora.sampling import epoch_batches
from matminer_unate.errors import InputError
from matminer_unate.network.encoder import SiteEncoder
from matminer_unate.network.segments import segment_pool
from pretraining.export import recalibrate
from pretraining.pretrainer import Pretrainer
from pretraining.targets import CRYSTAL_TARGETS, SITE_TARGETS
from pretraining.views import ViewMaker

MEASURED_BATCHES = 20
"""Of clean crystals, on which the averaged encoder's batch normalisation is measured."""


class Monitor:
    """Measures a model on the same crystals, corrupted in the same way, after each epoch.

    Parameters
    ----------
    corpus : Corpus
        The crystals to measure on, best of formulas that are not trained on.
    train : Corpus
        Gives the baselines their frequencies.
    max_edges : int
        Edges of a batch.
    """

    def __init__(self, corpus: Corpus, train: Corpus, max_edges: int) -> None:
        self.corpus = corpus
        self.batches = epoch_batches(corpus, max_edges, np.random.default_rng(0))
        self.train = train
        self.calibration = epoch_batches(train, max_edges, np.random.default_rng(0))
        self.majority = int(train.element_counts.argmax())
        self.baseline = CompositionBaseline(train)
        self.unknown = {
            t.objective
            for t in (*SITE_TARGETS, CRYSTAL_TARGETS)
            if t.field in FROM_FILES and not corpus.knows(t.field)
        }

    @torch.no_grad()
    def __call__(
        self, model: Pretrainer, average: SiteEncoder, views: ViewMaker, device: torch.device
    ) -> dict[str, float]:
        """Losses, accuracies and the geometry of the embeddings, by name with ``monitor_`` before.

        The losses are those of the trained model in evaluation mode; the geometry is that of the
        averaged encoder on clean crystals, after its batch normalisation was measured on some of
        those that are trained on, as for the export.

        Returns
        -------
        dict
            Besides every loss: ``masked_accuracy`` of hidden species against
            ``majority_accuracy`` and ``composition_accuracy``; ``retrieval_accuracy``,
            ``alignment`` and ``uniformity`` of the contrasted views (where the loss has them); of
            the pooled embeddings on the unit sphere ``spread_min`` and ``spread_median`` (standard
            deviation a component times √d: 1 when isotropic) and ``effective_rank``;
            ``within_element_share``, the share of the variance of site embeddings that is not
            between elements.
        """
        was_training = model.training
        model.eval()
        average = copy.deepcopy(average)
        recalibrate(average, self.train, self.calibration[:MEASURED_BATCHES], device)
        totals: dict[str, float] = {}
        pooled, latents, elements = [], [], []
        for number, members in enumerate(self.batches):
            batch = self.corpus.batch(members).to(device)
            generator = torch.Generator(device).manual_seed(number)
            made = views(batch, generator)
            found = {name: value.item() for name, value in model(batch, made).items()}
            for name, value in {**found, **self._guess(batch, made.decode)}.items():
                # Site targets from a file may not cover the held-out crystals.
                if name != "total" and name not in self.unknown:
                    totals[name] = totals.get(name, 0.0) + value * len(members)
            latent = average.raw_latent(average.backbone(clean_view(batch, self.corpus.cutoff)))
            pooled.append(mean_pool(latent, batch))
            latents.append(latent)
            elements.append(batch.z)
        model.train(was_training)
        result = {name: total / len(self.corpus) for name, total in totals.items()}
        vectors = torch.cat(pooled).double().cpu()
        if not vectors.isfinite().all():
            raise InputError("the embeddings are no longer finite; lower --learning-rate")
        if len(vectors) > 1:
            result |= sphere_spread(vectors)
        result["effective_rank"] = effective_rank(vectors).item()
        result["within_element_share"] = within_group_share(
            torch.cat(latents).double().cpu(), torch.cat(elements).cpu()
        )
        return {f"monitor_{name}": value for name, value in result.items()}

    def _guess(self, batch: CleanBatch, views: Sequence[View]) -> dict[str, float]:
        """Accuracies of the two baselines, averaged over views as the model's own is."""
        z, crystal = batch.z.cpu().numpy(), batch.crystal.cpu().numpy()
        found = []
        for view in views:
            selected, shown = view.selected.cpu().numpy(), view.z.cpu().numpy()
            hidden = selected & (shown != z)
            guess = self.baseline.predict(np.where(selected, 0, z), crystal)[crystal]
            right = (z == self.majority)[hidden].sum(), (z == guess)[hidden].sum()
            found.append(np.array(right) / max(hidden.sum(), 1))
        majority, composition = np.mean(found, axis=0)
        return {"majority_accuracy": majority, "composition_accuracy": composition}


class CompositionBaseline:
    """Guesses a hidden element from the visible species of its crystal, without geometry.

    Naive Bayes: argmax_z log P(z) + Σ_v log P(v | z), with v over the visible elements and P(v | z)
    the share of the crystals of z that have another site of v.
    """

    def __init__(self, corpus: Corpus) -> None:
        together = np.ones((119, 119)) * 1e-2
        number = np.ones(119) * 2e-2
        for start, n in zip(corpus.site_start[:-1], corpus.n_sites, strict=True):
            elements, count = np.unique(corpus.z[start : start + n], return_counts=True)
            together[np.ix_(elements, elements)] += 1
            together[elements, elements] -= count == 1
            number[elements] += 1
        self.conditional = np.log((together / number[:, None]).clip(1e-9))
        self.prior = np.log(corpus.element_counts + 1e-3)

    def predict(self, z: NDArray[np.int64], crystal: NDArray[np.int64]) -> NDArray[np.int64]:
        """Guess for every crystal, from species (n_sites,) with 0 where hidden."""
        visible = np.zeros((int(crystal.max()) + 1, 119))
        visible[crystal[z > 0], z[z > 0]] = 1
        return (self.prior + visible @ self.conditional.T)[:, 1:].argmax(1) + 1


def effective_rank(vectors: Tensor) -> Tensor:
    """Exponential of the entropy of the normalised singular values (Roy & Vetterli 2007)."""
    share = torch.linalg.svdvals(vectors - vectors.mean(0))
    share = share / share.sum().clamp(min=1e-12)
    return torch.exp(-(share * share.clamp(min=1e-12).log()).sum())


def sphere_spread(vectors: Tensor) -> dict[str, float]:
    """Standard deviation of each component on the unit sphere, times √d: 1 when isotropic."""
    unit = torch.nn.functional.normalize(vectors, dim=1)
    spread = unit.std(0) * vectors.shape[1] ** 0.5
    return {"spread_min": spread.min().item(), "spread_median": spread.median().item()}


def within_group_share(vectors: Tensor, group: Tensor) -> float:
    """1 − SS_between / SS_total: the share of the variance that lies within groups."""
    n_groups = int(group.max()) + 1
    means = segment_pool(vectors, group, n_groups)
    total = (vectors - vectors.mean(0)).square().sum()
    return ((vectors - means[group]).square().sum() / total.clamp(min=1e-12)).item()
