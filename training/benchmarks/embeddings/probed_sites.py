"""Sites with known answers: geometry, oxidation states, and their embeddings."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pymatgen.analysis.bond_valence import BVAnalyzer
from pymatgen.core import Lattice, Structure

from benchmarks.embeddings.site_tables import embed
from corpora.crystal import Crystal
from matminer_unate.crystals.graph import radius_graph

Floats = NDArray[np.float64]

PROBED_TARGETS = ("coordination number", "nearest-neighbour distance", "oxidation state")

SHELL = 1.15
"""Neighbours within this many nearest-neighbour distances are coordinated. It leaves the second
shell of a body-centred cubic crystal (1.155) outside and takes in most distorted polyhedra."""

REACH = 6.0
"""Å. Neighbours are looked for within; wider than the encoder's cutoff, so that the first shell of
large atoms is whole."""

FEWEST_SITES = 10
"""Sites that an element must have in the train part for its mean to be subtracted."""

VALENCE_CRYSTALS, VALENCE_SITES = 600, 12
"""Crystals to fit on, and sites a cell at most, for which the slow valence analysis is run."""


@dataclass(frozen=True)
class Sites:
    """Sites of crystals of two parts.

    Attributes
    ----------
    crystals : list of Crystal
        All their sites in turn are the sites.
    z : (n_sites,) int64
    formula : (n_sites,) object
    held_out : (n_sites,) bool
        Whether the site's formula is of the part to score on.
    targets : dict of str to (n_sites,)
        By :data:`PROBED_TARGETS`; NaN where unknown.
    """

    crystals: list[Crystal]
    z: NDArray[np.int64]
    formula: NDArray[np.object_]
    held_out: NDArray[np.bool_]
    targets: dict[str, Floats]

    def few_of_each(self, most: int = 200, total: int = 3_000) -> NDArray[np.int64]:
        """Numbers of a random choice of sites with no more than ``most`` of an element."""
        mixed = np.random.default_rng(0).permutation(len(self.z))
        few = np.concatenate([mixed[self.z[mixed] == n][:most] for n in np.unique(self.z)])
        return np.sort(np.random.default_rng(0).permutation(few)[:total])


def site_sample(train: Sequence[Crystal], val: Sequence[Crystal], n_crystals: int) -> Sites:
    """A random choice of crystals with the targets of their sites.

    Parameters
    ----------
    train, val : sequence of Crystal
        To fit and to score on.
    n_crystals : int
        Of ``train``; a third as many of ``val``.
    """
    rng = np.random.default_rng(0)
    parts = []
    for crystals, most in ((train, n_crystals), (val, n_crystals // 3)):
        chosen = rng.permutation(len(crystals))[:most]
        parts.append([crystals[i] for i in chosen])
    crystals = parts[0] + parts[1]
    n_sites = [len(c.atomic_numbers) for c in crystals]
    geometry = np.concatenate([shell(c) for c in crystals])
    valence = [
        oxidation_states(c) if k < most else np.full(len(c.atomic_numbers), np.nan)
        for part, most in zip(parts, (VALENCE_CRYSTALS, VALENCE_CRYSTALS // 2), strict=True)
        for k, c in enumerate(part)
    ]
    targets = dict(zip(PROBED_TARGETS, [*geometry.T, np.concatenate(valence)], strict=True))
    return Sites(
        crystals,
        np.concatenate([c.atomic_numbers for c in crystals]),
        np.repeat(np.array([c.formula for c in crystals], dtype=object), n_sites),
        np.repeat(np.arange(len(crystals)) >= len(parts[0]), n_sites),
        targets,
    )


def shell(crystal: Crystal) -> Floats:
    """Coordination number and nearest-neighbour distance (Å) of each site, (n_sites, 2).

    NaN in a crystal with a site that has nobody within :data:`REACH`, and at sites whose first
    shell does not end there.
    """
    z = crystal.atomic_numbers
    graph = radius_graph(crystal.lattice, crystal.frac_coords, z, REACH, draw_in=False)
    if graph.n_isolated:
        return np.full((len(z), 2), np.nan)
    distance = np.linalg.norm(graph.edge_vector, axis=1).astype(np.float64)
    target = graph.edge_index[1]
    nearest = np.full(len(z), np.inf)
    np.minimum.at(nearest, target, distance)
    number = np.bincount(target[distance <= SHELL * nearest[target]], minlength=len(z))
    found = np.stack([number, nearest], axis=1)
    found[nearest * SHELL > REACH] = np.nan
    return found


def oxidation_states(crystal: Crystal) -> Floats:
    """Oxidation states by bond valences, (n_sites,); NaN where the analysis finds none.

    References
    ----------
    M. O'Keeffe and N. E. Brese, J. Am. Chem. Soc. 113, 3226 (1991), as in pymatgen's BVAnalyzer.
    """
    z = crystal.atomic_numbers
    nothing = np.full(len(z), np.nan)
    if len(z) > VALENCE_SITES or len(np.unique(z)) == 1:
        return nothing
    structure = Structure(Lattice(crystal.lattice), z.tolist(), crystal.frac_coords)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of symmetry that spglib does not find
        try:
            return np.array(BVAnalyzer(max_permutations=2_000).get_valences(structure), dtype=float)
        except (ValueError, KeyError):
            return nothing


def embed_sample(sample: Sites, weights: str | Path) -> Floats:
    """Site embeddings of the sample, (n_sites, d)."""
    return np.concatenate([b.sites for b in embed(sample.crystals, weights)]).astype(np.float64)


def centred(
    vectors: Floats,
    target: Floats,
    z: NDArray[np.int64],
    fit: NDArray[np.bool_],
    use: NDArray[np.bool_],
) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Subtract the mean of each element from vectors and target.

    Parameters
    ----------
    vectors : (n_sites, d)
    target, z, fit, use : (n_sites,)
        The means are over the sites of ``fit``.

    Returns
    -------
    vectors, target
    use : (n_sites,) bool
        Without the sites of elements with too few sites to fit on.
    """
    vectors, target, use = vectors.copy(), target.copy(), use.copy()
    for n in np.unique(z):
        own = z == n
        members = own & fit
        if members.sum() < FEWEST_SITES:
            use[own] = False
            continue
        vectors[own] -= vectors[members].mean(axis=0)
        target[own] -= target[members].mean()
    return vectors, target, use
