"""CartNet on band gaps: raw atomic numbers against UNATE embeddings as node input.

    python training/bandgap.py --data DIR --out training/results/bandgap.csv --jobs 2
    python training/bandgap.py --data DIR --arms Z site --fractions 0.25 --seeds 5 --out gap.csv
    python training/bandgap.py --data dft_3d.json --protocol jarvis-opt --preset paper --arms Z site
    torchrun --nproc-per-node 8 training/bandgap.py --data DIR --preset paper --out paper.csv
    python training/bandgap.py --data table.parquet --protocol table --target gap --out mine.csv

Without ``--arms``, ``--fractions``, ``--properties`` and ``--protocol``, the whole grid of the
README is run. Every cell (protocol, property, arm, label fraction, seed) is one training; its row
is appended to the table when it is done, and its predictions are kept beside the table. Start the
same command again to go on where it stopped. Any number of processes share a table: each takes the
next cell that nobody works on (``--jobs``, or a process a device under torchrun).

The arms differ in what CartNet reads of a site, and in nothing else: subsets, schedule, epochs and
the rows that choose the epoch (``val``) are the same.

``Z``             atomic number, a learned embedding of each (CartNet as published)
``site``          frozen UNATE site embedding in its place (UNATE as published)
``site+Z``        both, gated
``element``       the mean UNATE embedding of the site's element
``random-table``  a random vector for each element
``untrained``     frozen embedding of the same encoder with random weights
``bottleneck``    ``site`` through 16 channels with dropout
``finetune``      the pretrained encoder itself, all weights trained on, with a head on its columns
``scratch``       the same network with random weights: what of ``finetune`` is not pretraining
``estimator``     ``UnateFineTuneRegressor`` as it is shipped: reads tight-binding columns too, and
                  holds out a part of the training rows in place of ``val``; not in the grid

``test`` is predicted once, with the weights of the epoch that is best on ``val``.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pymatgen.core import Lattice, Structure

from arms import ARMS, PRESETS, Preset, make_network, site_vectors
from bandgap_statistics import summarise
from command import run_script, torch_threads
from grid import (
    Cell,
    append_row,
    cells,
    claim,
    cut_half_row,
    finished,
    predictions_folder,
    whole_grid,
)
from matminer_unate.checkpoint import DEFAULT_WEIGHTS, read_config
from matminer_unate.crystal_regressor import Crystals
from matminer_unate.errors import InputError
from matminer_unate.finetune import UnateFineTuneRegressor
from matminer_unate.fit_settings import FitSettings
from matminer_unate.fitting import fit_network, predict
from matminer_unate.graph import radius_graph
from protocols import PROPERTIES, PROTOCOLS, Labelled, load_labelled, nested_subset
from result_tables import read_results, write_table
from stopping import Children, deaf_to_interrupts

PREDICTED = ("val", "test", "jarvis", "unseen")
"""Parts that are predicted, where a protocol has them."""

Index = NDArray[np.int64]

Fitted = tuple[dict[str, NDArray[np.float64]], dict[str, Any]]
"""Predictions by part, and what is told of the training."""


def main(argv: list[str] | None = None) -> None:
    args = parse_arguments(argv)
    out, grid = Path(args.out), args.grid
    if args.summarise:
        write_summary(out)
        return
    cut_half_row(out)
    check_table(out, args)
    try:
        if args.jobs > 1:
            run_jobs(args.jobs, sys.argv[1:] if argv is None else argv)
        else:
            with torch_threads(1):
                run_cells(args, grid, out)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("the same command goes on where it was") from None
    n_left = len(set(grid) - finished(out))
    print(f"{len(grid) - n_left} of {len(grid)} cells are done", flush=True)
    if not n_left:
        write_summary(out)


def run_cells(args: argparse.Namespace, grid: Sequence[Cell], out: Path) -> None:
    """Run the cells that no other process runs or has run."""
    worker = Worker(args)
    for cell in grid:
        if cell in finished(out):
            continue
        with claim(out, cell) as mine:
            # Another process may have finished it between the two questions.
            if mine and cell not in finished(out):
                worker.run(cell)


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", help="folder of the parquet files, or the file of the protocol")
    add("--protocol", choices=PROTOCOLS, help="[the whole grid]")
    add("--properties", nargs="+", choices=PROPERTIES, help="[band_gap]")
    add("--arms", nargs="+", choices=ARMS, help="[Z site finetune]")
    add("--only", nargs="+", choices=ARMS, help="of the cells, those of these arms [all]")
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
    if args.jobs < 1:
        parser.error("--jobs must be at least 1")
    if not args.data and not args.summarise:
        parser.error("--data is needed")
    if args.seeds is not None and args.seeds < 1:
        parser.error("--seeds must be at least 1")
    if args.fractions and not all(fraction > 0 for fraction in args.fractions):
        parser.error("--fractions must be above 0")
    with_changes(FitSettings(), args.set)
    # What distinguishes the rows of a table is in its columns: the target is the property.
    properties, changes = args.properties, list(args.set)
    if (args.protocol == "table") != bool(args.target):
        parser.error("--protocol table and --target, the column to predict, go together")
    if args.protocol == "table":
        if args.properties:
            parser.error("--properties is not for --protocol table; log10 your targets beforehand")
        properties = [args.target]
    if args.protocol == "matbench_mp_gap":
        changes = [f"fold={args.fold}", *changes]
    elif args.fold:
        parser.error("--fold is for --protocol matbench_mp_gap")
    choices = (args.protocol, args.properties, args.arms, args.fractions, args.seeds)
    if all(choice is None for choice in choices):
        args.grid = whole_grid()
    else:
        args.grid = cells(
            args.protocol or "mp-gap-20",
            properties or ("band_gap",),
            args.arms or ("Z", "site", "finetune"),
            args.fractions or (0.25, 1.0),
            range(args.seeds or 3),
        )
    args.grid = [
        replace(c, changes=" ".join(changes)) for c in args.grid if c.arm in (args.only or ARMS)
    ]
    return args


def with_changes(settings: FitSettings, changes: Sequence[str]) -> FitSettings:
    """Settings with ``name=value`` changes."""
    known = {f.name for f in fields(FitSettings)}
    values: dict[str, Any] = {}
    for change in changes:
        name, _, value = change.partition("=")
        if name not in known:
            raise InputError(f"--set {change}: no such setting; there are {', '.join(known)}")
        kind = type(getattr(settings, name))
        try:
            values[name] = value == "true" if kind is bool else kind(value)
        except ValueError:
            raise InputError(f"--set {change}: expected {kind.__name__}") from None
    return replace(settings, **values)


# -- processes ----------------------------------------------------------------------------------


def run_jobs(n: int, argv: Sequence[str]) -> None:
    """Start this script ``n`` times, one core each, and wait."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, *argv, "--jobs", "1"]
    with Children() as children:
        # Of Ctrl-C this process tells, once, and ends them.
        with deaf_to_interrupts():
            processes = [children.start(command, env=environment) for _ in range(n)]
        failed = [p.returncode for p in processes if p.wait()]
    if failed:
        raise InputError(f"{len(failed)} of {n} processes ended with an error, see above")


