"""What the featurizers of this package share: the contracts of matminer, scikit-learn and pandas.

matminer's base class featurizes row by row in forked workers, turns every failure into NaN, and
writes columns one by one. Here all rows are computed together, in this process or, where there are
many and it pays, in fresh ones (``worker_processes``), and each failure is kept with its row.

The way of a crystal through ``featurize_dataframe``, from room to room:

1. ``inputs``: the column of the frame → one object a row.
2. ``io.objects``: pymatgen, ASE, a dict or text → pymatgen Structure.
3. ``crystals.checked``: checked, and taken apart into lattice, coordinates and atomic numbers
   (``crystals.structures``; disordered ones ``crystals.ordering``); to be asked for more, which is
   found once.
4. ``crystals.graph``: the bonds within the cutoff. 2 to 4 are ``_prepare`` of a featurizer, which
   ``rows.prepare_rows`` calls; what raises StructureError there is a row that failed. Who has
   several featurizers gives each of them the same CheckedCrystal, and begins at 4.
5. ``rows.Columns``: of equal crystals, only the first goes on.
6. ``_describe`` of a featurizer: ``crystals.batching`` gathers graphs, then ``network.encoding`` or
   ``physics`` describes the sites, and ``pooling`` makes a row of columns of them.
7. ``rows.Columns`` again: rows in their places, failed ones NaN; warnings, once.
8. ``featurize_dataframe``: the columns with their names, beside those of the frame.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, nullcontext
from functools import partial
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
from matminer.featurizers.base import BaseFeaturizer
from matminer.utils.utils import homogenize_multiindex
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from tqdm.auto import tqdm

from matminer_unate.crystals.checked import CheckedCrystal
from matminer_unate.crystals.ordering import ORDERING, Disorder, check_disorder
from matminer_unate.errors import InputError, StructureError, warn_user
from matminer_unate.featurizers.chunks import begun_by_workers, core_seconds
from matminer_unate.featurizers.column_meanings import ColumnMeaning
from matminer_unate.featurizers.inputs import column_of, entries_of, index_of, pandas_frame
from matminer_unate.featurizers.notebook_view import NotebookView
from matminer_unate.featurizers.rows import ALONE, Columns, Computed, RowNotes, prepare_rows
from matminer_unate.worker_processes import worker_processes

CURE = "set on_error='nan'"


class BatchFeaturizer(NotebookView, BaseFeaturizer):
    """A stateless featurizer that computes many entries at once, each a row.

    A subclass stores ``on_error`` among its parameters, checks the others in ``_check_options``,
    and defines what an entry is, what becomes of many, and what the columns are: ``_entries``,
    ``_frame_entries``, ``_columns`` and ``_column_meanings``; and ``featurize``, ``precheck`` and
    ``citations``.
    """

    on_error: str

    # -- what a subclass defines -----------------------------------------------------------------

    def _check_options(self) -> None:
        """Raise InputError unless all parameters can be used; a subclass checks its own too."""
        if not isinstance(self.on_error, str) or self.on_error not in ("raise", "nan"):
            raise InputError(f"on_error must be 'raise' or 'nan', got {self.on_error!r}")

    def _column_meanings(self) -> list[ColumnMeaning]:
        """Name, unit and meaning of every column, in their order."""
        raise NotImplementedError

    def _entries(self, X: Any) -> list[Any]:
        """One entry a row from whatever list-like came in; raises InputError."""
        return entries_of(X)

    def _frame_entries(self, df: pd.DataFrame, col_id: Any) -> list[Any]:
        """One entry a row of a frame; raises InputError."""
        return entries_of(column_of(df, col_id))

    def _entry_of(self, parts: Any) -> Any:
        """One entry of the tuple that matminer makes of the cells of a row."""
        return parts[0] if len(parts) == 1 else parts

    def _prechecked(self, entry: Any) -> bool:
        """Whether an entry can be featurized."""
        raise NotImplementedError

    def _columns(
        self,
        entries: Sequence[Any],
        ignore_errors: bool,
        index: Sequence[Any] | None = None,
        progress: Callable[[int], Any] = lambda n: None,
    ) -> Columns:
        """Columns of many entries.

        Parameters
        ----------
        entries : sequence
            One a row, of whatever kind.
        ignore_errors : bool
            Keep the errors by row instead of raising the first.
        index : sequence, optional
            Labels of the rows, for messages.
        progress : callable
            Told the number of rows that were just finished.

        Raises
        ------
        StructureError
            An entry is unusable and errors are not ignored.
        """
        raise NotImplementedError

    # -- what the columns are --------------------------------------------------------------------

    def feature_labels(self) -> list[str]:
        """Names of the columns."""
        self._check_options()
        return [name for name, _, _ in self._column_meanings()]

    def describe_columns(self) -> pd.DataFrame:
        """Name, unit and meaning of every column: a DataFrame with these three, a row a column.

        The docstring of the class explains the symbols. Learned columns have the unit σ: standard
        deviations over the sites, or crystals, of pretraining.
        """
        self._check_options()
        return pd.DataFrame(self._column_meanings(), columns=["name", "unit", "meaning"])

    # -- many entries ----------------------------------------------------------------------------

    def precheck_dataframe(
        self, df: pd.DataFrame, col_id: Any, return_frac: bool = True, inplace: bool = False
    ) -> float | pd.DataFrame:
        """Precheck a column: the share that passes, or the frame with a column of booleans.

        As in matminer, but the index of the frame is kept.
        """
        df = pandas_frame(df, inplace)
        passed = [self._prechecked(entry) for entry in self._frame_entries(df, col_id)]
        if return_frac:
            return float(np.mean(passed)) if passed else float("nan")
        target = df if inplace else df.copy(deep=False)
        target[f"{type(self).__name__} precheck pass"] = passed
        return target

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
        entries : list, tuple, Series, Index, one-column DataFrame or array of structures
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
        if isinstance(entries, Iterator):
            # matminer refuses them as well: without a length, there is no progress to show.
            raise InputError(
                f"'entries' must be a list, Series, DataFrame or array of structures, got "
                f"{type(entries).__name__}; pass list(…) of it"
            )
        result = self._compute(self._entries(entries), ignore_errors, return_errors, pbar)
        rows = result.values.tolist()
        if return_errors:
            for row, text in zip(rows, result.tracebacks(), strict=True):
                row.append(text)
        return rows

    def featurize_wrapper(
        self, x: Any, return_errors: bool = False, ignore_errors: bool = False
    ) -> list[Any]:
        """Columns of one entry given as a tuple; matminer's ``MultipleFeaturizer`` calls this."""
        return self._one(self._entry_of(x), ignore_errors, return_errors)

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
            Frames of other libraries are taken by their ``to_pandas`` (polars, pyarrow, …).
        col_id : str, or a list with one name
            The column of structures.
        ignore_errors : bool
            Give unusable structures a row of NaN, as ``on_error="nan"`` does.
        return_errors : bool
            Add a column ``<class> Exceptions``. Needs errors to be ignored.
        inplace : bool
            Change ``df`` and return None.
        multiindex : bool
            Put the columns under the name of the class and the others under ``Input Data``.
        pbar : bool or dict

        Returns
        -------
        DataFrame or None
            Of pandas. Rows and index as in ``df``, the new columns (float32) at the end.

        Raises
        ------
        StructureError
            A structure is unusable and errors are not ignored; the message names row and index.
        InputError
            There is no such column, or a new column is there already.
        """
        df = pandas_frame(df, inplace)
        entries = self._frame_entries(df, col_id)
        if isinstance(df.columns, pd.MultiIndex) and not multiindex:
            raise InputError("the frame has a column MultiIndex; pass multiindex=True")
        labels = list(self._generate_column_labels(multiindex, return_errors))
        taken = [label for label in labels if label in df.columns]
        if taken:
            raise InputError(
                f'"{taken[0]}" exists in input dataframe; drop the {len(taken)} columns of this '
                "name first, or featurize with other options"
            )
        result = self._compute(entries, ignore_errors, return_errors, pbar, df.index)
        width = result.values.shape[1]
        new = pd.DataFrame(result.values, index=df.index, columns=labels[:width])
        if return_errors:
            new[labels[-1]] = pd.Series(result.tracebacks(), index=df.index, dtype=object)
        if multiindex:
            if inplace:
                warn_user(
                    "multiindex=True with inplace=True changes the columns of the original frame"
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

    def fit(self, X: Any = None, y: Any = None, **fit_kwargs: Any) -> Self:
        """Check the options; nothing is learned from ``X``."""
        self._check_options()
        return self

    def transform(self, X: Any) -> NDArray[np.float32]:
        """Columns of many crystals, (n_crystals, n_columns) float32.

        ``X`` is a list, tuple, Series, Index, array, one-column DataFrame or iterator of
        structures. Unusable ones raise, or are rows of NaN with ``on_error="nan"``.
        """
        index = index_of(X)
        # UnateRegressor calls this too: its parameter has the same name.
        return self._compute(self._entries(X), False, False, False, index, CURE).values

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

    def implementors(self) -> list[str]:
        """Who wrote this featurizer."""
        return ["The matminer_unate developers"]

    @property
    def n_jobs(self) -> int:
        """Always 1: rows are batched in this process, and setting it has no effect."""
        return 1

    def _generate_column_labels(self, multiindex: bool, return_errors: bool) -> Any:
        labels: list[Any] = self.feature_labels()
        if return_errors:
            labels.append(f"{type(self).__name__} Exceptions")
        if not multiindex:
            return labels
        # Not a list of tuples: MultipleFeaturizer would stack it to a table of two columns.
        return pd.MultiIndex.from_product([[type(self).__name__], labels])

    # -- the work --------------------------------------------------------------------------------

    def _one(self, entry: Any, ignore_errors: bool, return_errors: bool) -> list[Any]:
        result = self._compute([entry], ignore_errors, return_errors, False, ALONE, CURE)
        return result.values[0].tolist() + (result.tracebacks() if return_errors else [])

    def _compute(
        self,
        entries: list[Any],
        ignore_errors: bool,
        return_errors: bool,
        pbar: bool | dict[str, Any],
        index: Any = None,
        cure: str = f"pass ignore_errors=True or {CURE}",
    ) -> Columns:
        self._check_options()
        ignore = ignore_errors or self.on_error == "nan"
        if return_errors and not ignore:
            raise InputError("return_errors needs ignore_errors=True (or on_error='nan')")
        options = {"desc": type(self).__name__, "total": len(entries)}
        options |= pbar if isinstance(pbar, dict) else {}
        # No hidden bar: tqdm's lock may be held by a thread that a forked child does not have.
        with tqdm(**options) if pbar else nullcontext() as bar:
            progress = (lambda n: None) if bar is None else bar.update
            try:
                columns = self._columns(entries, ignore, index, progress)
            except StructureError as e:
                raise StructureError(f"{e}\nTo give such rows NaN instead, {cure}.") from e
        # Who passed ignore_errors=True expects NaN rows; who set on_error is told of them once.
        columns.warn(mention_errors=not ignore_errors)
        return columns


class StructureFeaturizer(BatchFeaturizer):
    """A stateless featurizer of crystal structures, a row each.

    A subclass stores ``disorder`` too, and defines how a structure is prepared, how prepared ones
    are described, and what is to be noted of them: ``_prepare``, ``_describe`` and ``_notes``.
    """

    disorder: Disorder
    _disorders: ClassVar[tuple[Disorder, ...]] = ORDERING
    _core_seconds: ClassVar[tuple[float, float]] = (0.0, 0.0)
    """What a crystal, and a site, roughly take of one core, if they hold Python's lock: much of
    such work goes to worker processes."""

    # -- what a subclass defines -----------------------------------------------------------------

    def _check_options(self) -> None:
        super()._check_options()
        check_disorder(self.disorder, self._disorders)

    def _prepare(self, structure: Any) -> Any:
        """Check one structure, or take a CheckedCrystal; build its graph: a PreparedCrystal.

        Raises
        ------
        StructureError
            With the reason and the cure.
        """
        raise NotImplementedError

    def _preparer(self) -> Callable[[Any], Any]:
        """``_prepare`` for many; a subclass may look up once what it takes for each."""
        return self._prepare

    def _describe(self, crystals: Iterator[tuple[int, Any]]) -> Iterator[Computed]:
        """Rows with their columns, (len(rows), n_columns), from numbered prepared crystals.

        These are drawn from as the batches need them.
        """
        raise NotImplementedError

    def _notes(self) -> RowNotes:
        """What counts the rows that got their columns all the same."""
        raise NotImplementedError

    # -- what a crystal becomes ------------------------------------------------------------------

    def featurize(self, structure: Any) -> list[float]:
        """Columns of one crystal, in the order of :meth:`feature_labels`.

        Raises
        ------
        StructureError
            The structure is unusable (with ``on_error="nan"``: a row of NaN instead).
        """
        return self._one(structure, False, False)

    def precheck(self, structure: Any) -> bool:
        """Whether the structure can be featurized."""
        return self._prechecked(structure)

    def _prechecked(self, entry: Any) -> bool:
        try:
            self._prepare(entry)
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
        if not worker_processes().are_worth(core_seconds(entries, *self._core_seconds)):
            return self._columns_here(entries, ignore_errors, index, progress)
        found, failed = self._no_columns(len(entries), ignore_errors, index, progress)
        checked = partial(CheckedCrystal.of, disorder=self.disorder)
        columns = partial(self._columns_here, ignore_errors=True)
        chunks, begun = begun_by_workers(columns, prepare_rows(entries, checked, failed))
        with closing(begun) as parts:
            for chunk, part in zip(chunks, parts, strict=True):
                found.take(part, chunk.rows)
                progress(len(chunk.rows))
        return found

    def _columns_here(
        self,
        entries: Sequence[Any],
        ignore_errors: bool,
        index: Sequence[Any] | None = None,
        progress: Callable[[int], Any] = lambda n: None,
    ) -> Columns:
        """As ``_columns``, without worker processes."""
        found, failed = self._no_columns(len(entries), ignore_errors, index, progress)
        found.fill(prepare_rows(entries, self._preparer(), failed), self._describe, progress)
        return found

    def _no_columns(
        self,
        n_rows: int,
        ignore_errors: bool,
        index: Sequence[Any] | None,
        progress: Callable[[int], Any],
    ) -> tuple[Columns, Callable[[int, StructureError], None]]:
        """Columns to be filled, and what is told of rows that fail."""
        shape = n_rows, len(self.feature_labels())
        found = Columns.empty(shape, self._notes(), index, ignore_errors)

        def failed(row: int, error: StructureError) -> None:
            found.fail(row, error)
            progress(1)

        return found, failed
