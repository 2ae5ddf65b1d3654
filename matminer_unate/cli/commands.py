"""Crystals in, a table out: what ``unate featurize`` and ``unate predict`` do."""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from matminer_unate import __version__
from matminer_unate.cli.featurizers import make_featurizer
from matminer_unate.cli.report import Report, failure_file
from matminer_unate.errors import InputError, StructureError, UnateWarning, WeightsError
from matminer_unate.featurizers.base import StructureFeaturizer
from matminer_unate.featurizers.pooling import check_pooling
from matminer_unate.featurizers.rows import prepare_rows
from matminer_unate.featurizers.unate import UnateFeaturizer, prepare
from matminer_unate.io.input_rows import InputRow
from matminer_unate.io.readers import open_inputs
from matminer_unate.io.writing import FeatureWriter, carried_types, fresh_file
from matminer_unate.network.model_folder import kind_of
from matminer_unate.network.weights import WeightsConfig, weights_config

CHUNK_ROWS, CHUNK_SITES = 500, 20_000
"""Rows, and sites, that are read and featurized at once: some 50 MB."""

PREDICTED_ROWS = 512
"""Rows that are read and predicted at once."""

Results = Iterator[tuple[list[InputRow], NDArray[np.float32]]]
"""Good rows with their columns, a batch at a time."""


def featurize(args: argparse.Namespace) -> Callable[[], int]:
    """``unate featurize``: columns of crystals, of one featurizer or of several side by side.

    Parameters
    ----------
    args : Namespace
        Of the command line, and ``progress`` (CommandProgress).

    Returns
    -------
    callable
        Tells of what was done, after the progress has gone; returns how many rows failed.
    """
    _check_targets(args)
    featurizers = _featurizers(args)
    labels = [label for one in featurizers.values() for label in one.feature_labels()]

    def compute(rows: Iterator[InputRow], report: Report) -> Results:
        args.progress.stage("featurizing")
        return featurize_rows(rows, featurizers, report)

    what = f"rows with {len(labels):,} features"
    return _run(args, compute, labels, _made_by(featurizers), what, "featurized")


def _featurizers(args: argparse.Namespace) -> dict[str, StructureFeaturizer]:
    """The featurizers that are asked for, by their names on the command line."""
    if len(set(args.columns)) < len(args.columns):
        raise InputError("--columns names a featurizer twice; name each once")
    chosen = {name: make_featurizer(name) for name in args.columns}
    for featurizer in chosen.values():
        own = {"weights": args.weights, "device": args.device, "batch_size": args.batch_size}
        given = {"pooling": args.pooling and tuple(args.pooling), **own}
        known = featurizer.get_params()
        some = {k: v for k, v in given.items() if k in known and v is not None}
        featurizer.set_params(**some).fit()
    return chosen


def _made_by(featurizers: dict[str, StructureFeaturizer]) -> dict[str, Any]:
    """What is written into a file of columns: how they were made."""
    made_by: dict[str, Any] = {"version": __version__, "columns": {}}
    for name, featurizer in featurizers.items():
        made_by["columns"][name] = {"pooling": list(check_pooling(featurizer.pooling))}
        if isinstance(featurizer, UnateFeaturizer):
            config = weights_config(featurizer.weights)
            made_by["columns"][name] |= {"weights": config.name, "sha256": config.sha256}
    return made_by


def predict(args: argparse.Namespace) -> Callable[[], int]:
    """``unate predict``: predictions of a saved model; as :func:`featurize`."""
    _check_targets(args)
    model = load_predictor(args.model, args.device)

    def compute(rows: Iterator[InputRow], report: Report) -> Results:
        return predict_rows(rows, model, report, args.progress.stage)

    labels = [args.name + suffix for suffix in model.suffixes]
    made_by = {"version": __version__, "model": model.kind, "weights": model.weights}
    return _run(args, compute, labels, made_by, "rows", "predicted")


@dataclass(frozen=True)
class Predictor:
    """A saved model, ready to predict.

    Attributes
    ----------
    kind : str
        Its class.
    weights : str
        Names of the weights it was made with.
    config : WeightsConfig
        Of the first of them.
    suffixes : tuple of str
        What the names of its columns end in; the first is the prediction.
    predict : callable
        Structures → (n, len(suffixes)), NaN where it cannot.
    """

    kind: str
    weights: str
    config: WeightsConfig
    suffixes: tuple[str, ...]
    predict: Callable[[list[Any]], NDArray[np.float64]]


