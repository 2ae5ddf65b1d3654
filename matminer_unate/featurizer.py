"""DataFrame of structures in, DataFrame of learned columns out."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from matminer.featurizers.base import BaseFeaturizer
from matminer.utils.utils import homogenize_multiindex
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from tqdm.auto import tqdm

from matminer_unate.checkpoint import DEFAULT_WEIGHTS, WeightsConfig
from matminer_unate.columns import Columns, EncodingNotes, compute_columns
from matminer_unate.encoding import (
    DEFAULT_BATCH_SIZE,
    check_batch_size,
    encode,
    load,
    prepare,
    weights_config,
)
from matminer_unate.entries import column_of, entries_of
from matminer_unate.errors import InputError, StructureError
from matminer_unate.pooling import check_pooling

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


class UnateFeaturizer(BaseFeaturizer):
    """Learned columns for crystal structures, from a pretrained site encoder.

    Every site gets an embedding that describes its element and its surroundings, learned from
    unlabeled crystals by denoising and contrasting corrupted views (UNATE). The embeddings of a
    crystal's sites are pooled into columns for a regressor of your choice.

    The columns do not change when the crystal is rotated, reflected or shifted, when its sites are
    reordered, or (``sum`` apart) when another cell of the same crystal is given.

    Features
    --------
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
        In the order of the columns. ``sum`` grows with the cell.
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
    * An atom with no neighbour within the cutoff is encoded with its first shell drawn in, with a
      warning.
    * Rows are batched inside this process; ``set_n_jobs`` has no effect.

    References
    ----------
    UNATE, arXiv:2605.25866. CartNet, arXiv:2501.18369.

    Examples
    --------
    >>> from matminer_unate import UnateFeaturizer
    >>> from matminer_unate.datasets import load_semiconductors
    >>> df = load_semiconductors()
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

    # -- what a crystal becomes ------------------------------------------------------------------

    def featurize(self, structure: Any) -> list[float]:
        """Columns of one crystal, in the order of :meth:`feature_labels`.

        Raises
        ------
        StructureError
            The structure is unusable (with ``on_error="nan"``: a row of NaN instead).
        """
        return self.featurize_many([(structure,)], pbar=False)[0]

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
        notes.warn()
        return encoded.sites

    def precheck(self, structure: Any) -> bool:
        """Whether the structure can be featurized."""
        try:
            prepare(structure, weights_config(self.weights))
        except StructureError:
            return False
        return True

    def precheck_dataframe(
        self, df: pd.DataFrame, col_id: Any, return_frac: bool = True, inplace: bool = False
    ) -> float | pd.DataFrame:
        """Precheck a column: the share that passes, or the frame with a column of booleans.

        As in matminer, but the index of the frame is kept.
        """
        passed = [self.precheck(s) for s in entries_of(column_of(df, col_id))]
        if return_frac:
            return float(np.mean(passed)) if passed else float("nan")
        target = df if inplace else df.copy(deep=False)
        target[f"{type(self).__name__} precheck pass"] = passed
        return target

    # -- many crystals ---------------------------------------------------------------------------

    def featurize_many(
        self,
        entries: Any,
        ignore_errors: bool = False,
        return_errors: bool = False,
        pbar: bool | dict[str, Any] = True,
    ) -> list[list[Any]]:
        """Columns of many crystals, one list a row.

        Parameters
        ----------
        entries : list, tuple, Series, one-column DataFrame or array of structures
        ignore_errors : bool
            Give unusable structures a row of NaN, as ``on_error="nan"`` does.
        return_errors : bool
            Append the traceback of the row's error, or NaN. Needs errors to be ignored.
        pbar : bool or dict
            Show a progress bar; a dict holds options for tqdm.

        Raises
        ------
        StructureError
            A structure is unusable and errors are not ignored; the message names the row.
        InputError
            The entries are not list-like, or an option is wrong.
        """
        result = self._compute(entries_of(entries), ignore_errors, return_errors, pbar)
        rows = result.values.tolist()
        if return_errors:
            for row, text in zip(rows, result.tracebacks(), strict=True):
                row.append(text)
        return rows

    def featurize_wrapper(
        self, x: Any, return_errors: bool = False, ignore_errors: bool = False
    ) -> list[Any]:
        """Columns of one entry given as a 1-tuple; matminer's ``MultipleFeaturizer`` calls this."""
        return self.featurize_many([x], ignore_errors, return_errors, pbar=False)[0]

    def featurize_dataframe(
        self,
        df: pd.DataFrame,
        col_id: Any,
        ignore_errors: bool = False,
        return_errors: bool = False,
        inplace: bool = False,
        multiindex: bool = False,
        pbar: bool | dict[str, Any] = True,
    ) -> pd.DataFrame | None:
        """Add the columns of every structure to a DataFrame.

        Parameters
        ----------
        df : DataFrame
        col_id : str, or a list with one name
            The column of structures.
        ignore_errors : bool
            Give unusable structures a row of NaN, as ``on_error="nan"`` does.
        return_errors : bool
            Add a column ``UnateFeaturizer Exceptions``. Needs errors to be ignored.
        inplace : bool
            Change ``df`` and return None.
        multiindex : bool
            Put the columns under ``UnateFeaturizer`` and the others under ``Input Data``.
        pbar : bool or dict

        Returns
        -------
        DataFrame or None
            Rows and index as in ``df``, the new columns (float32) at the end.

        Raises
        ------
        StructureError
            A structure is unusable and errors are not ignored; the message names row and index.
        InputError
            There is no such column, or a new column is there already.
        """
        structures = entries_of(column_of(df, col_id))
        if isinstance(df.columns, pd.MultiIndex) and not multiindex:
            raise InputError("the frame has a column MultiIndex; pass multiindex=True")
        labels = self._generate_column_labels(multiindex, return_errors)
        taken = [label for label in labels if label in df.columns]
        if taken:
            raise InputError(
                f'"{taken[0]}" exists in input dataframe; drop the {len(taken)} columns of this '
                "name first, or featurize with other weights or pooling"
            )
        result = self._compute(structures, ignore_errors, return_errors, pbar, df.index)
        width = result.values.shape[1]
        new = pd.DataFrame(result.values, index=df.index, columns=labels[:width])
        if return_errors:
            new[labels[-1]] = pd.Series(result.tracebacks(), index=df.index, dtype=object)
        if multiindex:
            if inplace:
                warnings.warn(
                    "multiindex=True with inplace=True changes the columns of the original frame",
                    stacklevel=2,
                )
            # The helper renames the columns of the frame it is given.
            df = homogenize_multiindex(df if inplace else df.copy(deep=False), "Input Data")
            new.columns = pd.MultiIndex.from_tuples(labels)
        joined = pd.concat([df, new], axis=1)
        if not inplace:
            return joined
        # Assigning hundreds of columns one by one fragments the frame and warns for each.
        df._update_inplace(joined)
        return None

    # -- scikit-learn ----------------------------------------------------------------------------

    def fit(self, X: Any = None, y: Any = None, **fit_kwargs: Any) -> UnateFeaturizer:
        """Check the options and load the weights; nothing is learned from ``X``."""
        self._options()
        load(self.weights, self.device)
        return self

    def transform(self, X: Any) -> NDArray[np.float32]:
        """Columns of many crystals, (n_crystals, n_columns) float32.

        Unusable structures raise, or are rows of NaN with ``on_error="nan"``.
        """
        index = X.index if isinstance(X, pd.Series | pd.DataFrame) else None
        return self._compute(entries_of(X), False, False, False, index).values

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """Column names, for ``set_output`` and pipelines."""
        return np.array(self.feature_labels(), dtype=object)

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import TransformerTags

        # BaseFeaturizer lists BaseEstimator before TransformerMixin, so the tags stop there.
        tags = BaseEstimator.__sklearn_tags__(self)
        tags.transformer_tags = TransformerTags(preserves_dtype=[])
        tags.estimator_type = "transformer"
        tags.requires_fit = False
        tags.no_validation = True
        tags.input_tags.one_d_array = True
        tags.input_tags.two_d_array = False
        return tags

    # -- matminer --------------------------------------------------------------------------------

    def feature_labels(self) -> list[str]:
        """Column names: weights, pooling, layer, channel."""
        pooling, config = self._options()
        pooled = [f"{name}_{component}" for name in pooling for component in config.site_labels]
        return [f"unate_{config.name}_{label}" for label in pooled + config.crystal_labels]

    def citations(self) -> list[str]:
        """BibTeX of the method and of the encoder."""
        return [_UNATE, _CARTNET]

    def implementors(self) -> list[str]:
        """Who wrote this featurizer."""
        return ["The matminer_unate developers"]

    @property
    def n_jobs(self) -> int:
        """Always 1: a pool of forked workers would load the network again for every chunk."""
        return 1

    def _generate_column_labels(self, multiindex: bool, return_errors: bool) -> Any:
        # MultipleFeaturizer asks for the labels just before it forks its workers. Loading the
        # network here lets all of them share it; otherwise each would import torch anew.
        load(self.weights, self.device)
        labels: list[Any] = self.feature_labels()
        if return_errors:
            labels.append(f"{type(self).__name__} Exceptions")
        return [(type(self).__name__, label) for label in labels] if multiindex else labels

    # -- the work --------------------------------------------------------------------------------

    def _options(self) -> tuple[tuple[str, ...], WeightsConfig]:
        if not isinstance(self.on_error, str) or self.on_error not in ("raise", "nan"):
            raise InputError(f"on_error must be 'raise' or 'nan', got {self.on_error!r}")
        check_batch_size(self.batch_size)
        return check_pooling(self.pooling), weights_config(self.weights)

    def _compute(
        self,
        structures: list[Any],
        ignore_errors: bool,
        return_errors: bool,
        pbar: bool | dict[str, Any],
        index: Any = None,
    ) -> Columns:
        pooling, _ = self._options()
        ignore = ignore_errors or self.on_error == "nan"
        if return_errors and not ignore:
            raise InputError("return_errors needs ignore_errors=True (or on_error='nan')")
        bar = {"desc": type(self).__name__, "total": len(structures), "disable": not pbar}
        with tqdm(**(bar | (pbar if isinstance(pbar, dict) else {}))) as progress:
            columns = compute_columns(
                structures,
                self.weights,
                pooling,
                self.device,
                self.batch_size,
                ignore_errors=ignore,
                index=index,
                progress=progress.update,
            )
        # Who passed ignore_errors=True expects NaN rows; who set on_error is told of them once.
        columns.warn(mention_errors=not ignore_errors)
        return columns
