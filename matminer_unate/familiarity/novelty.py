"""DataFrame of structures in, columns out that say how little these look like what was seen."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from matminer_unate.crystals.ordering import ORDERING, Disorder
from matminer_unate.errors import InputError
from matminer_unate.familiarity.corpus_summary import CorpusSummary
from matminer_unate.familiarity.embedding import CrystalEmbedding, mean_embedding
from matminer_unate.featurizers.column_meanings import ColumnMeaning
from matminer_unate.featurizers.inputs import is_many
from matminer_unate.featurizers.rows import Computed, PreparedCrystal
from matminer_unate.network.encoding import DEFAULT_BATCH_SIZE, encode
from matminer_unate.network.weights import DEFAULT_WEIGHTS, weights_config

FAMILIAR = 0.99
"""Beyond it, a crystal is more novel than all but one in a hundred of held-out formulas."""

_ROWS_AT_ONCE = 500


class UnateNovelty(CrystalEmbedding):
    """How far crystals are from those that the weights, and a model of yours, have seen.

    Distances in the space of the site embeddings, told as the share of ordinary crystals of unseen
    formulas that are nearer: 0.5 is usual, above 0.99 the crystal is of another kind, or broken.

    Features:

    ``novelty_<weights>``
        From the pretraining corpus: the mean of the next two, as a share again.
    ``novelty_<weights>_mean_site``, ``novelty_<weights>_oddest_site``
        The mean distance of the sites from the nearest of 2,000 centres of the corpus, and the
        largest in units of the spread around that centre. New chemistry shows in the first, a
        misplaced atom or a surface in the second.
    ``novelty_<weights>_to_training``
        After :meth:`fit` to structures only: the distance of the mean embedding from the nearest of
        these, as the share of them that are nearer to all of other formulas.

    Parameters
    ----------
    weights : str or path
        Name of weights that come with the package, or a folder with a ``corpus_summary`` file.
    device, batch_size
        As of :class:`~matminer_unate.UnateFeaturizer`.
    on_error : {"raise", "nan"}
        What an unusable structure does: stop with an error that names its row, or give a row of
        NaN and one warning with the count.
    disorder : {"raise", "ordered"}
        As of :class:`~matminer_unate.UnateFeaturizer`.

    Notes
    -----
    * Denoising has made the network blind to small displacements, and so are these columns:
      rattling by 0.05 Å does not show. ``training/results/novelty.csv`` says what does.
    * A crystal can be familiar and yet be predicted badly, where its property hangs on what the
      training rows do not vary in.

    Examples
    --------
    >>> from matminer_unate import UnateNovelty
    >>> from matminer_unate.datasets import load_semiconductors
    >>> df = load_semiconductors()
    >>> novelty = UnateNovelty().fit(df["structure"][20:60])
    >>> columns = novelty.transform(df["structure"][:20])
    >>> familiar = novelty.is_familiar(df["structure"][:20])
    """

    _disorders: ClassVar[tuple[Disorder, ...]] = ORDERING

    def __init__(
        self,
        weights: str | Path = DEFAULT_WEIGHTS,
        device: str = "auto",
        batch_size: int = DEFAULT_BATCH_SIZE,
        on_error: Literal["raise", "nan"] = "raise",
        disorder: Disorder = "raise",
    ) -> None:
        super().__init__(weights, device, batch_size, on_error, disorder)

    def fit(self, X: Any = None, y: Any = None, **fit_kwargs: Any) -> Self:
        """Remember the structures that a model was, or is to be, trained on.

        Parameters
        ----------
        X : list, tuple, Series, one-column DataFrame or array of structures, optional
            None for the novelty to the pretraining corpus alone.
        """
        if isinstance(X, Iterator):
            raise InputError("pass a list of structures; an iterator can be read only once")
        self._training: NDArray[np.float32] | None = None
        super().fit()
        if X is not None:
            given = self.weights, self.device, self.batch_size
            on_error: Literal["raise", "nan"] = "nan" if self.on_error == "nan" else "raise"
            space = CrystalEmbedding(*given, on_error, self.disorder)
            found, formulas = space.embed(X)
            usable = np.isfinite(found.values).all(axis=1)
            names = np.array(formulas, dtype=object)[usable]
            if len(set(names)) < 2:
                raise InputError("fit() needs structures of two reduced formulas at least")
            self._training = found.values[usable]
            self._embedded_by = weights_config(self.weights).sha256
            self._apart = np.sort(_distances_to_others(self._training, names))
        return self

    def is_familiar(self, structures: Any, limit: float = FAMILIAR) -> Any:
        """Whether a structure is less novel than this, by every column; (n_rows,) of many.

        Parameters
        ----------
        structures : structure, or whatever :meth:`transform` takes
            Unusable ones raise, or are not familiar, with ``on_error="nan"``.
        limit : float
            Share of ordinary crystals that are to pass, by each column.
        """
        many = is_many(structures)
        values = self.transform(structures if many else [structures])
        with np.errstate(invalid="ignore"):
            familiar = np.atleast_1d((values < limit).all(axis=1))
        return familiar if many else bool(familiar[0])

    def _check_options(self) -> None:
        super()._check_options()
        CorpusSummary.read(self.weights)
        if self._is_fitted and weights_config(self.weights).sha256 != self._embedded_by:
            raise InputError(
                f"the weights {self.weights!r} are not those of the fit; fit again, or set weights "
                "to the former ones"
            )

    def _column_meanings(self) -> list[ColumnMeaning]:
        prefix = f"novelty_{weights_config(self.weights).name}"
        of_corpus = "share of held-out crystals that are nearer to the pretraining corpus"
        meanings = [
            (prefix, "", f"{of_corpus}, by both of the next together"),
            (f"{prefix}_mean_site", "", f"{of_corpus}, by the mean over the sites"),
            (f"{prefix}_oddest_site", "", f"{of_corpus}, by the farthest of the sites"),
        ]
        if self._is_fitted:
            text = "share of the structures of fit() that are nearer to all of other formulas"
            meanings.append((f"{prefix}_to_training", "", text))
        return meanings

    @property
    def _is_fitted(self) -> bool:
        return getattr(self, "_training", None) is not None

    def _describe(self, crystals: Iterator[tuple[int, PreparedCrystal]]) -> Iterator[Computed]:
        summary = CorpusSummary.read(self.weights)
        graphs = ((row, crystal.graph) for row, crystal in crystals)
        for batch in encode(graphs, self.weights, self.device, self.batch_size, "embedding"):
            shares = summary.percentiles(summary.scores(batch.sites, batch.site_start))
            columns = [shares[2], shares[0], shares[1]]
            if self._is_fitted:
                columns.append(self._to_training(mean_embedding(batch)))
            yield batch.rows, np.column_stack(columns).astype(np.float32)

    def _to_training(self, embeddings: NDArray[np.float32]) -> NDArray[np.float64]:
        from sklearn.metrics import pairwise_distances_argmin_min

        _, distances = pairwise_distances_argmin_min(embeddings, self._training)
        return np.searchsorted(self._apart, distances) / len(self._apart)


def _distances_to_others(
    embeddings: NDArray[np.float32], formulas: NDArray[Any]
) -> NDArray[np.float64]:
    """Distance of each crystal to the nearest of another formula, (n_crystals,)."""
    from sklearn.metrics import pairwise_distances

    found = np.empty(len(embeddings))
    for start in range(0, len(embeddings), _ROWS_AT_ONCE):
        part = slice(start, start + _ROWS_AT_ONCE)
        distances = pairwise_distances(embeddings[part], embeddings)
        distances[formulas[part, None] == formulas] = np.inf
        found[part] = distances.min(axis=1)
    return found
