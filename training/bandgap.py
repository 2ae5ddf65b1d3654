"""CartNet on band gaps: raw atomic numbers against UNATE embeddings as node input.

    python training/bandgap.py --data DIR --out training/results/bandgap.csv --jobs 2
    python training/bandgap.py --data DIR --arms Z site --fractions 0.25 --seeds 5 --out gap.csv
    python training/bandgap.py --data dft_3d.json --protocol jarvis-opt --preset paper --arms Z site
    torchrun --nproc-per-node 8 training/bandgap.py --data DIR --preset paper --out paper.csv
    python training/bandgap.py --data table.parquet --protocol table --target gap --out mine.csv

Without ``--arms``, ``--fractions``, ``--properties`` and ``--protocol``, the whole grid of the
README is run. Every trial (protocol, property, arm, label fraction, seed) is one training; its row
is appended to the table when it is done, and its predictions are kept beside the table. Start the
same command again to go on where it stopped. Any number of processes share a table: each takes the
next trial that nobody works on (``--jobs``, or a process a device under torchrun).

The arms differ in what CartNet reads of a site, and in nothing else: subsets, schedule, epochs and
the rows that choose the epoch (``val``) are the same. With the preset ``cpu``, each has the peak
learning rate that was best for it on ``val`` (``results/bandgap_tuning.csv``).

``Z``             atomic number, a learned embedding of each (CartNet as published)
``site``          frozen UNATE site embedding in its place (UNATE as published)
``site+Z``        both, gated
``element``       the mean UNATE embedding of the site's element
``random-table``  a random vector for each element
``untrained``     frozen embedding of the same encoder with random weights
``bottleneck``    ``site`` through 16 channels with dropout
``finetune``      the pretrained encoder itself, all weights trained on, with a head on its columns
``scratch``       the same network with random weights: what of ``finetune`` is not pretraining
``estimator``     ``UnateFineTuneRegressor`` with its own defaults: reads tight-binding columns too,
                  and holds out a part of the training rows in place of ``val``; not in the grid

``test`` is predicted once, with the weights of the epoch that is best on ``val``.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from benchmarks.networks.arms import ARMS, PRESETS
from benchmarks.networks.protocols import PREDICTED, PROTOCOLS
from benchmarks.networks.statistics import summarise
from benchmarks.networks.trials import (
    Trial,
    claim,
    cut_half_row,
    finished,
    predictions_folder,
    trials,
    whole_grid,
)
from benchmarks.networks.worker import Worker, describe_weights, with_changes
from harness.command import require_positive, run_script, script_parser, torch_threads
from harness.jobs import run_jobs
from harness.result_tables import read_results, write_table
from matminer_unate.errors import InputError
from matminer_unate.finetuning.settings import FitSettings
from matminer_unate.network.weights import DEFAULT_WEIGHTS


def main(argv: list[str] | None = None) -> None:
    args = parse_arguments(argv)
    out, grid = Path(args.out), args.grid
    if args.summarise:
        write_summary(out)
        return
    cut_half_row(out)
    check_table(out, args)
    try:
        ended = run_jobs(run_trials, [(args,)] * args.jobs, args.jobs)
        errors = [job.exception() for _, job in ended]
    except KeyboardInterrupt:
        raise KeyboardInterrupt("the same command goes on where it was") from None
    for error in filter(None, errors):
        raise error
    n_left = len(set(grid) - finished(out))
    print(f"{len(grid) - n_left} of {len(grid)} trials are done", flush=True)
    if not n_left:
        write_summary(out)


def run_trials(args: argparse.Namespace) -> None:
    """Run the trials that no other process runs or has run."""
    worker, out = Worker(args), Path(args.out)
    for trial in args.grid:
        if trial in finished(out):
            continue
        # Another process may have finished it between the two questions.
        with torch_threads(1), claim(out, trial) as mine:
            if mine and trial not in finished(out):
                worker.run(trial)


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = script_parser(__doc__)
    add = parser.add_argument
    add("--data", help="folder of the parquet files, or the file of the protocol")
    add("--protocol", choices=PROTOCOLS, help="[the whole grid]")
    add("--properties", nargs="+", choices=PREDICTED, help="[band_gap]")
    add("--arms", nargs="+", choices=ARMS, help="[Z site finetune]")
    add("--only", nargs="+", choices=ARMS, help="of the trials, those of these arms [all]")
    add("--fractions", nargs="+", type=float, help="of the labels, or numbers of them [0.25 1]")
    add("--seeds", type=int, help="number of seeds [3]")
    add("--preset", choices=PRESETS, default="cpu", help="[cpu]")
    add("--set", nargs="+", default=[], metavar="NAME=VALUE", help="settings of the training")
    add("--weights", default=DEFAULT_WEIGHTS, help=f"[{DEFAULT_WEIGHTS}]")
    add("--target", default="", help="column to predict, of protocol table")
    add("--fold", type=int, default=0, help="of protocol matbench_mp_gap [0]")
    add("--jobs", type=int, default=1, help="processes, one core each [1]")
    add("--out", default="bandgap.csv")
    add("--summarise", action="store_true", help="only compare the arms of a table")
    args = parser.parse_args(argv)
    require_positive(parser, args, "jobs", "seeds")
    if not args.data and not args.summarise:
        parser.error("--data is needed")
    if args.fractions and not all(fraction > 0 for fraction in args.fractions):
        parser.error("--fractions must be above 0")
    with_changes(FitSettings(), args.set)
    if (args.protocol == "table") != bool(args.target):
        parser.error("--protocol table and --target, the column to predict, go together")
    if args.protocol == "table" and args.properties:
        parser.error("--properties is not for --protocol table; log10 your targets beforehand")
    if args.fold and args.protocol != "matbench_mp_gap":
        parser.error("--fold is for --protocol matbench_mp_gap")
    args.grid = grid_of(args)
    return args


def grid_of(args: argparse.Namespace) -> list[Trial]:
    """The trials that are asked for."""
    choices = (args.protocol, args.properties, args.arms, args.fractions, args.seeds)
    if all(choice is None for choice in choices):
        grid = whole_grid()
    else:
        grid = trials(
            args.protocol or "mp-gap-20",
            # What distinguishes the rows of a table is in its columns: the target is the property.
            [args.target] if args.protocol == "table" else args.properties or ("band_gap",),
            args.arms or ("Z", "site", "finetune"),
            args.fractions or (0.25, 1.0),
            range(args.seeds or 3),
        )
    fold = [f"fold={args.fold}"] if args.protocol == "matbench_mp_gap" else []
    changes = " ".join([*fold, *args.set])
    return [replace(t, changes=changes) for t in grid if t.arm in (args.only or ARMS)]


def check_table(out: Path, args: argparse.Namespace) -> None:
    """Raise InputError if the table has rows of other settings."""
    if not out.exists():
        return
    table = read_results(str(out))
    own_values = {
        "preset": {args.preset},
        "weights": {"", describe_weights(args.weights)},
    }
    for name, own in own_values.items():
        others = [] if name not in table else set(table[name].fillna("")) - own
        if others:
            raise InputError(
                f"{out} has rows with {name} {sorted(others)[0]!r}, this command says "
                f"{max(own)!r}; write to another file"
            )


def write_summary(out: Path) -> None:
    """Compare every arm with its references, and write the changes."""
    changes = summarise(read_results(str(out)), predictions_folder(out))
    write_table(
        changes.round(4),
        str(out.with_name(f"{out.stem}_changes.csv")),
        "against Z, paired by subset and seed; 95 % intervals",
    )


if __name__ == "__main__":
    run_script(main)