def load_predictor(folder: Path, device: str) -> Predictor:
    """Load what ``save`` of an estimator wrote; of a classifier, probabilities are predicted.

    Raises
    ------
    WeightsError
        The folder holds no such model, or is damaged.
    """
    try:
        kind = kind_of(folder)
    except (WeightsError, OSError):
        kind = ""
    if kind == "UnateFineTuneRegressor":
        from matminer_unate.finetuning.fine_tune_regressor import UnateFineTuneRegressor

        network = UnateFineTuneRegressor.load(folder, device).set_params(progress=False)
        config = network.weights_config_
        return Predictor(kind, config.name, config, ("",), lambda s: network.predict(s)[:, None])
    if kind == "UnateRegressor":
        from matminer_unate.regressors.unate_regressor import UnateRegressor

        model = UnateRegressor.load(folder)
        suffixes = [name + end for name in _names(model.target_labels_) for end in ("", "_std")]

        def with_errors(structures: list[Any]) -> NDArray[np.float64]:
            found = np.stack(model.predict(structures, return_std=True), axis=-1)
            return found.reshape(len(structures), -1)

        return _recipe_predictor(model, device, suffixes, with_errors)
    if kind == "UnateClassifier":
        from matminer_unate.regressors.unate_classifier import UnateClassifier

        classifier = UnateClassifier.load(folder)
        suffixes = [f"_{label}" for label in classifier.classes_]
        return _recipe_predictor(classifier, device, suffixes, classifier.predict_proba)
    raise WeightsError(
        f"{folder} is no saved model; name the folder that save() of UnateRegressor, "
        "UnateClassifier or UnateFineTuneRegressor wrote"
    )


def _recipe_predictor(
    model: Any,
    device: str,
    suffixes: list[str],
    predict: Callable[[list[Any]], NDArray[np.float64]],
) -> Predictor:
    """Of an estimator on the recipe's columns."""
    from matminer_unate.network.weights import check_weights

    model.set_params(on_error="nan", device=device, progress=False)
    configs = [weights_config(w) for w in check_weights(model.weights)]
    names = ", ".join(config.name for config in configs)
    return Predictor(type(model).__name__, names, configs[0], tuple(suffixes), predict)


def _names(targets: list[Any]) -> list[str]:
    """What the columns of several targets are called, after the name of them all."""
    return [f"_{name}" for name in targets] if len(targets) > 1 else [""]


def predict_rows(
    rows: Iterator[InputRow],
    model: Predictor,
    report: Report,
    stage: Callable[[str], None] = lambda name: None,
) -> Results:
    """Predict the rows that are crystals, a chunk at a time, as ``encode_rows`` does columns.

    The first row is a chunk of its own: it loads the tables that all others use. Those that follow
    take about two seconds, and later a tenth of the time that has gone by, at most ten seconds: a
    chunk costs 20 ms beside what its rows do, and full batches are quicker.
    """
    stage("warming up (some 10 s)")
    size, started = 1, time.perf_counter()
    while chunk := list(islice(rows, size)):
        good = _usable(chunk, model.config, report)
        before = time.perf_counter()
        if good:
            yield _predicted(good, model, report)
        now = time.perf_counter()
        if good and size == 1:
            stage("predicting")
            started, size = now, 4
        elif good:
            target = min(10.0, max(2.0, (now - started) / 10))
            share = target / max(now - before, 1e-3)
            size = min(PREDICTED_ROWS, max(2, round(size * min(share, 4.0))))


def _usable(chunk: list[InputRow], config: WeightsConfig, report: Report) -> list[InputRow]:
    def failed(row: int, error: StructureError) -> None:
        report.failed(chunk[row], error)

    structures = [row.error or row.structure for row in chunk]
    prepared = prepare_rows(structures, partial(prepare, config=config), failed)
    good = [chunk[row] for row, _ in prepared]
    for row in good:
        report.remark(row)
    return good


def _predicted(
    good: list[InputRow], model: Predictor, report: Report
) -> tuple[list[InputRow], NDArray[np.float32]]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UnateWarning)
        found = model.predict([row.structure for row in good]).astype(np.float32)
    report.warned(good, [str(w.message) for w in caught if w.category is UnateWarning])
    finite = np.isfinite(found).all(axis=1)
    for k in np.flatnonzero(~finite):
        report.failed(good[k], StructureError("the model has no prediction for this structure"))
    return [replace(good[k], structure=None) for k in np.flatnonzero(finite)], found[finite]


