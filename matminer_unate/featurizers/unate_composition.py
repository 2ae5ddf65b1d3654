"""DataFrame of formulas in, DataFrame of learned columns out; no structure needed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pymatgen.core import Element

from matminer_unate.errors import InputError, StructureError
from matminer_unate.featurizers.base import BatchFeaturizer
from matminer_unate.featurizers.column_meanings import STANDARDISED, ColumnMeaning
from matminer_unate.featurizers.element_data import element_fractions
from matminer_unate.featurizers.rows import Columns, RowNotes, prepare_rows
from matminer_unate.featurizers.unate import UnateFeaturizer
from matminer_unate.network.element_vectors import element_vectors
from matminer_unate.network.weights import DEFAULT_WEIGHTS, weights_config

STATISTICS = {
    "mean": "mean over the atoms",
    "std": "standard deviation over the atoms",
    "min": "least of the elements",
    "max": "largest of the elements",
    "range": "largest less least of the elements",
}
"""Of the vectors of a formula's elements."""

Vectors = NDArray[np.float64]


class UnateCompositionFeaturizer(BatchFeaturizer):
    """Learned columns for formulas, from the vectors of their elements.

    Each element has the mean of its site embeddings over the pretraining crystals
    (:class:`~matminer_unate.UnateElementData`); a formula has statistics of the vectors of its
    elements. Where there is a structure, :class:`~matminer_unate.UnateFeaturizer` knows more.

    Features:

    ``unate_<weights>_composition_<statistic>_z_<component>``
        A component of the vectors of the elements: their mean or standard deviation over the atoms,
        or the least, the largest or their difference over the elements.

    Parameters
    ----------
    weights : str or path
        Name of weights that come with the package, or a weights folder with an
        ``elements.safetensors``.
    statistics : str or sequence of {"mean", "std", "min", "max", "range"}
        In the order of the columns.
    on_error : {"raise", "nan"}
        What a bad formula, or one with an element that the weights have not seen, does: stop with
        an error that names its row, or give a row of NaN and one warning with the count.

    Notes
    -----
    * A formula is a pymatgen Composition, text such as ``"SrTiO3"`` or ``"Sr0.9Ca0.1TiO3"``, or a
      dict of symbols and amounts; only the shares of the atoms count, and oxidation states do not.
    * With 2,000 labels and formulas alone (``training/results/composition_columns.csv``), kernel
      ridge errs 8 % less for gaps with these columns than with Magpie's, and alike for bulk
      moduli, for which ``mean`` beside Magpie is 7 % better than Magpie. LightGBM gains nothing
      for gaps and loses 12 % for bulk moduli: give it both, ``mean`` beside Magpie (for gaps, 4 %
      less).
    * Rows are computed inside this process; ``set_n_jobs`` has no effect.

    References
    ----------
    UNATE, arXiv:2605.25866.

    Examples
    --------
    >>> from matminer_unate import UnateCompositionFeaturizer
    >>> from matminer_unate.datasets import load_semiconductors
    >>> df = load_semiconductors().head(20)
    >>> df = UnateCompositionFeaturizer().featurize_dataframe(df, "formula", pbar=False)
    """

    def __init__(
        self,
        weights: str | Path = DEFAULT_WEIGHTS,
        statistics: str | Sequence[str] = ("mean", "std", "min", "max", "range"),
        on_error: Literal["raise", "nan"] = "raise",
    ) -> None:
        self.weights = weights
        self.statistics = statistics
        self.on_error = on_error

    def featurize(self, formula: Any) -> list[float]:
        """Columns of one formula, in the order of :meth:`feature_labels`.

        Raises
        ------
        StructureError
            The formula is unusable (with ``on_error="nan"``: a row of NaN instead).
        """
        return self._one(formula, False, False)

    def precheck(self, formula: Any) -> bool:
        """Whether the formula can be featurized."""
        return self._prechecked(formula)

    def citations(self) -> list[str]:
        """BibTeX of the method and of the encoder."""
        return UnateFeaturizer().citations()

    # -- of a featurizer of many entries ---------------------------------------------------------

    def _check_options(self) -> None:
        super()._check_options()
        check_statistics(self.statistics)
        element_vectors(self.weights)

    def _column_meanings(self) -> list[ColumnMeaning]:
        config = weights_config(self.weights)
        return [
            (
                f"unate_{config.name}_composition_{name}_z_{k:03d}",
                STANDARDISED,
                f"component {k} of the vectors of the elements, {STATISTICS[name]}",
            )
            for name in check_statistics(self.statistics)
            for k in range(config.latent_dim)
        ]

    def _prechecked(self, entry: Any) -> bool:
        try:
            self._read(entry)
        except StructureError:
            return False
        return True

    def _columns(
        self,
        entries: Sequence[Any],
        ignore_errors: bool,
        index: Sequence[Any] | None = None,
        progress: Callable[[int], Any] = lambda n: None,
    ) -> Columns:
        table = element_vectors(self.weights).vectors.astype(np.float64)
        wanted = check_statistics(self.statistics)
        values = np.full((len(entries), len(wanted) * table.shape[1]), np.nan, np.float32)
        found = Columns(values, {}, RowNotes(), index, ignore_errors, "formula")

        def failed(row: int, error: StructureError) -> None:
            found.fail(row, error)
            progress(1)

        for row, (numbers, fractions) in prepare_rows(entries, self._read, failed):
            values[row] = statistics(table[numbers], fractions, wanted)
            progress(1)
        return found

    def _read(self, formula: Any) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        numbers, fractions = element_fractions(formula)
        known = element_vectors(self.weights).is_known[numbers]
        if not known.all():
            symbols = ", ".join(Element.from_Z(int(z)).symbol for z in numbers[~known])
            raise StructureError(
                f"the weights {weights_config(self.weights).name!r} have no vector of {symbols}, "
                f"which {formula!r} holds; drop this row"
            )
        return numbers, fractions


def statistics(vectors: Vectors, fractions: Vectors, names: Sequence[str]) -> Vectors:
    """Statistics (len(names) · d,) of the vectors (n_elements, d) of elements by their shares."""
    mean = fractions @ vectors
    found = {
        "mean": mean,
        "std": np.sqrt(fractions @ np.square(vectors - mean)),
        "min": vectors.min(axis=0),
        "max": vectors.max(axis=0),
        "range": np.ptp(vectors, axis=0),
    }
    return np.concatenate([found[name] for name in names])


def check_statistics(names: Any) -> tuple[str, ...]:
    """The statistics as a tuple; a single name may come as a string.

    Raises
    ------
    InputError
        An unknown or repeated name, or none at all.
    """
    several = names if isinstance(names, list | tuple) else (names,)
    unknown = [n for n in several if not isinstance(n, str) or n not in STATISTICS]
    if unknown or not several or len(set(several)) != len(several):
        raise InputError(
            f"statistics must name distinct ones of {', '.join(STATISTICS)}; got {names!r}"
        )
    return tuple(several)
