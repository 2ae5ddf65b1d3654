"""DataFrame of structures in, DataFrame of learned columns out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from matminer_unate.crystals.graph import radius_graph
from matminer_unate.crystals.neighbours import ISOLATED
from matminer_unate.crystals.structures import crystal_arrays
from matminer_unate.errors import warn_user
from matminer_unate.featurizers.base import StructureFeaturizer
from matminer_unate.featurizers.pooling import check_pooling, pooled
from matminer_unate.featurizers.rows import (
    ALONE,
    Columns,
    Computed,
    PreparedCrystal,
    RowNotes,
    fill_columns,
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

    def __init__(
        self,
        weights: str | Path = DEFAULT_WEIGHTS,
        pooling: str | Sequence[str] = ("mean", "std"),
        device: str = "auto",
        batch_size: int = DEFAULT_BATCH_SIZE,
        on_error: Literal["raise", "nan"] = "raise",
    ) -> None:
        self.weights = weights
        self.pooling = pooling
        self.device = device
        self.batch_size = batch_size
        self.on_error = on_error

    def embed_sites(self, structure: Any) -> NDArray[np.float32]:
        """Embeddings of the sites of one crystal, (n_sites, latent_dim) float32.

        Raises
        ------
        StructureError
            The structure is unusable.
        """
        config = weights_config(self.weights)
        prepared = prepare(structure, config)
        notes = EncodingNotes(config)
        notes.read(prepared)
        graphs = [(0, prepared.graph)]
        (encoded,) = encode(graphs, self.weights, self.device, self.batch_size, "embedding")
        for text in notes.texts(ALONE):
            warn_user(text)
        return encoded.sites

    def fit(self, X: Any = None, y: Any = None, **fit_kwargs: Any) -> Self:
        """Check the options and load the weights; nothing is learned from ``X``."""
        super().fit(X, y)
        load(self.weights, self.device)
        return self

    def feature_labels(self) -> list[str]:
        """Column names: weights, pooling, layer, channel."""
        self._check_options()
        pooling, config = check_pooling(self.pooling), weights_config(self.weights)
        pooled = [f"{name}_{component}" for name in pooling for component in config.site_labels]
        return [f"unate_{config.name}_{label}" for label in pooled + config.crystal_labels]

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
        return prepare(structure, weights_config(self.weights))

    def _columns(
        self,
        structures: Sequence[Any],
        ignore_errors: bool,
        index: Sequence[Any] | None,
        progress: Callable[[int], Any],
    ) -> Columns:
        return compute_columns(
            structures,
            self.weights,
            check_pooling(self.pooling),
            self.device,
            self.batch_size,
            ignore_errors,
            index,
            progress,
        )


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
            "encoded with their neighbours drawn in"
        )


def compute_columns(
    structures: Sequence[Any],
    weights: str | Path,
    pooling: Sequence[str],
    device: str,
    batch_size: int,
    ignore_errors: bool,
    index: Sequence[Any] | None = None,
    progress: Callable[[int], Any] = lambda n: None,
) -> Columns:
    """Encode and pool many crystals; equal ones are encoded once.

    Parameters
    ----------
    structures : sequence
        One crystal a row, of whatever kind.
    weights, device, batch_size
        As for ``UnateFeaturizer``.
    pooling : sequence of str
        Checked names.
    ignore_errors : bool
        Keep the errors by row instead of raising the first.
    index : sequence, optional
        Labels of the rows, for messages.
    progress : callable
        Told the number of rows that were just finished.

    Raises
    ------
    StructureError
        A structure is unusable and errors are not ignored.
    """
    config = weights_config(weights)

    def encoded(crystals: Iterator[tuple[int, PreparedCrystal]]) -> Iterator[Computed]:
        graphs = ((row, crystal.graph) for row, crystal in crystals)
        for batch in encode(graphs, weights, device, batch_size, "columns"):
            yield batch.rows, pooled(batch, pooling)

    return fill_columns(
        structures,
        lambda structure: prepare(structure, config),
        encoded,
        len(config.site_labels) * len(pooling) + len(config.crystal_labels),
        EncodingNotes(config),
        ignore_errors,
        index,
        progress,
    )


def prepare(crystal: Any, config: WeightsConfig) -> PreparedCrystal:
    """Check one input and build its graph.

    Raises
    ------
    StructureError
        With the reason and the cure.
    """
    lattice, frac_coords, z = crystal_arrays(crystal)
    known = config.is_known[z]
    graph = radius_graph(lattice, frac_coords, z * known, config.cutoff)
    return PreparedCrystal(graph, frozenset(z[~known].tolist()))
