"""The crystals that are most like a given one, and those that are there twice."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from matminer_unate.crystals.ordering import Disorder
from matminer_unate.errors import InputError, StructureError, WeightsError
from matminer_unate.familiarity.embedding import CrystalEmbedding
from matminer_unate.featurizers.inputs import entries_of, is_many
from matminer_unate.network.encoding import DEFAULT_BATCH_SIZE
from matminer_unate.network.model_folder import MODEL, FolderConfig
from matminer_unate.network.weights import DEFAULT_WEIGHTS, weights_config

ROWS = "rows.json"

DUPLICATE_DISTANCE = 0.1
"""A twentieth of the pairs of polymorphs are nearer; the same geometry is at 0 whatever its cell.
A crystal relaxed anew with another functional is often 0.5 away, some polymorphs too:
``training/results/duplicates.csv``."""

_QUERIES_AT_ONCE = 1_000


@dataclass(frozen=True, kw_only=True)
class IndexConfig(FolderConfig):
    """``config.json`` of a saved index.

    Attributes
    ----------
    weights : str
        Name or folder.
    weights_sha256 : str
    """

    KIND: ClassVar[str] = "index"
    NOUN: ClassVar[str] = "folder of a UnateIndex"
    VERSION: ClassVar[int] = 1

    weights: str
    weights_sha256: str


class UnateIndex:
    """Find the crystals of a table that are most like a given one.

    Crystals are alike where their site embeddings are, on average over the cell: polymorphs of one
    compound, the same structure type with elements of one group. The distance is Euclidean, in
    units of the embedding: 0 for two cells of the same crystal, about 1 for polymorphs, and 10 for
    the nearest crystal where nothing is like it. The search is exact.

    Parameters
    ----------
    structures : list, tuple, Series, one-column DataFrame or array of structures
        May be none; :meth:`add` takes more.
    ids : sequence of str, optional
        One a structure. Default: the index of a Series or DataFrame, or the number of the row.
    weights, device, batch_size
        As of :class:`~matminer_unate.UnateFeaturizer`.
    on_error : {"raise", "nan"}
        What an unusable structure does: stop with an error that names its row, or be a row that is
        like no other, with one warning with the count.
    disorder : {"raise", "ordered", "average"}
        As of :class:`~matminer_unate.UnateFeaturizer`.

    Attributes
    ----------
    ids : list of str
    formulas : list of str
        Reduced; empty for unusable rows.
    embeddings : (n_rows, latent_dim) float32
        NaN in unusable rows.
    errors : dict of int to StructureError
        Why, by row; not saved.

    Notes
    -----
    A row takes 0.5 kB, in memory and saved. Of 10⁶ rows, on one core, a query takes 0.1 s, 1,000 at
    once 6 s, and all duplicates 4 s; 0.7 GB are held, and 1.7 GB at most, when they are saved
    (``training/results/index_size.csv``). The search is that of scikit-learn, by blocks.

    Examples
    --------
    >>> from matminer_unate import UnateIndex
    >>> from matminer_unate.datasets import load_semiconductors
    >>> df = load_semiconductors()
    >>> index = UnateIndex(df["structure"], ids=df["formula"])
    >>> alike = index.query(df["structure"][0], k=3)
    """

    def __init__(
        self,
        structures: Any = (),
        ids: Sequence[Any] | None = None,
        weights: str | Path = DEFAULT_WEIGHTS,
        device: str = "auto",
        batch_size: int = DEFAULT_BATCH_SIZE,
        on_error: Literal["raise", "nan"] = "raise",
        disorder: Disorder = "raise",
    ) -> None:
        self.weights = weights
        self._embedding = CrystalEmbedding(weights, device, batch_size, on_error, disorder)
        self._embedding.fit()
        self.ids: list[str] = []
        self.formulas: list[str] = []
        self.errors: dict[int, StructureError] = {}
        self._blocks: list[NDArray[np.float32]] = []
        self._search: tuple[Any, NDArray[np.int64]] | None = None
        self.add(structures, ids)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def embeddings(self) -> NDArray[np.float32]:
        if len(self._blocks) != 1:
            width = weights_config(self.weights).latent_dim
            self._blocks = [np.concatenate([np.empty((0, width), np.float32), *self._blocks])]
        return self._blocks[0]

    def add(self, structures: Any, ids: Sequence[Any] | None = None) -> Self:
        """Put more structures behind those that are there; parameters as of the class.

        Raises
        ------
        StructureError
            One is unusable; the message names its row.
        InputError
            There are not as many ids.
        """
        structures = list(structures) if isinstance(structures, Iterator) else structures
        given = entries_of(structures)
        if ids is None:
            labelled = isinstance(structures, pd.Series | pd.DataFrame)
            ids = structures.index if labelled else range(len(self), len(self) + len(given))
        if len(ids) != len(given):
            raise InputError(f"{len(given)} structures need {len(given)} ids, got {len(ids)}")
        found, formulas = self._embedding.embed(structures)
        self.errors |= {len(self) + row: error for row, error in found.errors.items()}
        self._blocks.append(found.values)
        self.ids += map(str, ids)
        self.formulas += formulas
        self._search = None
        return self

    def query(self, structures: Any, k: int = 10) -> pd.DataFrame:
        """The ``k`` crystals that are most like a structure, or each of many.

        Parameters
        ----------
        structures : structure, or whatever :meth:`add` takes
        k : int

        Returns
        -------
        DataFrame
            ``row``, ``id``, ``formula`` and ``distance``, the nearest first. Of many, they are
            below each other, with the number of the structure in a first column ``query``; there
            are none of one that is unusable, with ``on_error="nan"``.

        Raises
        ------
        StructureError
            A structure is unusable.
        InputError
            The index is empty, or ``k`` is below 1.
        """
        many = is_many(structures)
        asked, _ = self._embedding.embed(structures if many else [structures])
        found = self.query_embeddings(asked.values, k)
        return found if many else found.drop(columns="query")

    def query_embeddings(self, embeddings: NDArray[np.float32], k: int = 10) -> pd.DataFrame:
        """The same of embeddings of many crystals, as those of another index."""
        if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
            raise InputError(f"k must be a whole number from 1 on, got {k!r}")
        numbers = np.flatnonzero(np.isfinite(embeddings).all(axis=1))
        distances, rows = self._nearest(embeddings[numbers], k)
        return pd.DataFrame(
            {
                "query": np.repeat(numbers, rows.shape[1]),
                "row": rows.ravel(),
                "id": [self.ids[row] for row in rows.ravel()],
                "formula": [self.formulas[row] for row in rows.ravel()],
                "distance": distances.ravel(),
            }
        )

    def duplicates(self, distance: float = DUPLICATE_DISTANCE) -> NDArray[np.int64]:
        """Number of the first row with the same crystal, (n_rows,): its own where there is none.

        Parameters
        ----------
        distance : float
            Rows of one reduced formula that are no farther apart are the same crystal, and what is
            the same as a third is the same.

        Examples
        --------
        >>> first = index.duplicates()                      # doctest: +SKIP
        >>> once = df[first == range(len(df))]              # doctest: +SKIP
        """
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components
        from scipy.spatial import KDTree

        if not distance >= 0:
            raise InputError(f"the distance must be 0 or more, got {distance!r}")
        usable = np.flatnonzero(np.isfinite(self.embeddings).all(axis=1))
        pairs = [np.empty((0, 2), np.int64)]
        formulas = pd.Series([self.formulas[row] for row in usable], dtype=object)
        for group in formulas.groupby(formulas).indices.values():
            if len(group) > 1:
                rows = usable[group]
                # Rounding: the sites of two cells of a crystal are summed in another order.
                near = KDTree(self.embeddings[rows]).query_pairs(
                    distance + 1e-4, output_type="ndarray"
                )
                pairs.append(rows[near])
        one, other = np.concatenate(pairs).T
        graph = coo_array((np.ones(len(one)), (one, other)), (len(self), len(self)))
        part = connected_components(graph, directed=False)[1]
        return np.unique(part, return_index=True)[1][part]

    def save(self, folder: str | Path) -> None:
        """Write the index as ``config.json``, ``rows.json`` and ``model.safetensors``.

        Parameters
        ----------
        folder : path
            Created if need be; files in it are replaced.
        """
        from safetensors.numpy import save

        config = IndexConfig(
            weights=str(self.weights), weights_sha256=weights_config(self.weights).sha256
        )
        rows = json.dumps({"ids": self.ids, "formulas": self.formulas}, ensure_ascii=False)
        files = {MODEL: save({"embeddings": self.embeddings}), ROWS: rows.encode()}
        config.write(Path(folder), files)

    @classmethod
    def load(
        cls,
        folder: str | Path,
        weights: str | Path | None = None,
        device: str = "auto",
        batch_size: int = DEFAULT_BATCH_SIZE,
        on_error: Literal["raise", "nan"] = "raise",
        disorder: Disorder = "raise",
    ) -> Self:
        """Read an index that :meth:`save` wrote; no pickle is involved.

        Parameters
        ----------
        folder : path
        weights : str or path, optional
            Where the weights are now, if not where they were.
        device, batch_size, on_error, disorder
            As of the class, for further structures.

        Raises
        ------
        WeightsError
            A file is missing or damaged, or the weights are not those of the index.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load

        folder = Path(folder).expanduser()
        config = IndexConfig.read(folder)
        content = config.read_files(folder)
        weights = config.weights if weights is None else weights
        if weights_config(weights).sha256 != config.weights_sha256:
            raise WeightsError(
                f"{folder} was made with other weights than {weights!r} are now; make it again, or "
                "pass the folder of the former ones as weights="
            )
        index = cls((), None, weights, device, batch_size, on_error, disorder)
        try:
            rows = json.loads(content[ROWS])
            index.ids, index.formulas = rows["ids"], rows["formulas"]
            index._blocks = [load(content[MODEL])["embeddings"]]
        except (SafetensorError, json.JSONDecodeError, KeyError, TypeError) as e:
            raise WeightsError(f"{folder} is malformed ({e}); save the index again") from e
        if index.embeddings.shape != (len(index.ids), weights_config(weights).latent_dim):
            raise WeightsError(f"{folder}: {MODEL} does not fit {ROWS}; save the index again")
        return index

    def _nearest(
        self, embeddings: NDArray[np.float32], k: int
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Distances and rows of the nearest, (n, k) each."""
        from sklearn.neighbors import NearestNeighbors

        if self._search is None:
            rows = np.flatnonzero(np.isfinite(self.embeddings).all(axis=1))
            if not len(rows):
                raise InputError("the index holds no crystals yet; add() some")
            whole = len(rows) == len(self)
            kept = self.embeddings if whole else self.embeddings[rows]
            self._search = NearestNeighbors(algorithm="brute").fit(kept), rows
        search, rows = self._search
        k = min(k, len(rows))
        distances, found = np.empty((len(embeddings), k)), np.empty((len(embeddings), k), np.int64)
        for start in range(0, len(embeddings), _QUERIES_AT_ONCE):
            part = slice(start, start + _QUERIES_AT_ONCE)
            _, found[part] = search.kneighbors(embeddings[part], k)
            # The search squares and subtracts large numbers; near ones deserve to be exact.
            apart = embeddings[part, None].astype(np.float64) - self.embeddings[rows[found[part]]]
            distances[part] = np.linalg.norm(apart, axis=-1)
        order = np.argsort(distances, axis=1, kind="stable")
        nearest = np.take_along_axis(rows[found], order, axis=1)
        return np.take_along_axis(distances, order, axis=1), nearest
