"""Official MatBench tasks and folds: how good are the regressors, beside the published entries?

    python training/matbench.py --data data/ --tasks log_kvrh --n-train 600 --folds 0
    python training/matbench.py --data data/ --tasks log_kvrh perovskites --model both --test \\
        --network n_members=1 validation_share=0 --networks 2 --out training/results/matbench.csv

``--data`` is the folder of the parquet files that ``training/benchmarks/matbench/tasks.py`` names;
without it the folds of the ``matbench`` package and the data of matminer are used, which has all
official rows (``pip install --no-deps matbench==0.6``; matminer downloads a task on first use).

Without ``--test`` no test row is looked at: models learn from training rows of a fold, and are
judged on other training rows of it. With ``--test`` they learn from all training rows and predict
the test rows; a file in MatBench's own format with these predictions lies in ``--work``.

``--model``: ``recipe`` is ``UnateRegressor`` (``UnateClassifier`` where the target is a class),
``network`` is the mean of ``--networks`` fits of ``UnateFineTuneRegressor``, and ``both`` is the
mean of the two, with shares that are chosen on training rows, which takes other fits of the
networks, or given by ``--share``. Their options are passed on by name: ``--recipe target=auto
n_jobs=2 --network n_members=1 epochs=40``.

A stopped run goes on with the same command: columns lie in parts in ``--work``, and so do each fit
and, every five minutes, a network in training; the table gets a row for each fold. Columns and fits
are computed anew where weights, names of columns or options changed; delete that folder when data
or code did. Columns take 15 to 30 ms of one core for a crystal of the Materials Project, half an
hour for mp_gap; the networks take theirs of the electrons from those of the recipe.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

from benchmarks.matbench.leaderboard import Submission, scores
from benchmarks.matbench.models import MODELS, Experts, Outcome, read_options
from benchmarks.matbench.report import matbench_report
from benchmarks.matbench.tasks import (
    N_FOLDS,
    TASKS,
    Fold,
    TaskRows,
    read_installed,
    read_local,
)
from harness.command import require_positive, run_script, script_parser
from harness.result_tables import GrowingTable
from matminer_unate.network.weights import checksums

KEYS = ("task", "part", "model", "options", "fold", "n_train", "n_val", "seed")

NOTE = "a row a fold; part test: official test rows, val: training rows of the fold; CPU seconds"


def main(argv: list[str] | None = None) -> None:
    args = parse_arguments(argv)
    options = {"recipe": read_options(args.recipe), "network": read_options(args.network)}
    table = GrowingTable(args.out, KEYS, NOTE)
    submission = Submission(Path(args.work) / f"results-{args.model}.json.gz", args.model)
    for name in args.tasks:
        rows = read_local(Path(args.data), name) if args.data else read_installed(name)
        experts = Experts(Path(args.work), rows, options, args.share, args.jobs, args.networks)
        for number in args.folds:
            fold = rows.official(number)
            if not args.test:
                fold = fold.inner(args.seed, args.n_train, args.n_val)
            key = run_key(args, name, fold)
            known = tuple(key.values()) in table.known
            if known and not args.test:
                continue
            found = experts.outcome(args.model, fold)
            if args.test:
                submission.add(rows, fold, found, options)
            if not known:
                row = key | judged(rows, fold, found)
                print(" ".join(f"{k}={_short(v)}" for k, v in row.items()), flush=True)
                table.add(row)
    for line in submission.report():
        print(line)
    if Path(args.out).exists():
        matbench_report(Path(args.out))


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = script_parser(__doc__)
    add = parser.add_argument
    add("--tasks", nargs="+", default=["log_kvrh"], metavar="TASK", help=f"{', '.join(TASKS)}")
    add("--data", help="folder of the parquet files [the matbench package]")
    add("--model", choices=MODELS, default="recipe", help="[recipe]")
    add("--folds", nargs="+", type=int, default=list(range(N_FOLDS)), help="[0 1 2 3 4]")
    add("--test", action="store_true", help="judge on the official test rows, once, at the end")
    add("--n-train", type=int, help="training rows at most, not with --test [all]")
    add("--n-val", type=int, help="training rows to judge on [a tenth, at most 2000]")
    add("--seed", type=int, default=0, help="of the rows of --n-train and --n-val [0]")
    add("--recipe", nargs="+", default=[], metavar="NAME=VALUE", help="options of UnateRegressor")
    add("--network", nargs="+", default=[], metavar="NAME=VALUE", help="of UnateFineTuneRegressor")
    add("--networks", type=int, default=1, help="fits of it, of seeds 0, 1, …, averaged [1]")
    add("--share", type=float, help="of the network in --model both [chosen on training rows]")
    add("--jobs", type=int, default=1, help="processes that columns are computed by [1]")
    add("--work", default="runs/matbench", help="[runs/matbench]")
    add("--out", default="matbench.csv", help="and .md and .png beside it [matbench.csv]")
    args = parser.parse_args(argv)
    require_positive(parser, args, "jobs", "n_train", "n_val", "networks")
    if args.test and (args.n_train or args.n_val):
        parser.error("--test takes all training rows; leave --n-train and --n-val out")
    if args.share is not None and not 0 <= args.share <= 1:
        parser.error("--share is from 0 to 1")
    for number in args.folds:
        if not 0 <= number < N_FOLDS:
            parser.error(f"--folds are from 0 to {N_FOLDS - 1}")
    for name in args.tasks if args.data else ():
        if name not in TASKS:
            parser.error(f"{name!r} is none of {', '.join(TASKS)}")
    return args


def run_key(args: argparse.Namespace, name: str, fold: Fold) -> dict[str, Any]:
    """What tells the row of a fold from others."""
    used = {"recipe": ("recipe",), "network": ("network",), "both": ("recipe", "network")}
    given = [
        f"{part}.{option}={_told(option, value)}"
        for part in used[args.model]
        for option, _, value in (pair.partition("=") for pair in sorted(getattr(args, part)))
    ]
    if args.model != "recipe" and args.networks > 1:
        given.append(f"networks={args.networks}")
    if args.model == "both" and args.share is not None:
        given.append(f"share={args.share:g}")
    values = (
        name,
        fold.part,
        args.model,
        " ".join(given) or "defaults",
        fold.number,
        len(fold.train),
        0 if args.test else len(fold.judged),
        0 if args.test else args.seed,
    )
    return dict(zip(KEYS, values, strict=True))


def _told(option: str, value: str) -> str:
    """The value of an option; no folder of a machine, but of one's own weights what they are."""
    if "/" not in value:
        return value.replace(" ", "")
    if option != "weights":
        return Path(value).name
    given = read_options([f"weights={value}"])["weights"]
    paths = [given] if isinstance(given, str) else given
    sums = zip(paths, checksums(paths), strict=True)
    return "+".join(f"{Path(path).name}:{sha256[:8]}" for path, sha256 in sums)


