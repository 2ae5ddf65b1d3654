"""Crystals in, a table out: what ``unate featurize`` and ``unate predict`` do."""

from __future__ import annotations

import argparse
import itertools
import json
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from matminer_unate import __version__
from matminer_unate.cli.report import Report, failure_file
from matminer_unate.errors import InputError, StructureError, UnateWarning, WeightsError
from matminer_unate.featurizers.pooling import check_pooling, pooled
from matminer_unate.featurizers.rows import PreparedCrystal, RowNotes
from matminer_unate.featurizers.unate import EncodingNotes, UnateFeaturizer, prepare
from matminer_unate.io.readers import InputRow, open_inputs
from matminer_unate.io.writing import FeatureWriter, carried_types, fresh_file
from matminer_unate.network.encoding import encode
from matminer_unate.network.model_folder import CONFIG
from matminer_unate.network.weights import WeightsConfig, weights_config

PREDICTED_ROWS = 512
"""Rows that are read and predicted at once."""

Results = Iterator[tuple[list[InputRow], NDArray[np.float32]]]
"""Good rows with their columns, a batch at a time."""


def featurize(args: argparse.Namespace) -> Callable[[], int]:
    """``unate featurize``: learned columns of crystals.

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
    featurizer = _featurizer(args)
    labels = featurizer.feature_labels()
    config = weights_config(featurizer.weights)

    def compute(rows: Iterator[InputRow], report: Report) -> Results:
        args.progress.stage("featurizing")
        return encode_rows(rows, featurizer, report.prepared, report.failed)

    made_by = {
        "version": __version__,
        "weights": config.name,
        "sha256": config.sha256,
        "pooling": list(featurizer.pooling),
    }
    what = f"rows with {len(labels):,} features"
    return _run(args, compute, labels, made_by, EncodingNotes(config), what, "featurized")


def _featurizer(args: argparse.Namespace) -> UnateFeaturizer:
    from matminer_unate.featurizers.unate import UnateFeaturizer

    featurizer = UnateFeaturizer(args.weights, tuple(args.pooling), args.device)
    if args.batch_size is not None:
        featurizer.set_params(batch_size=args.batch_size)
    return featurizer.fit()


def predict(args: argparse.Namespace) -> Callable[[], int]:
    """``unate predict``: predictions of a saved model; as :func:`featurize`."""
    _check_targets(args)
    model = load_predictor(args.model, args.device)

    def compute(rows: Iterator[InputRow], report: Report) -> Results:
        return predict_rows(rows, model, report, args.progress.stage)

    labels = [args.name + suffix for suffix in model.suffixes]
    made_by = {"version": __version__, "model": model.kind, "weights": model.weights}
    return _run(args, compute, labels, made_by, EncodingNotes(model.config), "rows", "predicted")


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
    """Load what ``save`` of ``UnateFineTuneRegressor`` or ``UnateRegressor`` wrote.

    Raises
    ------
    WeightsError
        The folder holds neither, or is damaged.
    """
    try:
        kind = json.loads((folder / CONFIG).read_text(encoding="utf-8"))["kind"]
    except (OSError, ValueError, KeyError, TypeError):
        kind = None
    if kind == "UnateFineTuneRegressor":
        from matminer_unate.finetuning.fine_tune_regressor import UnateFineTuneRegressor

        network = UnateFineTuneRegressor.load(folder, device).set_params(progress=False)
        config = network.weights_config_
        return Predictor(kind, config.name, config, ("",), lambda s: network.predict(s)[:, None])
    if kind == "UnateRegressor":
        from matminer_unate.network.weights import check_weights
        from matminer_unate.regressors.unate_regressor import UnateRegressor

        model = UnateRegressor.load(folder)
        model.set_params(on_error="nan", device=device, progress=False)
        configs = [weights_config(w) for w in check_weights(model.weights)]
        return Predictor(
            kind,
            ", ".join(config.name for config in configs),
            configs[0],
            tuple(name + end for name in _names(model.target_labels_) for end in ("", "_std")),
            lambda s: np.stack(model.predict(s, return_std=True), axis=-1).reshape(len(s), -1),
        )
    raise WeightsError(
        f"{folder} is no saved model; name the folder that UnateRegressor.save or "
        "UnateFineTuneRegressor.save wrote"
    )


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
    chunk costs half a second beside what its rows do.
    """
    stage("warming up (some 10 s)")
    size, started = 1, time.perf_counter()
    while chunk := list(islice(rows, size)):
        good = list(_prepared(chunk, model.config, report))
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


def _prepared(chunk: list[InputRow], config: WeightsConfig, report: Report) -> Iterator[InputRow]:
    for row in chunk:
        try:
            if row.error is not None:
                raise row.error
            crystal = prepare(row.structure, config)
        except StructureError as e:
            report.failed(row, e)
            continue
        report.prepared(row, crystal)
        yield row


def _predicted(
    good: list[InputRow], model: Predictor, report: Report
) -> tuple[list[InputRow], NDArray[np.float32]]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UnateWarning)
        found = model.predict([row.structure for row in good]).astype(np.float32)
    report.warned(good, [str(w.message) for w in caught if w.category is UnateWarning])
    finite = [bool(np.isfinite(values).all()) for values in found]
    for row, has_value in zip(good, finite, strict=True):
        if not has_value:
            report.failed(row, StructureError("the model has no prediction for this structure"))
    return (
        [replace(row, structure=None) for row in itertools.compress(good, finite)],
        found[finite],
    )


def _run(
    args: argparse.Namespace,
    compute: Callable[[Iterator[InputRow], Report], Results],
    labels: list[str],
    made_by: dict[str, Any],
    notes: RowNotes,
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
    report = Report(notes)
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


def encode_rows(
    rows: Iterable[InputRow],
    featurizer: UnateFeaturizer,
    prepared: Callable[[InputRow, PreparedCrystal], None],
    failed: Callable[[InputRow, StructureError], None],
) -> Iterator[tuple[list[InputRow], NDArray[np.float32]]]:
    """Compute the columns of the rows that are crystals, a batch at a time and in their order.

    Parameters
    ----------
    rows : iterable of InputRow
        Drawn from as the batches need them.
    featurizer : UnateFeaturizer
        Its weights, pooling, device and batch size.
    prepared : callable
        Is told of each row that will be encoded.
    failed : callable
        Is told of each row that cannot be, and why.

    Yields
    ------
    rows : list of InputRow
        Without their structures.
    columns : (len(rows), n_columns) float32
    """
    config = weights_config(featurizer.weights)
    pooling = check_pooling(featurizer.pooling)
    waiting: dict[int, InputRow] = {}

    def graphs() -> Iterator[tuple[int, Any]]:
        for n, row in enumerate(rows):
            try:
                if row.error is not None:
                    raise row.error
                crystal = prepare(row.structure, config)
            except StructureError as e:
                failed(row, e)
                continue
            prepared(row, crystal)
            waiting[n] = replace(row, structure=None)
            yield n, crystal.graph

    for encoded in encode(
        graphs(), featurizer.weights, featurizer.device, featurizer.batch_size, "columns"
    ):
        columns = pooled(encoded, pooling)
        batch = [waiting.pop(n) for n in encoded.rows]
        finite = [bool(np.isfinite(vector).all()) for vector in columns]
        for row, good in zip(batch, finite, strict=True):
            if not good:
                failed(row, StructureError("encoded to non-finite values; please report this"))
        yield [row for row, good in zip(batch, finite, strict=True) if good], columns[finite]
