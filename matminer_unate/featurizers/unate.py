"""DataFrame of structures in, DataFrame of learned columns out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from matminer_unate.crystals.checked import CheckedCrystal
from matminer_unate.crystals.graph import RadiusGraph, radius_graph
from matminer_unate.crystals.neighbours import ISOLATED
from matminer_unate.crystals.ordering import AVERAGING, Disorder
from matminer_unate.crystals.structures import CrystalArrays
from matminer_unate.featurizers.base import StructureFeaturizer
from matminer_unate.featurizers.column_meanings import ColumnMeaning, learned
from matminer_unate.featurizers.inputs import entries_of, index_of, is_many
from matminer_unate.featurizers.pooling import check_pooling, pooled
from matminer_unate.featurizers.rows import (
    ALONE,
    Columns,
    Computed,
    PreparedCrystal,
    RowNotes,
    prepare_rows,
)
from matminer_unate.network.encoding import DEFAULT_BATCH_SIZE, check_batch_size, encode, load
from matminer_unate.network.weights import DEFAULT_WEIGHTS, WeightsConfig, weights_config

_UNATE = """@misc{unate,
    title = {UNATE},
    author = {Sol\\'e and Ruiz-Hidalgo and Sola-Garcia},
    eprint = {2605.25866},
    archivePrefix = {arXiv}}"""

_CARTNET = """@misc{cartnet,
    title = {A Cartesian Encoding Graph Neural Network for Crystal Structures Property Prediction:
        Application to Thermal Ellipsoid Estimation},
    author = {Sol\\'e, \\`Alex and Mosella-Montoro, Albert and Cardona, Joan and G\\'omez-Coca,
    Silvia
        and Aravena, Daniel and Ruiz, Eliseo and Ruiz-Hidalgo, Javier},
    year = {2025},
    eprint = {2501.18369},
    archivePrefix = {arXiv}}"""


class UnateFeaturizer(StructureFeaturizer):
    """Learned columns for crystal structures, from a pretrained site encoder.

    Every site gets an embedding that describes its element and its surroundings, learned from
    unlabeled crystals by denoising and contrasting corrupted views (UNATE). The embeddings of a
    crystal's sites are pooled into columns for a regressor of your choice.

    The columns do not change when the crystal is rotated, reflected or shifted, when its sites are
    reordered, or (``sum`` apart) when another cell of the same crystal is given.

    Features:

    ``unate_<weights>_<pooling>_l<layer>_<channel>``
        A channel of the encoder's site state after a layer, pooled over the sites of the cell.
        Layer 0 describes the element alone, layer *n* its surroundings up to *n* cutoffs away.
        Before pooling, each channel has mean 0 and standard deviation 1 over the sites of the
        pretraining crystals. Weights can name the site embedding instead: ``…_z_<component>``.

    ``unate_<weights>_<pooling>_<quantity>``, ``unate_<weights>_<quantity>``
        Quantities of sites, pooled, and of crystals that pretraining taught the network to predict,
        in the same units of spread. :meth:`describe_columns` has the meaning of each column.

    Parameters
    ----------
    weights : str or path
        Name of weights that come with the package, or a weights folder of your own.
    pooling : str or sequence of {"mean", "std", "min", "max", "sum"}
        In the order of the columns. ``sum`` grows with the cell. On gaps and bulk moduli all sets
        with ``mean`` are level within 1 %, ``mean`` alone too: take it where fewer columns are
        wanted.
    device : str
        ``"auto"`` (CUDA where there is one), ``"cpu"``, ``"cuda"``, ``"cuda:1"``, …
    batch_size : int
        Edges encoded at once. A crystal of 10 sites has about 250. Memory is bounded by this, not
        by the number of rows; a crystal with more edges takes about 1 kB for each of them.
    on_error : {"raise", "nan"}
        What an unusable structure does: stop with an error that names its row, or give a row of
        NaN and one warning with the count.
    disorder : {"raise", "ordered", "average"}
        What a crystal with sites of mixed or partial occupancy is: unusable; or replaced by an
        ordered one (:func:`~matminer_unate.ordered_structure`); or encoded as it is, each element
        of a site as a site of its own, which counts with its occupancy where its neighbours add up
        what surrounds them and in pooling, and sees nothing of the others on its site. (``min`` and
        ``max``, and the columns of crystals, which are made of these, count all alike.) With one
        warning with the count.

    Notes
    -----
    * Elements the weights have not seen are encoded as masked species, with a warning.
    * An atom with no neighbour within 0.85 cutoffs is encoded with its neighbours drawn in, with a
      warning: ever more the farther they are, so that no column jumps where the last one leaves.
    * Rows are batched inside this process; ``set_n_jobs`` has no effect.

    References
    ----------
    UNATE, arXiv:2605.25866. CartNet, arXiv:2501.18369.

    Examples
    --------
    >>> from matminer_unate import UnateFeaturizer
    >>> from matminer_unate.datasets import load_semiconductors
    >>> df = load_semiconductors().head(20)
    >>> df = UnateFeaturizer().featurize_dataframe(df, "structure", pbar=False)
    """

    _disorders: ClassVar[tuple[Disorder, ...]] = AVERAGING

    def __init__(
        self,
        weights: str | Path = DEFAULT_WEIGHTS,
        pooling: str | Sequence[str] = ("mean", "std"),
        device: str = "auto",
        batch_size: int = DEFAULT_BATCH_SIZE,
        on_error: Literal["raise", "nan"] = "raise",
        disorder: Disorder = "raise",
    ) -> None:
        self.weights = weights
        self.pooling = pooling
        self.device = device
        self.batch_size = batch_size
        self.on_error = on_error
        self.disorder = disorder

    def embed_sites(self, structures: Any) -> Any:
        """Embeddings of the sites of one crystal, or of each of many.

        Parameters
        ----------
        structures : structure, or whatever :meth:`transform` takes
            Many are embedded in batches.

        Returns
        -------
        (n_sites, latent_dim) float32, or a list of such
            One row a site, in the order of the structure, or of
            :func:`~matminer_unate.ordered_structure` of one that is ordered first; of an average,
            a row for each element of a site. With ``on_error="nan"``, an unusable structure among
            many has no rows.

        Raises
        ------
        StructureError
            A structure is unusable; among many, the message names its row.
        """
        if is_many(structures):
            index = index_of(structures)
            return self._embed_many(entries_of(structures), index, self.on_error == "nan")
        (vectors,) = self._embed_many([structures], ALONE, False)
        return vectors

    def _embed_many(
        self, structures: list[Any], index: Sequence[Any] | None, ignore_errors: bool
    ) -> list[NDArray[np.float32]]:
        sites = [np.empty((0, weights_config(self.weights).latent_dim), np.float32)] * len(
            structures
        )
        no_columns = np.empty((len(structures), 0), np.float32)
        found = Columns(no_columns, {}, self._notes(), index, ignore_errors)

        def graphs() -> Iterator[tuple[int, RadiusGraph]]:
            for row, crystal in prepare_rows(structures, self._preparer(), found.fail):
                found.notes.read(crystal, row)
                yield row, crystal.graph

        for row, vectors in embed(graphs(), self.weights, self.device, self.batch_size):
            sites[row] = vectors
        found.warn(mention_errors=True, outcome="have no rows")
        return sites

    def fit(self, X: Any = None, y: Any = None, **fit_kwargs: Any) -> Self:
        """Check the options and load the weights; nothing is learned from ``X``."""
        super().fit(X, y)
        load(self.weights, self.device)
        return self

    def citations(self) -> list[str]:
        """BibTeX of the method and of the encoder."""
        return [_UNATE, _CARTNET]

    def _generate_column_labels(self, multiindex: bool, return_errors: bool) -> Any:
        # MultipleFeaturizer asks for the labels just before it forks its workers. Loading the
        # network here lets all of them share it; otherwise each would import torch anew.
        load(self.weights, self.device)
        return super()._generate_column_labels(multiindex, return_errors)

    def _check_options(self) -> None:
        super()._check_options()
        check_batch_size(self.batch_size)
        check_pooling(self.pooling)
        weights_config(self.weights)

    def _prepare(self, structure: Any) -> PreparedCrystal:
        return self._preparer()(structure)

    def _preparer(self) -> Callable[[Any], PreparedCrystal]:
        return partial(prepare, config=weights_config(self.weights), disorder=self.disorder)

    def _column_meanings(self) -> list[ColumnMeaning]:
        config = weights_config(self.weights)
        prefix, pooling = f"unate_{config.name}", check_pooling(self.pooling)
        sites = [learned(prefix, label, how) for how in pooling for label in config.site_labels]
        return sites + [learned(prefix, label) for label in config.crystal_labels]

    def _describe(self, crystals: Iterator[tuple[int, PreparedCrystal]]) -> Iterator[Computed]:
        graphs = ((row, crystal.graph) for row, crystal in crystals)
        pooling = check_pooling(self.pooling)
        for batch in encode(graphs, self.weights, self.device, self.batch_size, "columns"):
            yield batch.rows, pooled(batch, pooling)

    def _notes(self) -> RowNotes:
        return EncodingNotes(weights_config(self.weights))


@dataclass
class EncodingNotes(RowNotes):
    """What a caller should know of rows that were encoded all the same.

    Attributes
    ----------
    config : WeightsConfig
    """

    config: WeightsConfig

    def about_unknown(self, symbols: str) -> str:
        return (
            f"elements the weights {self.config.name!r} have not seen ({symbols}); these sites are "
            "encoded as masked species"
        )

    def about_isolated(self) -> str:
        return (
            f"atoms with no neighbour within {ISOLATED * self.config.cutoff:.3g} Å; these are "
            "encoded with their neighbours drawn in, which is right for large ions (CsI); for "
            "others, see whether the cell is in Å"
        )


def prepare(crystal: Any, config: WeightsConfig, disorder: Disorder = "raise") -> PreparedCrystal:
    """Check one input and build its graph, as the network of these weights reads it.

    Raises
    ------
    StructureError
        With the reason and the cure.
    """
    checked = CheckedCrystal.of(crystal, disorder)
    z = checked.atomic_numbers
    unknown = frozenset(z[~config.is_known[z]].tolist())
    graph = checked.graph(config.cutoff)
    graph = _masked(graph, config) if unknown else graph
    return PreparedCrystal(graph, unknown, resolution=checked.resolution)


def masked_graph(crystal: CrystalArrays, config: WeightsConfig) -> RadiusGraph:
    """Graph of a crystal in which species that the weights do not know are 0, the masked one."""
    return _masked(radius_graph(*crystal, config.cutoff), config)


def _masked(graph: RadiusGraph, config: WeightsConfig) -> RadiusGraph:
    z = graph.atomic_numbers
    return replace(graph, atomic_numbers=z * config.is_known[z])


def embed(
    graphs: Iterable[tuple[int, RadiusGraph]],
    weights: str | Path,
    device: str = "auto",
    batch_size: int = DEFAULT_BATCH_SIZE,
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Embeddings of the sites of numbered graphs: each number with (n_sites, latent_dim)."""
    for batch in encode(graphs, weights, device, batch_size, "embedding"):
        parts = np.split(batch.sites, batch.site_start[1:-1])
        yield from zip(batch.rows, parts, strict=True)
