"""DataFrame of structures and sites in, DataFrame of columns of these sites out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from numbers import Real
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import pandas as pd

from matminer_unate.crystals.checked import CheckedCrystal
from matminer_unate.crystals.ordering import AVERAGING, Disorder, check_disorder
from matminer_unate.errors import InputError, StructureError
from matminer_unate.featurizers.base import BatchFeaturizer
from matminer_unate.featurizers.column_meanings import ColumnMeaning
from matminer_unate.featurizers.inputs import column_of, entries_of, in_pandas, is_many, type_name
from matminer_unate.featurizers.rows import ALONE, Columns, RowNotes
from matminer_unate.featurizers.site_descriptor_stats import SiteDescriptorStats
from matminer_unate.featurizers.site_tables import (
    DescriptorColumns,
    NetworkColumns,
    SiteGroup,
    SiteTable,
    TightBindingColumns,
    site_tables,
)
from matminer_unate.featurizers.tight_binding_stats import TightBindingStats
from matminer_unate.featurizers.unate import UnateFeaturizer
from matminer_unate.network.encoding import DEFAULT_BATCH_SIZE, check_batch_size, load
from matminer_unate.network.weights import DEFAULT_WEIGHTS, weights_config
from matminer_unate.physics.band_quantities import SITE_QUANTITIES
from matminer_unate.physics.quantity import with_tables
from matminer_unate.physics.site_descriptors import PHYSICS

SITE_COLUMNS = ("embedding", "predicted", "tight-binding", "physics", "fingerprint")

AVERAGED = ("embedding", "predicted")
"""Those that averages of disordered crystals have."""

AT_ONCE = 200
"""Crystals described together."""

_PAIRS = "pairs of a structure and the number of a site"


@with_tables(physics=PHYSICS, tight_binding=SITE_QUANTITIES)
class UnateSiteFeaturizer(BatchFeaturizer):
    """Columns of a site: its learned embedding, predicted charges and populations, and physics.

    A site featurizer of matminer: an entry is a structure and the number of one of its sites. It
    works in ``SiteStatsFingerprint`` and ``MultipleFeaturizer`` and on frames with two columns;
    :meth:`featurize_sites` gives all sites of crystals as one table.

    The columns of a site do not change when the crystal is rotated, reflected or shifted, when the
    sites are numbered otherwise, or when another cell of the same crystal is given.

    Features:

    ``unate_<weights>_z_<component>`` (``columns="embedding"``)
        The site embedding: what the weights say of the element and its surroundings. Each component
        has mean 0 and standard deviation 1 over the sites of the pretraining crystals.

    ``unate_<weights>_<quantity>`` (``"predicted"``)
        Quantities of the site that pretraining taught the network to predict, in the same units of
        spread: those of the tables below and the fingerprint, as far as the weights name them.

    ``tight_binding_<quantity>`` (``"tight-binding"``)
        Electrons of the site in the model of :class:`~matminer_unate.TightBindingStats`, which
        explains the symbols:

    {tight_binding}

    ``site_<descriptor>`` (``"physics"``, ``"fingerprint"``)
        Descriptors of the site as of :class:`~matminer_unate.SiteDescriptorStats`, which explains
        the symbols and has the table of the fingerprint:

    {physics}

    Parameters
    ----------
    weights : str or path
        Name of weights that come with the package, or a weights folder of your own.
    columns : str or sequence of {"embedding", "predicted", "tight-binding", "physics", \
"fingerprint"}
        In the order of the columns. The last three need no network.
    device : str
        ``"auto"`` (CUDA where there is one), ``"cpu"``, ``"cuda"``, ``"cuda:1"``, …
    batch_size : int
        Edges encoded at once, as of :class:`~matminer_unate.UnateFeaturizer`.
    on_error : {"raise", "nan"}
        What an unusable structure or number does: stop with an error that names its row, or give a
        row of NaN and one warning with the count.
    disorder : {"raise", "ordered", "average"}
        What a crystal with sites of mixed or partial occupancy is: unusable; or replaced by an
        ordered one (:func:`~matminer_unate.ordered_structure`); or encoded as it is, as of
        :class:`~matminer_unate.UnateFeaturizer`, for ``"embedding"`` and ``"predicted"`` alone.
        There is a row for each site as it was given all the same: the mean over the atoms of the
        ordered crystal at all sites that symmetry makes equivalent to it, or over the elements of
        the site, each by its occupancy.

    Notes
    -----
    * Sites are numbered from 0, as in ``structure[0]``; negative numbers are refused.
    * All sites of a crystal are described together, and the last 8 crystals are kept: asking for
      one site after another costs little more than asking for all. They are known by coordinates
      and species, so a Structure may be changed in between.
    * In ``SiteStatsFingerprint``, ``set_n_jobs(1)`` is quickest: its workers are new processes that
      would load the network for every ten crystals.
    * With ``disorder="ordered"``, what differs between the atoms at equivalent sites is lost in
      their mean; of :func:`~matminer_unate.ordered_structure`, each has its own row. Where so
      little of a site is occupied that the ordered crystal has no atom there, it is unusable.
    * Elements the weights have not seen, those that are not tabulated, and atoms without neighbours
      are described all the same, with the warnings of the featurizers named above.
    * Rows are batched inside this process, and many are given their tight-binding columns by as
      many worker processes as there are cores; ``set_n_jobs`` has no effect.

    References
    ----------
    UNATE, arXiv:2605.25866. CartNet, arXiv:2501.18369. Those of the other columns:
    :meth:`citations`.

    Examples
    --------
    >>> from matminer_unate import UnateSiteFeaturizer
    >>> from matminer_unate.datasets import load_semiconductors
    >>> df = load_semiconductors().head(5)
    >>> sites = UnateSiteFeaturizer(columns=("embedding", "tight-binding"))
    >>> table = sites.featurize_sites(df["structure"])
    """

    def __init__(
        self,
        weights: str | Path = DEFAULT_WEIGHTS,
        columns: str | Sequence[str] = "embedding",
        device: str = "auto",
        batch_size: int = DEFAULT_BATCH_SIZE,
        on_error: Literal["raise", "nan"] = "raise",
        disorder: Disorder = "raise",
    ) -> None:
        self.weights = weights
        self.columns = columns
        self.device = device
        self.batch_size = batch_size
        self.on_error = on_error
        self.disorder = disorder

    def featurize(self, structure: Any, idx: int) -> list[float]:
        """Columns of one site, in the order of :meth:`feature_labels`.

        Parameters
        ----------
        structure : Structure, or whatever stands for one
        idx : int
            Number of the site, from 0.

        Raises
        ------
        StructureError
            The structure is unusable or has no such site (with ``on_error="nan"``: NaN instead).
        """
        return self._one((structure, idx), False, False)

    def featurize_sites(self, structures: Any) -> pd.DataFrame:
        """All sites of one crystal or of many, as one table.

        Parameters
        ----------
        structures : structure, or a list, Series, one-column DataFrame or array of structures
            Many are described in batches.

        Returns
        -------
        DataFrame
            A row a site: ``row`` (position of the crystal, from 0), ``site``, ``element`` (symbol;
            of a mixed or partly occupied site what it holds, as ``Sr0.4Ba0.6``) and the columns
            (float32). With ``on_error="nan"``, an unusable structure among many has
            no rows, with one warning.

        Raises
        ------
        StructureError
            A structure is unusable; among many, the message names its row.
        """
        self._check_options()
        many = is_many(structures)
        entries = entries_of(structures) if many else [structures]
        index: Any = None if many else ALONE
        if isinstance(structures, pd.Series | pd.DataFrame):
            index = structures.index
        no_columns = np.empty((len(entries), 0), np.float32)
        notes = SiteNotes(self._groups())
        found = Columns(no_columns, {}, notes, index, many and self.on_error == "nan")
        tables: dict[int, SiteTable] = {}
        for row, table in self._tables(entries, found.fail):
            notes.read_all(table, row)
            tables[row] = table
        found.warn(mention_errors=True, outcome="have no rows")
        return _long_table(tables, self.feature_labels())

    def fit(self, X: Any = None, y: Any = None, **fit_kwargs: Any) -> Self:
        """Check the options and load the weights; nothing is learned from ``X``."""
        super().fit(X, y)
        self._load()
        return self

    def precheck(self, structure: Any, idx: int = 0) -> bool:
        """Whether the site can be featurized."""
        return self._prechecked((structure, idx))

    def citations(self) -> list[str]:
        """BibTeX of the sources of the columns."""
        found = UnateFeaturizer().citations() if self._needs_network() else []
        wanted = check_columns(self.columns)
        if "tight-binding" in wanted:
            found += TightBindingStats().citations()
        if {"physics", "fingerprint"} & set(wanted):
            found += SiteDescriptorStats().citations()
        return found

    # -- of a featurizer of many entries ---------------------------------------------------------

    def _check_options(self) -> None:
        super()._check_options()
        check_batch_size(self.batch_size)
        check_disorder(self.disorder, AVERAGING)
        config = weights_config(self.weights)
        if self.disorder == "average" and set(check_columns(self.columns)) - set(AVERAGED):
            raise InputError(
                f"averages of disordered crystals have the columns {', '.join(AVERAGED)} alone; "
                f"take disorder='ordered' for others, got {self.columns!r}"
            )
        if "predicted" in check_columns(self.columns) and not config.encoder.predicted:
            raise InputError(
                f"the weights {config.name!r} predict no quantities; leave 'predicted' out of "
                "columns, or take other weights"
            )

    def _column_meanings(self) -> list[ColumnMeaning]:
        return [meaning for group in self._groups() for meaning in group.meanings()]

    def _entries(self, X: Any) -> list[Any]:
        X = in_pandas(X)
        if isinstance(X, pd.DataFrame):
            if X.shape[1] != 2:
                raise InputError(f"expected two columns, {_PAIRS}; got {X.shape[1]}")
            return list(zip(X.iloc[:, 0], X.iloc[:, 1], strict=True))
        if isinstance(X, np.ndarray):
            if X.ndim == 2 and X.shape[1] == 2:
                return [tuple(pair) for pair in X]
            raise InputError(f"an array of shape {X.shape} does not hold {_PAIRS}; pass (n, 2)")
        if not is_many(X):
            raise InputError(
                f"expected a list, DataFrame or array of {_PAIRS}, got {type_name(X)}; "
                "featurize_sites takes structures, and featurize one of them and a number"
            )
        return [self._entry_of(pair) for pair in X]

    def _frame_entries(self, df: pd.DataFrame, col_id: Any) -> list[Any]:
        if not isinstance(col_id, list) or len(col_id) != 2:
            raise InputError(
                "name two columns, that of the structures and that of the numbers of sites, as in "
                f"['structure', 'site_index']; got {col_id!r}"
            )
        structures, sites = (column_of(df, name) for name in col_id)
        return list(zip(entries_of(structures), list(sites), strict=True))

    def _entry_of(self, parts: Any) -> Any:
        if not isinstance(parts, list | tuple | np.ndarray) or len(parts) != 2:
            raise InputError(
                f"each row needs {_PAIRS}, got {type_name(parts)}; featurize_sites takes structures"
            )
        return tuple(parts)

    def _prechecked(self, entry: Any) -> bool:
        structure, idx = entry
        try:
            crystal = CheckedCrystal.of(structure, self.disorder)
            site_number(idx, crystal.n_given)
            if crystal.given_sites is not None:
                crystal.given_sites.check()
            for group in self._groups():
                group.prepare(crystal)
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
        shape, notes = (len(entries), len(self.feature_labels())), SiteNotes(self._groups())
        found = Columns.empty(shape, notes, index, ignore_errors)
        rows: dict[int, list[int]] = {}
        for row, (structure, _) in enumerate(entries):
            rows.setdefault(id(structure), []).append(row)
        of = list(rows.values())

        def failed(k: int, error: StructureError) -> None:
            for row in of[k]:
                found.fail(row, error)
            progress(len(of[k]))

        for k, table in self._tables([entries[several[0]][0] for several in of], failed):
            for row in of[k]:
                try:
                    found.values[row] = table.values[
                        site_number(entries[row][1], len(table.values))
                    ]
                    notes.read_all(table, row)
                except StructureError as e:
                    found.fail(row, e)
            progress(len(of[k]))
        return found

    def _generate_column_labels(self, multiindex: bool, return_errors: bool) -> Any:
        # MultipleFeaturizer asks for the labels just before it forks its workers.
        self._load()
        return super()._generate_column_labels(multiindex, return_errors)

    # -- the work --------------------------------------------------------------------------------

    def _needs_network(self) -> bool:
        return bool({"embedding", "predicted"} & set(check_columns(self.columns)))

    def _load(self) -> None:
        if self._needs_network():
            load(self.weights, self.device)

    def _groups(self) -> list[SiteGroup]:
        sha256 = weights_config(self.weights).sha256

        def network(predicted: bool) -> SiteGroup:
            return NetworkColumns(self.weights, sha256, self.device, self.batch_size, predicted)

        made: dict[str, Callable[[], SiteGroup]] = {
            "embedding": lambda: network(False),
            "predicted": lambda: network(True),
            "tight-binding": TightBindingColumns,
            "physics": lambda: DescriptorColumns("physics"),
            "fingerprint": lambda: DescriptorColumns("fingerprint"),
        }
        return [made[name]() for name in check_columns(self.columns)]

    def _tables(
        self, structures: Sequence[Any], failed: Callable[[int, StructureError], Any]
    ) -> Iterator[tuple[int, SiteTable]]:
        """Tables of structures by their numbers, in their order; ``failed`` is told of others."""
        groups = self._groups()
        for start in range(0, len(structures), AT_ONCE):
            crystals: dict[int, CheckedCrystal] = {}
            errors: dict[int, StructureError] = {}
            for k, structure in enumerate(structures[start : start + AT_ONCE], start):
                try:
                    crystals[k] = CheckedCrystal.of(structure, self.disorder)
                except StructureError as e:
                    errors[k] = e
            tables = iter(site_tables(list(crystals.values()), groups) if crystals else [])
            for k in range(start, min(start + AT_ONCE, len(structures))):
                found = errors.get(k) or next(tables)
                if isinstance(found, StructureError):
                    failed(k, found)
                else:
                    yield k, found


class SiteNotes(RowNotes):
    """What a caller should know of rows that were described all the same, of several groups."""

    def __init__(self, groups: Sequence[SiteGroup]) -> None:
        super().__init__()
        self._parts = [group.notes() for group in groups]

    def read_all(self, table: SiteTable, row: int) -> None:
        """Count in what the groups have to say of the crystal of a row."""
        for part, prepared in zip(self._parts, table.prepared, strict=True):
            part.read(prepared, row)

    def texts(self, index: Sequence[Any] | None = None) -> list[str]:
        return list(dict.fromkeys(text for part in self._parts for text in part.texts(index)))


def check_columns(columns: Any) -> tuple[str, ...]:
    """The groups of columns as a tuple; a single name may come as a string.

    Raises
    ------
    InputError
        An unknown or repeated name, or none at all.
    """
    names = columns if isinstance(columns, list | tuple) else (columns,)
    unknown = [n for n in names if not isinstance(n, str) or n not in SITE_COLUMNS]
    if unknown or not names or len(set(names)) != len(names):
        raise InputError(
            f"columns must name distinct ones of {', '.join(SITE_COLUMNS)}; got {columns!r}"
        )
    return tuple(names)


def site_number(idx: Any, n_sites: int) -> int:
    """The number of a site, checked; pandas makes floats of integers where one is missing.

    Raises
    ------
    StructureError
        There is no such site.
    """
    is_number = isinstance(idx, Real) and not isinstance(idx, bool)
    if not is_number or not np.isfinite(float(idx)) or float(idx) != int(idx):
        raise StructureError(f"the number of a site is a whole number from 0, got {idx!r}")
    if not 0 <= idx < n_sites:
        raise StructureError(
            f"there is no site {int(idx)}: the structure has {n_sites} sites, numbered from 0"
        )
    return int(idx)


def _long_table(tables: dict[int, SiteTable], labels: list[str]) -> pd.DataFrame:
    from pymatgen.core import Element

    @cache
    def symbol(z: int) -> str:
        return Element.from_Z(z).symbol

    def elements(crystal: CheckedCrystal) -> Iterable[str]:
        if crystal.given_sites is not None:
            return crystal.given_sites.content
        return map(symbol, crystal.atomic_numbers.tolist())

    found = list(tables.values())
    counts = [len(table.values) for table in found]
    no_rows = np.empty((0, len(labels)), np.float32)
    columns = np.vstack([no_rows, *(table.values for table in found)])
    keys = {
        "row": np.repeat(np.array(list(tables), dtype=np.int64), counts),
        "site": np.concatenate([np.empty(0, np.int64), *map(np.arange, counts)]),
        "element": pd.Series([e for table in found for e in elements(table.crystal)], dtype=object),
    }
    return pd.concat([pd.DataFrame(keys), pd.DataFrame(columns, columns=labels)], axis=1)