def _run(
    args: argparse.Namespace,
    compute: Callable[[Iterator[InputRow], Report], Results],
    labels: list[str],
    made_by: dict[str, Any],
    what: str,
    participle: str,
) -> Callable[[], int]:
    """Read the input, compute and write the table; what is returned tells of it."""
    started = time.perf_counter()
    bar = args.progress
    bar.stage("looking at the input")
    sources = open_inputs(
        args.input,
        args.column,
        accept_doubtful=args.accept_doubtful,
        site_tolerance=args.site_tolerance,
    )
    bar.stage("loading the network", sum(source.n_rows for source in sources))
    report = Report()
    with (
        failure_file(args.errors) as failures,
        fresh_file(args.out) as part,
        FeatureWriter(
            part,
            args.out.suffix.lower(),
            carried_types(sources),
            labels,
            {"matminer_unate": json.dumps(made_by)},
        ) as writer,
    ):
        report.failures, report.bar = failures, bar
        for good, columns in compute(chain.from_iterable(s.rows() for s in sources), report):
            writer.add(good, columns)
            bar.update(len(good))
    seconds = time.perf_counter() - started

    def finish() -> int:
        report.print(sources, writer.n_rows, args)
        if not writer.n_rows:
            raise InputError(f"no row could be {participle}; nothing was written")
        if not args.quiet:
            print(
                f"{writer.n_rows:,} {what} in {seconds:.1f} s ({writer.n_rows / seconds:,.0f} "
                f"rows/s): {args.out}"
            )
        return report.n_failed

    return finish


def _check_targets(args: argparse.Namespace) -> None:
    """Find what is wrong with the files to be written before any work is done."""
    if args.out.suffix.lower() not in (".parquet", ".csv"):
        raise InputError(f"--out {args.out}: the name must end in .parquet or .csv")
    if args.errors is not None and args.errors.suffix.lower() != ".csv":
        raise InputError(f"--errors {args.errors}: the name must end in .csv")
    targets = [path for path in (args.out, args.errors) if path is not None]
    inputs = {path.resolve() for path in args.input}
    for path in targets:
        if path.resolve() in inputs:
            raise InputError(f"{path} is an input too; write to another file")
        if path.is_dir():
            raise InputError(f"{path} is a folder; name a file in it")
        if path.exists() and not args.overwrite:
            raise InputError(f"{path} exists; pass --overwrite to replace it")
        if not path.parent.is_dir():
            raise InputError(f"the folder {path.parent} does not exist; create it first")
    if len({path.resolve() for path in targets}) < len(targets):
        raise InputError("--out and --errors are the same file; name two")


def featurize_rows(
    rows: Iterable[InputRow], featurizers: dict[str, StructureFeaturizer], report: Report
) -> Results:
    """Compute the columns of the rows that are crystals, a chunk at a time and in their order.

    A row fails with the first featurizer that has no columns for it, and the next ones are not
    asked.

    Parameters
    ----------
    rows : iterable of InputRow
        Drawn from as the chunks need them.
    featurizers : dict of str to StructureFeaturizer
        By the names that are said where there are several.
    report : Report
        Is told of each row that fails or that there is a remark on, and of what is to be noted.

    Yields
    ------
    rows : list of InputRow
        Without their structures.
    columns : (len(rows), n_columns) float32
    """
    for chunk in _chunks(rows):
        good = list(range(len(chunk)))
        blocks: list[NDArray[np.float32]] = []
        errors: dict[int, Exception] = {}
        for name, featurizer in featurizers.items():
            structures = [chunk[k].error or chunk[k].structure for k in good]
            found = featurizer._columns(structures, ignore_errors=True)
            report.noted(name, found.notes)
            for k, error in found.errors.items():
                named = len(featurizers) > 1 and chunk[good[k]].error is None
                errors[good[k]] = StructureError(f"{name}: {error}") if named else error
            kept = [k for k in range(len(good)) if k not in found.errors]
            blocks = [block[kept] for block in blocks] + [found.values[kept]]
            good = [good[k] for k in kept]
        for k, row in enumerate(chunk):
            if k in errors:
                report.failed(row, errors[k])
            else:
                report.remark(row)
        yield [replace(chunk[k], structure=None) for k in good], np.hstack(blocks)


def _chunks(rows: Iterable[InputRow]) -> Iterator[list[InputRow]]:
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
