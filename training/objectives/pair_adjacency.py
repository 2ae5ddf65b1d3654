"""Adjacency reconstruction between pairs of sites: the published form and two relatives.

All of them ask for a property of the chosen cell, not of the crystal: in primitive rock salt the
one Na-Cl pair is joined by six bonds, in the conventional cell each of several pairs by two. And no
model whose embeddings respect the symmetry can tell equivalent pairs apart, so a part of the loss
is irreducible (``pairwise_floor``). ``SpeciesAdjacency`` has neither flaw.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from corpora.batches import CleanBatch, Encoded
from corpora.clean_targets import RDF_CENTRES
from objectives.pair_targets import Form, pair_targets, site_pairs

N_CHANNELS: dict[Form, int] = {"multiplicity": 6, "bond": 1, "pair-rdf": len(RDF_CENTRES)}

RARITY = (0.1, 1.0, 1.0, 1.0, 1.0, 1.0)
"""Weight of a pair by its multiplicity: the many that are not joined count less."""


class PairAdjacency(nn.Module):
    """One of the three pairwise forms of ``pair_targets``, decoded by bilinear forms.

    ``multiplicity`` is that of CrysAtom and CrysGNN: cross-entropy over six classes, weight 0.1 for
    the first. ``bond`` is binary cross-entropy, ``pair-rdf`` a Huber loss.

    Parameters
    ----------
    latent_dim : int
    form : {"multiplicity", "bond", "pair-rdf"}
    cutoff : float
        Å; of the envelope of ``pair-rdf``.
    rank : int
        Of the bilinear forms.

    References
    ----------
    CrysAtom, arXiv:2409.04737; CrysGNN, arXiv:2301.05852.
    """

    def __init__(self, latent_dim: int, form: Form, cutoff: float, rank: int = 16) -> None:
        super().__init__()
        self.form: Form = form
        self.cutoff = cutoff
        # "j is among the 12 nearest of i" does not imply the reverse.
        self.decoder = PairDecoder(latent_dim, N_CHANNELS[form], form != "multiplicity", rank)

    def forward(self, encoded: Encoded, batch: CleanBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss averaged over pairs, then crystals; and its skill.

        ``adjacency_skill`` is the share of the loss of the best constant prediction for each
        crystal that the decoder takes away. Accuracy would say nothing, as most pairs of most cells
        are alike.
        """
        first, second = site_pairs(batch)
        target = pair_targets(self.form, batch, self.cutoff)
        crystal = batch.crystal[first]
        weight = pair_weights(self.form, target)
        found = self.decoder(encoded.latent, first, second)
        loss = crystal_mean(pair_losses(self.form, found, target), weight, crystal)
        with torch.no_grad():
            constant = constant_losses(self.form, target, weight, crystal)
            marginal = crystal_mean(constant, weight, crystal)
            skill = 1 - loss / marginal.clamp(min=1e-6)
        return loss, {"adjacency_skill": skill}


class PairDecoder(nn.Module):
    """p_iᵀ B_k p_j + c_k·p_i + c′_k·p_j + b_k, and s_k·p_i + b′_k where i = j.

    p is a projection of the latent, so that the latent itself need not be bilinear, and B_k has low
    rank. With ``symmetric`` B_k = B_kᵀ, of either sign, and c = c′.
    """

    def __init__(self, latent_dim: int, n_channels: int, symmetric: bool, rank: int) -> None:
        super().__init__()
        self.rank, self.symmetric = rank, symmetric
        self.project = nn.Linear(latent_dim, 64)
        self.left = nn.Linear(64, n_channels * rank, bias=False)
        self.from_left = nn.Linear(64, n_channels)
        if not symmetric:
            self.right = nn.Linear(64, n_channels * rank, bias=False)
            self.from_right = nn.Linear(64, n_channels, bias=False)
        self.scale = nn.Parameter(torch.randn(n_channels, rank))
        self.itself = nn.Linear(64, n_channels)

    def forward(self, latent: Tensor, first: Tensor, second: Tensor) -> Tensor:
        """Predictions (n_pairs, n_channels) for pairs of rows of the latents (n_sites, d)."""
        p = self.project(latent)
        left, from_left = self.left(p).float(), self.from_left(p).float()
        right, from_right = left, from_left
        if not self.symmetric:
            right, from_right = self.right(p).float(), self.from_right(p).float()
        left = left.view(len(p), -1, self.rank) * self.scale / self.rank**0.5
        right = right.view(len(p), -1, self.rank)
        between = (left[first] * right[second]).sum(2) + from_left[first] + from_right[second]
        return torch.where((first == second).unsqueeze(1), self.itself(p).float()[first], between)


def pair_weights(form: Form, target: Tensor) -> Tensor:
    """Weight (n_pairs,) of each pair within its crystal."""
    if form == "multiplicity":
        return torch.tensor(RARITY, device=target.device)[target]
    return torch.ones(len(target), device=target.device)


def pair_losses(form: Form, found: Tensor, target: Tensor) -> Tensor:
    """Loss (n_pairs,) of predictions (n_pairs, n_channels), in nats or as Huber loss."""
    if form == "multiplicity":
        return nn.functional.cross_entropy(found, target, reduction="none")
    if form == "bond":
        logit = found.squeeze(1)
        return nn.functional.binary_cross_entropy_with_logits(logit, target, reduction="none")
    return nn.functional.huber_loss(found, target, reduction="none").mean(1)


def constant_losses(form: Form, target: Tensor, weight: Tensor, group: Tensor) -> Tensor:
    """Loss (n_pairs,) if each group of pairs gets the one prediction that is best for it.

    For classes that is their weighted frequencies. For the Huber loss, whose slope at a residual r
    is r clipped to ±1, it is reached by descent; where all residuals are below 1 in one step.
    """
    n_groups = int(group.max()) + 1
    total = weight.new_zeros(n_groups).index_add(0, group, weight).clamp(min=1e-12)
    if form == "pair-rdf":
        best = torch.zeros_like(target[:n_groups])
        residual = target
        for _ in range(5):
            slope = residual.clamp(-1, 1) * weight.unsqueeze(1)
            best = best.index_add(0, group, slope / total[group].unsqueeze(1))
            residual = target - best[group]
        return nn.functional.huber_loss(best[group], target, reduction="none").mean(1)
    n_classes = 6 if form == "multiplicity" else 2
    key = group * n_classes + target.long()
    share = weight.new_zeros(n_groups * n_classes).index_add(0, key, weight)
    return -(share[key] / total[group]).log()


def crystal_mean(each: Tensor, weight: Tensor, crystal: Tensor) -> Tensor:
    """Weighted mean over the pairs of each crystal, then over crystals."""
    n_crystals = int(crystal[-1]) + 1
    total = weight.new_zeros(n_crystals).index_add(0, crystal, weight)
    return (each * weight / total[crystal]).sum() / n_crystals
