"""Mean embeddings of the elements, shrunk where an element is rare."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pymatgen.core import Element

from benchmarks.embeddings.periodic_table import group
from matminer_unate.network.weights import WeightsConfig

ENOUGH_SITES = 20
"""An element seen on fewer sites than this is drawn toward the mean of its group."""


class ElementMeans:
    """Running sums over the sites of each element.

    Attributes
    ----------
    total : (119, d) float64
        By atomic number.
    square : float
        Sum of the squared lengths of all site vectors.
    count : (119,) int64
    """

    def __init__(self, dimension: int) -> None:
        self.total = np.zeros((119, dimension))
        self.square = 0.0
        self.count = np.zeros(119, dtype=np.int64)

    def add(self, z: NDArray[np.int64], sites: NDArray[np.float32]) -> None:
        """Take in sites (n, d) of elements (n,)."""
        vectors = sites.astype(np.float64)
        np.add.at(self.total, z, vectors)
        self.count += np.bincount(z, minlength=119)
        self.square += float(np.square(vectors).sum())

    @property
    def elements(self) -> NDArray[np.int64]:
        """Atomic numbers seen."""
        return np.flatnonzero(self.count)

    def means(self) -> NDArray[np.float64]:
        """Mean vectors of :attr:`elements`, (n_elements, d)."""
        return self.total[self.elements] / self.count[self.elements, None]

    def within_share(self) -> float:
        """1 − SS_between / SS_total: the share of the variance within elements."""
        n = self.count.sum()
        if n < 2:
            return float("nan")
        centre = self.total.sum(axis=0) / n
        around = self.square - n * np.square(centre).sum()
        within = self.square - (self.count[self.elements] @ np.square(self.means()).sum(axis=1))
        return float(within / around)


def empirical_bayes(
    means: ElementMeans,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean vectors of the elements, drawn toward the mean over the elements where they are rare.

    An element's own mean x̄ over its n vectors scatters about its true one with the variance σ²/n,
    and true ones scatter about the mean m over the elements with the variance τ². The best guess is
    w·x̄ + (1 − w)·m with w = τ²/(τ² + σ²/n), and m is the mean of all x̄, weighted by w. Both
    variances are those of a component, averaged over the components: σ² within elements, pooled,
    and τ² the variance of the x̄ less the mean of σ²/n, and at least 0.

    Returns
    -------
    vectors : (n_elements, d)
        Of :attr:`ElementMeans.elements`.
    own_share : (n_elements,)
        w.

    References
    ----------
    Morris, J. Am. Stat. Assoc. 78, 47 (1983), doi:10.1080/01621459.1983.10477920.
    """
    own, n = means.means(), means.count[means.elements].astype(np.float64)
    within = (means.square - n @ np.square(own).sum(axis=1)) / own.shape[1]
    within /= max(n.sum() - len(n), 1)
    between = own.var(axis=0, ddof=1).mean() if len(n) > 1 else 0.0
    between = max(between - within * (1 / n).mean(), 0.0)
    share = between / np.maximum(between + within / n, 1e-12)
    centre = np.average(own, axis=0, weights=share if share.any() else n)
    return share[:, None] * own + (1 - share[:, None]) * centre, share


def component_names(dimension: int) -> list[str]:
    return [f"z_{k:03d}" for k in range(dimension)]


def element_frame(means: ElementMeans, config: WeightsConfig) -> pd.DataFrame:
    """The element table, rare elements shrunk."""
    z = means.elements
    vectors, share = shrink(means.means(), means.count[z], [group(int(n)) for n in z])
    frame = pd.DataFrame(
        {
            "atomic_number": z,
            "symbol": [Element.from_Z(int(n)).symbol for n in z],
            "n_sites": means.count[z],
            "own_share": share.round(4),
        }
    )
    components = pd.DataFrame(vectors.round(5), columns=component_names(config.latent_dim))
    return pd.concat([frame, components], axis=1)


def shrink(
    means: NDArray[np.float64], count: NDArray[np.int64], groups: Sequence[str]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Draw elements with few sites toward the mean of their group in the periodic table.

    w·own + (1 − w)·group with w = min(count / 20, 1). The group's mean is over its elements that
    were seen often enough; in a group without any, over all of its elements, weighted by count.

    Parameters
    ----------
    means : (n_elements, d)
    count : (n_elements,)
        Sites of each.
    groups : sequence of str

    Returns
    -------
    vectors : (n_elements, d)
    own_share : (n_elements,)
        w.
    """
    own = np.minimum(count / ENOUGH_SITES, 1.0)
    shrunk = means.copy()
    named = np.array(groups)
    for k in np.flatnonzero(own < 1):
        members = named == named[k]
        frequent = members & (own == 1)
        centre = (
            means[frequent].mean(axis=0)
            if frequent.any()
            else np.average(means[members], axis=0, weights=count[members])
        )
        shrunk[k] = own[k] * means[k] + (1 - own[k]) * centre
    return shrunk, own
