"""What ``unate featurize``, ``predict`` and ``merge`` do."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from matminer_unate.cli.map import draw_map as map  # noqa: F401
from matminer_unate.cli.progress import CommandProgress
from matminer_unate.cli.report import print_report
from matminer_unate.cli.similar import similar  # noqa: F401
from matminer_unate.engine.computing import FeaturizeOptions, Options
from matminer_unate.engine.identity import FileStates
from matminer_unate.engine.merging import merge as merge_parts
from matminer_unate.engine.predictions import PredictOptions
from matminer_unate.engine.running import Run, Target
from matminer_unate.errors import InputError
from matminer_unate.io.readers import open_inputs
from matminer_unate.network.weights import shipped_weights


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
    options = FeaturizeOptions(
        tuple(args.columns),
        tuple(args.pooling) if args.pooling else None,
        _whole_path(args.weights),
        args.device,
        args.batch_size,
        args.disorder,
    )
    return _run(args, options, "featurizing", "featurized", _with_features)


def _with_features(labels: Sequence[str]) -> str:
    return f"rows with {len(labels):,} features"


def _whole_path(weights: str | None) -> str | None:
    """Weights by name, or their folder as workers elsewhere find it too."""
    if weights is None or weights in shipped_weights():
        return weights
    return str(Path(weights).resolve()) if Path(weights).exists() else weights


def predict(args: argparse.Namespace) -> Callable[[], int]:
    """``unate predict``: predictions of a saved model; as :func:`featurize`."""
    model = str(args.model.resolve())
    options = PredictOptions(
        model, args.device, args.name, args.disorder, args.novelty, args.interval
    )
    return _run(args, options, "predicting", "predicted", lambda labels: "rows")


def _run(
    args: argparse.Namespace,
    options: Options,
    stage: str,
    participle: str,
    what: Callable[[Sequence[str]], str],
) -> Callable[[], int]:
    """Compute and write the table; what is returned tells of it."""
    started = time.perf_counter()
    bar = args.progress
    target = Target(args.out, args.errors)
    target.check(args.input, args.overwrite, args.shard)
    bar.stage("looking at the input")
    sources = open_inputs(
        args.input,
        args.column,
        accept_doubtful=args.accept_doubtful,
        site_tolerance=args.site_tolerance,
        max_sites=args.max_sites,
    )
    seen = FileStates(sources)
    bar.stage("loading the network", sum(source.n_rows for source in sources))
    run = Run(
        sources,
        options,
        options.load(),
        target,
        {
            "column": args.column,
            "accept_doubtful": args.accept_doubtful,
            "site_tolerance": args.site_tolerance,
            "max_sites": args.max_sites,
        },
        stage,
        args.shard,
        args.part_rows,
        args.overwrite,
        args.resume,
        seen,
        say=_say(args),
    )
    outcome = run(bar, args.dask)
    seconds = time.perf_counter() - started

    def finish() -> int:
        report = outcome.report
        print_report(report, run.computing.note_texts(report), sources, args)
        n_now = report.n_good + report.n_failed - outcome.n_before
        if not report.n_good and outcome.is_whole:
            raise InputError(f"no row could be {participle}; nothing was written")
        if not args.quiet:
            before = f", {outcome.n_before:,} of them before" if outcome.n_before else ""
            where = target.out if outcome.is_whole else f"shard {args.shard} in {target.parts}"
            print(
                f"{report.n_good:,} {what(run.computing.labels)} in {seconds:.1f} s "
                f"({n_now / seconds:,.0f} rows/s{before}): {where}"
            )
            if not outcome.is_whole:
                print(f"when all shards are finished: unate merge --out {target.out}")
        return report.n_failed

    return finish


def _say(args: argparse.Namespace) -> Callable[[str], None]:
    """What tells people lines."""
    bar: CommandProgress = args.progress
    return (lambda text: None) if args.quiet else bar.say


def merge(args: argparse.Namespace) -> Callable[[], int]:
    """``unate merge``: the parts of all shards → the table; as :func:`featurize`."""
    target = Target(args.out, args.errors)
    folders: list[Path] = args.parts or [target.parts]
    target.check([], args.overwrite)
    report = merge_parts(folders, target, args.progress, args.overwrite, _say(args))

    def finish() -> int:
        print_report(report, [], [], args)
        if not report.n_good:
            raise InputError("no row of any shard is good; nothing was written")
        if not args.quiet:
            print(f"{report.n_good:,} rows: {args.out}")
        return report.n_failed

    return finish