def judged(rows: TaskRows, fold: Fold, found: Outcome) -> dict[str, Any]:
    """Errors on the judged rows, as MatBench scores them, and what else is to be known."""
    y, strict = rows.y[fold.judged], rows.strict[fold.judged]
    all_scores = scores(y, found.predictions, rows.classes)
    metric = "rocauc" if rows.classes else "mae"
    # A quick look may be at few rows.
    told = np.ptp(y[strict]) > 0 if strict.any() else False
    of_strict = scores(y[strict], found.predictions[strict], rows.classes) if told else {}
    of_probabilities = roc_auc_score(y > 0.5, found.predictions) if rows.classes else np.nan
    return {
        "n_rows": len(fold.judged),
        "n_strict": int(strict.sum()),
        "n_rows_task": len(rows),
        "rows_missing": rows.n_official - len(rows),
        "metric": metric,
        "error": all_scores[metric],
        "error_strict": of_strict.get(metric, np.nan),
        "scores": " ".join(f"{k}={v:.5g}" for k, v in all_scores.items()),
        "roc_auc_of_probabilities": float(of_probabilities),
        "network_share": found.facts.get("network_share", np.nan),
        "held_out_error": found.facts.get("held_out_error", np.nan),
        "n_filled": found.facts["n_filled"],
        **{
            name: round(found.facts.get(name, 0.0), 1)
            for name in ("columns_cpu_s", "fit_cpu_s", "predict_cpu_s")
        },
    }


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    run_script(main)
