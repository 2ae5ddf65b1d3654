"""What sites a pretraining corpus has, in half a megabyte beside the weights."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from matminer_unate.errors import WeightsError
from matminer_unate.io.whole_files import fresh_file
from matminer_unate.network.weights import weights_config, weights_folder

SUMMARY = "corpus_summary.safetensors"

FORMAT = 1

N_CENTRES = 2_000

Scores = NDArray[np.float64]


@dataclass(frozen=True)
class CorpusSummary:
    """Centres of the site embeddings of a corpus, and how far held-out crystals are from them.

    A site is as novel as it is far from the nearest centre. A crystal has two scores: the mean of
    the distances of its sites, and the largest distance in units of its centre's own spread, which
    tells of a single odd site in a large cell.

    Attributes
    ----------
    centres : (n_centres, latent_dim) float32
        Of k-means over the sites of the corpus.
    spreads : (n_centres,) float32
        Median distance of the sites of each centre from it; at least 0.3 of the median over all.
    held_out : (3, n_crystals) float64
        Ascending, of crystals whose formulas pretraining has not seen: both scores, and the mean of
        their percentiles.
    """

    centres: NDArray[np.float32]
    spreads: NDArray[np.float32]
    held_out: Scores

    @classmethod
    def of(
        cls,
        corpus: Iterable[NDArray[np.float32]],
        held_out: Sequence[NDArray[np.float32]],
        n_sites: int = 60_000,
        seed: int = 0,
    ) -> CorpusSummary:
        """From site embeddings, (n_sites, latent_dim) of each crystal.

        Parameters
        ----------
        corpus : iterable
            Of the crystals of pretraining.
        held_out : sequence
            Of crystals of other formulas.
        n_sites : int
            A random choice of the sites, for k-means.
        seed : int
        """
        from sklearn.cluster import MiniBatchKMeans

        rng = np.random.default_rng(seed)
        sites = np.concatenate(list(corpus))
        sites = sites[rng.permutation(len(sites))[:n_sites]]
        n = min(N_CENTRES, len(sites))
        means = MiniBatchKMeans(n, random_state=seed, n_init=1, batch_size=4096, max_iter=30)
        # What is saved is what is measured with.
        centres = means.fit(sites).cluster_centers_.astype(np.float16).astype(np.float32)
        distances, nearest = _nearest_centres(sites, centres)
        spreads = np.full(n, np.nan, np.float32)
        for centre in np.unique(nearest):
            spreads[centre] = np.median(distances[nearest == centre])
        usual = np.nanmedian(spreads)
        spreads = np.fmax(np.where(np.isnan(spreads), usual, spreads), 0.3 * usual)
        summary = cls(centres, spreads.astype(np.float32), np.empty((3, 0)))
        start = np.cumsum([0, *map(len, held_out)])
        scores = summary.scores(np.concatenate(held_out), start)
        both = np.sort(scores, axis=1)
        shares = [_share_below(*pair) for pair in zip(both, scores, strict=True)]
        together = np.sort(np.mean(shares, axis=0))
        return cls(centres, summary.spreads, np.vstack([both, together]))

    def scores(self, sites: NDArray[np.float32], site_start: NDArray[np.int64]) -> Scores:
        """Mean distance, and largest relative one, of the sites of crystals, (2, n_crystals).

        Parameters
        ----------
        sites : (n_sites, latent_dim)
            Of all crystals in turn.
        site_start : (n_crystals + 1,)
        """
        distances, nearest = _nearest_centres(sites, self.centres)
        starts, counts = site_start[:-1], np.diff(site_start)
        mean = np.add.reduceat(distances, starts) / counts
        return np.stack([mean, np.maximum.reduceat(distances / self.spreads[nearest], starts)])

    def percentiles(self, scores: Scores) -> Scores:
        """Share of the held-out crystals that are less novel, (3, n_crystals).

        By both scores, and by the mean of these two shares.
        """
        shares = [_share_below(*pair) for pair in zip(self.held_out[:2], scores, strict=True)]
        return np.stack([*shares, _share_below(self.held_out[2], np.mean(shares, axis=0))])

    def write(self, weights: str | Path, about: dict[str, Any]) -> Path:
        """Put the summary into the folder of the weights; returns where it is.

        Parameters
        ----------
        weights : str or path
        about : dict
            For the record: what the corpus is.
        """
        from safetensors.numpy import save

        note = {
            "format_version": FORMAT,
            "weights_sha256": weights_config(weights).sha256,
            "corpus": about,
        }
        arrays: dict[str, NDArray[Any]] = {
            "centres": self.centres.astype(np.float16),
            "spreads": self.spreads,
            "held_out": self.held_out.astype(np.float32),
        }
        path = weights_folder(weights) / SUMMARY
        with fresh_file(path) as part:
            part.write_bytes(save(arrays, {"about": json.dumps(note)}))
        return path

    @staticmethod
    def is_there(weights: str | Path) -> bool:
        """Whether the folder of the weights has a summary."""
        return (weights_folder(weights) / SUMMARY).is_file()

    @classmethod
    def read(cls, weights: str | Path) -> CorpusSummary:
        """The summary in the folder of the weights, read once.

        Raises
        ------
        WeightsError
            There is none, it is damaged, or of other weights.
        """
        path = weights_folder(weights) / SUMMARY
        changed = path.stat().st_mtime_ns if path.is_file() else 0
        return _read(path, weights_config(weights).sha256, changed)


@lru_cache(maxsize=4)
def _read(path: Path, weights_sha256: str, _changed: int) -> CorpusSummary:
    from safetensors import SafetensorError, safe_open

    cure = "make it with training/corpus_summary.py"
    if not path.is_file():
        raise WeightsError(f"{path.parent} has no {SUMMARY}; {cure}")
    try:
        with safe_open(path, "numpy") as file:
            note = json.loads(file.metadata()["about"])
            found = [file.get_tensor(name) for name in ("centres", "spreads", "held_out")]
    except (SafetensorError, KeyError, TypeError, json.JSONDecodeError) as e:
        raise WeightsError(f"{path} is damaged ({e}); {cure}") from e
    if (note["format_version"], note["weights_sha256"]) != (FORMAT, weights_sha256):
        raise WeightsError(f"{path} is of other weights, or of another format; {cure} anew")
    centres, spreads, held_out = found
    return CorpusSummary(centres.astype(np.float32), spreads, held_out.astype(np.float64))


def _nearest_centres(
    sites: NDArray[np.float32], centres: NDArray[np.float32]
) -> tuple[Scores, NDArray[np.int64]]:
    """Distance of each site to the nearest centre, and which one that is."""
    from sklearn.metrics import pairwise_distances_argmin_min

    nearest, distances = pairwise_distances_argmin_min(sites, centres)
    return distances.astype(np.float64), nearest


def _share_below(ascending: Scores, values: Scores) -> Scores:
    return np.searchsorted(ascending, values) / max(len(ascending), 1)
