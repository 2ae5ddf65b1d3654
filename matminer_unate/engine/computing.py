"""Input rows → rows with the columns of featurizers, side by side.

The values of a row depend a little on which rows it is batched with (rounding). Here they depend on
the block of rows alone, so that a run that goes on writes what it would have written.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from matminer_unate.crystals.ordering import Disorder
from matminer_unate.engine.columns import RECIPE, make_featurizer
from matminer_unate.engine.report import RowReport
from matminer_unate.errors import InputError, StructureError, UnateWarning
from matminer_unate.featurizers.base import StructureFeaturizer
from matminer_unate.featurizers.pooling import check_pooling
from matminer_unate.featurizers.rows import RowNotes, prepare_rows
from matminer_unate.featurizers.unate import EncodingNotes, UnateFeaturizer, prepare
from matminer_unate.io.input_rows import InputRow
from matminer_unate.network.devices import resolve_device
from matminer_unate.network.weights import check_weights, weights_config

CHUNK_ROWS, CHUNK_SITES = 500, 20_000
"""Rows, and sites, that are read and computed at once: some 50 MB."""

Results = Iterator[tuple[list[InputRow], NDArray[np.float32]]]
"""Good rows with their columns, some at a time, without their structures."""


class Computing(Protocol):
    """What computes the columns of rows.

    Attributes
    ----------
    labels : list of str
        Names of the columns, float32.
    carried : dict of str to str
        Further columns, which the rows carry: the name of each type, as Arrow has it.
    replaces : tuple of str
        Those of them that may take the place of a column of the input.
    cure : str
        What to do where the input has a column of such a name already.
    made_by : dict
        How the columns are made: what is written into the table, and may not change in a run.
    """

    labels: list[str]
    carried: dict[str, str]
    replaces: tuple[str, ...]
    cure: str
    made_by: dict[str, Any]

    def compute(self, rows: Iterable[InputRow], report: RowReport) -> Results:
        """Columns of the rows that are crystals, in their order; the others are reported."""

    def note_texts(self, report: RowReport) -> list[str]:
        """What is to be said of rows that got their columns all the same."""


class Options(Protocol):
    """What is asked for: can be pickled and compared, and loads what computes it."""

    def load(self) -> Computing: ...

    def __hash__(self) -> int: ...


# -- featurizers ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class FeaturizeOptions:
    """Which columns.

    Attributes
    ----------
    columns : tuple of str
        Of :data:`~matminer_unate.engine.columns.COLUMNS`.
    pooling : tuple of str or None
        Of featurizers; None stands for the default of each, as all None here do.
    weights : str or None
    device : str
    batch_size : int or None
    disorder : {"raise", "ordered", "average"}
    """

    columns: tuple[str, ...] = ("unate",)
    pooling: tuple[str, ...] | None = None
    weights: str | None = None
    device: str = "auto"
    batch_size: int | None = None
    disorder: Disorder = "raise"

    def load(self) -> FeaturizedColumns:
        """The featurizers, with their networks loaded.

        Raises
        ------
        InputError, WeightsError
            An option is wrong.
        """
        if len(set(self.columns)) < len(self.columns):
            raise InputError("--columns names a featurizer twice; name each once")
        if RECIPE in self.columns and self.pooling:
            raise InputError("the recipe has poolings of its own; leave --pooling out")
        parts: dict[str, _Part] = {}
        for name in self.columns:
            parts[name] = self._recipe() if name == RECIPE else self._featurizer(name)
        return FeaturizedColumns(parts, resolve_device(self.device).type)

    def _featurizer(self, name: str) -> _Part:
        featurizer = make_featurizer(name)
        given = {
            "pooling": self.pooling,
            "weights": self.weights,
            "device": self.device,
            "batch_size": self.batch_size,
            "disorder": self.disorder,
        }
        known = featurizer.get_params()
        some = {k: v for k, v in given.items() if k in known and v is not None}
        return _FeaturizerPart(featurizer.set_params(**some).fit())

    def _recipe(self) -> _Part:
        from matminer_unate.regressors.unate_regressor import UnateRegressor

        model = UnateRegressor(device=self.device, on_error="nan", progress=False)
        model.set_params(disorder=self.disorder)
        if self.weights is not None:
            model.set_params(weights=self.weights)
        return _RecipePart(model)


Found = tuple[NDArray[np.float32], dict[int, Exception], dict[str, list[Any]], RowNotes]
"""Columns, why rows have none, columns of text, and what is noted of rows."""


class _Part(Protocol):
    """One featurizer of several, or the recipe."""

    labels: list[str]
    words: list[str]
    made_by: dict[str, Any]

    def columns(self, name: str, rows: Sequence[InputRow], report: RowReport) -> Found: ...

    def notes(self) -> RowNotes:
        """Such as it takes of rows."""


class _FeaturizerPart:
    def __init__(self, featurizer: StructureFeaturizer) -> None:
        self._featurizer = featurizer
        self.labels, self.words = featurizer.feature_labels(), list[str]()
        pooling = featurizer.get_params().get("pooling")
        self.made_by: dict[str, Any] = {"pooling": list(check_pooling(pooling))} if pooling else {}
        self.made_by["disorder"] = featurizer.disorder
        if isinstance(featurizer, UnateFeaturizer):
            config = weights_config(featurizer.weights)
            self.made_by |= {
                "weights": config.name,
                "sha256": config.sha256,
                "batch_size": featurizer.batch_size,
            }

    def columns(self, name: str, rows: Sequence[InputRow], report: RowReport) -> Found:
        structures = [row.error or row.structure for row in rows]
        found = self._featurizer._columns(structures, ignore_errors=True)
        report.noted(name, found.notes, rows)
        return found.values, dict(found.errors), {}, found.notes

    def notes(self) -> RowNotes:
        return self._featurizer._notes()


class _RecipePart:
    def __init__(self, model: Any) -> None:
        self._model = model
        configs = [weights_config(w) for w in check_weights(model.weights)]
        self._config = configs[0]
        self.labels, self.words = model._recipe().names(), ["formula"]
        self.made_by: dict[str, Any] = {
            "weights": [config.name for config in configs],
            "sha256": [config.sha256 for config in configs],
            "disorder": model.disorder,
        }

    def columns(self, name: str, rows: Sequence[InputRow], report: RowReport) -> Found:
        errors: dict[int, Exception] = {}
        notes = self.notes()
        good = usable(rows, notes, self._model.disorder, errors.__setitem__)
        values = np.full((len(rows), len(self.labels)), np.nan, np.float32)
        formulas: list[Any] = [None] * len(rows)
        if good:
            some = [rows[k] for k in good]
            table = reported(some, report, lambda s: self._model.featurize(s))
            values[good] = table[self.labels].to_numpy(np.float32)
            for k, formula in zip(good, table["formula"], strict=True):
                formulas[k] = formula
        return values, errors, {"formula": formulas}, notes

    def notes(self) -> EncodingNotes:
        return EncodingNotes(self._config)


class FeaturizedColumns:
    """The columns of several featurizers, or of the recipe, side by side.

    A column that two of them have comes once: of the first, or of the recipe alone where that has
    all of a featurizer's.
    """

    def __init__(self, parts: dict[str, _Part], device: str) -> None:
        made_by = {name: part.made_by for name, part in parts.items()}
        self.made_by: dict[str, Any] = {
            "version": version("matminer_unate"),
            "device": device,
            "columns": made_by,
        }
        if RECIPE in parts:
            covered = set(parts[RECIPE].labels)
            parts = {
                name: part
                for name, part in parts.items()
                if name == RECIPE or not covered >= set(part.labels)
            }
        self._parts = parts
        every = [label for part in parts.values() for label in part.labels]
        first = {label: k for k, label in reversed(list(enumerate(every)))}
        self.labels = list(dict.fromkeys(every))
        self._chosen = [first[label] for label in self.labels]
        self.replaces = tuple(word for part in parts.values() for word in part.words)
        self.carried = dict.fromkeys(self.replaces, "string")
        self.cure = "drop the columns of features first, or use other weights or pooling"

    def compute(self, rows: Iterable[InputRow], report: RowReport) -> Results:
        """As in :class:`Computing`.

        A row fails with the first featurizer that has no columns for it, and the next ones are not
        asked.
        """
        for chunk in chunks(rows):
            good, errors = list(range(len(chunk))), dict[int, Exception]()
            noted: dict[int, list[str]] = {}
            blocks: list[NDArray[np.float32]] = []
            for name, part in self._parts.items():
                asked = [chunk[k] for k in good]
                values, failed, words, notes = part.columns(name, asked, report)
                for place, texts in notes.by_row().items():
                    noted.setdefault(good[place], []).extend(self._named(name, texts))
                for k, error in failed.items():
                    named = len(self._parts) > 1 and chunk[good[k]].error is None
                    errors[good[k]] = StructureError(f"{name}: {error}") if named else error
                for word, texts in words.items():
                    for k, text in zip(good, texts, strict=True):
                        carried = {**chunk[k].carried, word: text}
                        chunk[k] = replace(chunk[k], carried=carried)
                kept = [k for k in range(len(good)) if k not in failed]
                blocks = [block[kept] for block in blocks] + [values[kept]]
                good = [good[k] for k in kept]
            for k, row in enumerate(chunk):
                if k in errors:
                    report.failed(row, errors[k])
                else:
                    report.remark(row)
                    report.list_notes(row, noted.get(k, []))
            report.n_good += len(good)
            whole = np.hstack(blocks)
            chosen = whole if len(self._chosen) == whole.shape[1] else whole[:, self._chosen]
            yield [replace(chunk[k], structure=None) for k in good], chosen

    def note_texts(self, report: RowReport) -> list[str]:
        """As in :class:`Computing`."""
        # Those of the recipe are among the warnings of its model.
        return [
            text
            for name, part in self._parts.items()
            for text in self._named(name, report.note_texts(name, part.notes()))
        ]

    def _named(self, name: str, texts: Sequence[str]) -> list[str]:
        """With the featurizer that says so, where there are several."""
        several = len(self._parts) > 1
        return [f"columns of {name}: {text}" if several else text for text in texts]


def chunks(rows: Iterable[InputRow]) -> Iterator[list[InputRow]]:
    """Rows in lists that are short enough to be held, and long enough for full batches."""
    chunk: list[InputRow] = []
    n_sites = 0
    for row in rows:
        chunk.append(row)
        n_sites += 0 if row.structure is None else len(row.structure)
        if len(chunk) >= CHUNK_ROWS or n_sites >= CHUNK_SITES:
            yield chunk
            chunk, n_sites = [], 0
    if chunk:
        yield chunk


def usable(
    rows: Sequence[InputRow],
    notes: EncodingNotes,
    disorder: Disorder,
    failed: Callable[[int, StructureError], Any],
) -> list[int]:
    """Positions of the rows that a network can read; ``notes`` are taken of them."""
    structures = [row.error or row.structure for row in rows]
    read = partial(prepare, config=notes.config, disorder=disorder)
    found = []
    for k, prepared in prepare_rows(structures, read, failed):
        notes.read(prepared, k)
        found.append(k)
    return found


def reported(rows: Sequence[InputRow], report: RowReport, call: Callable[[list[Any]], Any]) -> Any:
    """Call with the structures of rows; what is warned of goes to the report."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UnateWarning)
        found = call([row.structure for row in rows])
    report.warned(rows, [str(w.message) for w in caught if w.category is UnateWarning])
    return found