def device_of_process() -> torch.device:
    """The device of this process: under torchrun each has its own."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    torch.backends.cuda.matmul.allow_tf32 = True
    rank = int(os.environ.get("LOCAL_RANK", 0))
    return torch.device("cuda", rank % torch.cuda.device_count())


def describe_weights(weights: str) -> str:
    """Name and digest of the weights, so that no table mixes two."""
    config = read_config(weights)
    return f"{config.name} {config.sha256[:12]}"


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


# -- one cell -------------------------------------------------------------------------------------


class Worker:
    """Runs cells, and keeps what the next one is likely to need again.

    Parameters
    ----------
    args : Namespace
        From :func:`parse_arguments`.
    """

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.preset: Preset = PRESETS[args.preset]
        self.out = Path(args.out)
        self.device = device_of_process()
        self.weights = describe_weights(args.weights)
        self._labelled: tuple[Any, Labelled] | None = None
        self._graphs: tuple[Any, Crystals] | None = None
        self._vectors: dict[str, Any] = {}

    def run(self, cell: Cell) -> None:
        """Train, predict, and append the row."""
        started = time.perf_counter()
        labelled = self.labelled(cell)
        train = nested_subset(labelled.parts["train"], cell.fraction, cell.seed)
        fit = self.fit_estimator if cell.arm == "estimator" else self.fit_network
        predictions, told = fit(cell, labelled, train)
        row: dict[str, Any] = {
            **vars(cell),
            "preset": self.args.preset,
            "weights": self.weights if ARMS[cell.arm].pretrained else "",
            "n_train": len(train),
            **told,
        }
        kept: dict[str, Any] = {}
        for part in PREDICTED:
            row[f"{part}_mae"] = np.nan
            if part in labelled.parts:
                rows, found = labelled.parts[part], predictions[part]
                row[f"{part}_mae"] = round(float(np.abs(found - labelled.y[rows]).mean()), 6)
                kept |= {
                    f"{part}_predicted": found.astype(np.float32),
                    f"{part}_true": labelled.y[rows].astype(np.float32),
                    f"{part}_formula": labelled.formulas[rows],
                }
        row["device"] = self.device.type
        unit = f" {labelled.unit}" if labelled.unit else ""
        path = predictions_folder(self.out) / cell.predictions()
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(path, **kept)
        append_row(self.out, row)
        print(
            f"{cell}: val {row['val_mae']:.4f} test {row['test_mae']:.4f}{unit}, "
            f"{row['train_s']:.0f} s training, {time.perf_counter() - started:.0f} s in all",
            flush=True,
        )

    def fit_network(self, cell: Cell, labelled: Labelled, train: Index) -> Fitted:
        """Train the network of an arm; ``val`` chooses the epoch."""
        crystals = self.crystals(cell)
        settings = self.preset.settings(cell.arm, len(train), labelled.minimum)
        settings = with_changes(settings, self.args.set)
        network = make_network(cell.arm, self.preset, self.args.weights, cell.seed)
        val = labelled.parts["val"]
        network, report = fit_network(
            network, crystals, labelled.y, train, val, settings, cell.seed, self.device
        )
        predictions = {
            part: predict(network, crystals, labelled.parts[part], self.device, labelled.minimum)
            for part in PREDICTED
            if part in labelled.parts
        }
        return predictions, {
            "epochs": settings.epochs,
            "learning_rate": settings.learning_rate,
            "best_epoch": round(report.best_epoch, 2),
            "n_parameters": sum(p.numel() for p in network.parameters()),
            "train_s": round(report.seconds, 1),
        }

    def fit_estimator(self, cell: Cell, labelled: Labelled, train: Index) -> Fitted:
        """Fit what users get, as they get it: it sees the training rows alone."""
        if self.args.set:
            raise InputError("the arm estimator is tested as it is shipped; leave out --set")
        model = UnateFineTuneRegressor(
            self.args.weights, device=str(self.device), random_state=cell.seed, progress=False
        )
        model.fit(structures(labelled, train), labelled.y[train])
        predictions = {
            part: model.predict(structures(labelled, labelled.parts[part]))
            for part in PREDICTED
            if part in labelled.parts
        }
        return predictions, {
            "epochs": round(max(epoch for r in model.reports_ for epoch, _, _ in r.history)),
            "learning_rate": model.learning_rate,
            "best_epoch": round(float(np.mean([r.best_epoch for r in model.reports_])), 2),
            "n_parameters": sum(p.numel() for n in model.networks_ for p in n.parameters()),
            "train_s": round(sum(r.seconds for r in model.reports_), 1),
        }

    def labelled(self, cell: Cell) -> Labelled:
        key = cell.protocol, cell.property
        if self._labelled is None or self._labelled[0] != key:
            args = self.args
            self._labelled = key, load_labelled(*key, args.data, args.fold)
            self._graphs, self._vectors = None, {}
        return self._labelled[1]

    def crystals(self, cell: Cell) -> Crystals:
        """Graphs and site vectors of the cell's crystals."""
        labelled = self.labelled(cell)
        cutoff = self.preset.encoder.cutoff
        if cell.arm in ("finetune", "scratch"):
            cutoff = read_config(self.args.weights).cutoff
        if self._graphs is None or self._graphs[0] != cutoff:
            graphs = [radius_graph(*arrays, cutoff) for arrays in labelled.crystals]
            self._graphs = cutoff, Crystals(graphs)
        crystals = self._graphs[1]
        kind = ARMS[cell.arm].vectors
        if not kind:
            return crystals
        if kind not in self._vectors:
            train, weights = labelled.parts["train"], self.args.weights
            self._vectors[kind] = site_vectors(kind, labelled.crystals, train, weights)
        return Crystals(crystals.graphs, self._vectors[kind])


def structures(labelled: Labelled, rows: Index) -> list[Structure]:
    """Some of the crystals as users have them."""
    parts = (labelled.crystals[k] for k in rows)
    return [Structure(Lattice(lattice), numbers, coords) for lattice, coords, numbers in parts]


def write_summary(out: Path) -> None:
    """Compare every arm with ``Z``; see :mod:`bandgap_statistics`."""
    changes = summarise(read_results(str(out)), predictions_folder(out))
    write_table(
        changes.round(4),
        str(out.with_name(f"{out.stem}_changes.csv")),
        "against Z, paired by subset and seed; 95 % intervals",
    )


if __name__ == "__main__":
    run_script(main)
