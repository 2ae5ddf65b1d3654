"""One training of a network: from a trial of the grid to a row of the table."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pymatgen.core import Structure

from benchmarks.labelled_tables import structure_of
from benchmarks.networks.arms import ARMS, PRESETS, Preset, make_network, site_vectors
from benchmarks.networks.protocols import Labelled, load_labelled, nested_subset
from benchmarks.networks.trials import Trial, append_row, predictions_folder
from harness.result_tables import describe_weights
from matminer_unate.crystals.graph import radius_graph
from matminer_unate.errors import InputError
from matminer_unate.finetuning.fine_tune_regressor import UnateFineTuneRegressor
from matminer_unate.finetuning.fitting import fit_network, predict
from matminer_unate.finetuning.networks import Crystals
from matminer_unate.finetuning.settings import FitSettings
from matminer_unate.network.weights import read_config

PREDICTED = ("val", "test", "jarvis", "unseen")
"""Parts that are predicted, where a protocol has them."""

Index = NDArray[np.int64]

Fitted = tuple[dict[str, NDArray[np.float64]], dict[str, Any]]
"""Predictions by part, and what is told of the training."""


def with_changes(settings: FitSettings, changes: Sequence[str]) -> FitSettings:
    """Settings with ``name=value`` changes."""
    return replace(settings, **values_of(changes))


def values_of(changes: Sequence[str]) -> dict[str, Any]:
    """What ``name=value`` changes of FitSettings say, each of the type of its setting."""
    kinds = {name: type(value) for name, value in vars(FitSettings()).items()}
    values: dict[str, Any] = {}
    for change in changes:
        name, _, value = change.partition("=")
        if name not in kinds:
            raise InputError(f"--set {change}: no such setting; there are {', '.join(kinds)}")
        kind = kinds[name]
        try:
            values[name] = value == "true" if kind is bool else kind(value)
        except ValueError:
            raise InputError(f"--set {change}: expected {kind.__name__}") from None
    return values


def device_of_process() -> torch.device:
    """The device of this process: under torchrun each has its own."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    torch.backends.cuda.matmul.allow_tf32 = True
    rank = int(os.environ.get("LOCAL_RANK", 0))
    return torch.device("cuda", rank % torch.cuda.device_count())


# -- one trial -------------------------------------------------------------------------------------


class Worker:
    """Runs trials, and keeps what the next one is likely to need again.

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

    def run(self, trial: Trial) -> None:
        """Train, predict, and append the row."""
        started = time.perf_counter()
        labelled = self.labelled(trial)
        train = nested_subset(labelled.parts["train"], trial.fraction, trial.seed)
        fit = self.fit_estimator if trial.arm == "estimator" else self.fit_network
        predictions, told = fit(trial, labelled, train)
        row: dict[str, Any] = {
            **vars(trial),
            "preset": self.args.preset,
            "weights": self.weights if ARMS[trial.arm].pretrained else "",
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
        path = predictions_folder(self.out) / trial.predictions()
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(path, **kept)
        append_row(self.out, row)
        print(
            f"{trial}: val {row['val_mae']:.4f} test {row['test_mae']:.4f}{unit}, "
            f"{row['train_s']:.0f} s training, {time.perf_counter() - started:.0f} s in all",
            flush=True,
        )

    def fit_network(self, trial: Trial, labelled: Labelled, train: Index) -> Fitted:
        """Train the network of an arm; ``val`` chooses the epoch."""
        crystals = self.crystals(trial)
        settings = self.preset.settings(trial.arm, len(train), labelled.minimum)
        settings = with_changes(settings, self.args.set)
        network = make_network(trial.arm, self.preset, self.args.weights, trial.seed)
        val = labelled.parts["val"]
        network, report = fit_network(
            network, crystals, labelled.y, train, val, settings, trial.seed, self.device
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

    def fit_estimator(self, trial: Trial, labelled: Labelled, train: Index) -> Fitted:
        """Fit what users get, as they get it but for ``--set``: it sees the training rows alone."""
        model = UnateFineTuneRegressor(
            self.args.weights, device=str(self.device), random_state=trial.seed, progress=False
        )
        changes = values_of(self.args.set)
        fixed = sorted(set(changes) - set(model.get_params()))
        if fixed:
            raise InputError(f"--set {fixed[0]}: the arm estimator has no such parameter")
        model.set_params(**changes)

        def structures(rows: Index) -> list[Structure]:
            return [structure_of(labelled.crystals[k]) for k in rows]

        model.fit(structures(train), labelled.y[train])
        predictions = {
            part: model.predict(structures(labelled.parts[part]))
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

    def labelled(self, trial: Trial) -> Labelled:
        key = trial.protocol, trial.property
        if self._labelled is None or self._labelled[0] != key:
            args = self.args
            self._labelled = key, load_labelled(*key, args.data, args.fold)
            self._graphs, self._vectors = None, {}
        return self._labelled[1]

    def crystals(self, trial: Trial) -> Crystals:
        """Graphs and site vectors of the trial's crystals."""
        labelled = self.labelled(trial)
        cutoff = self.preset.encoder.cutoff
        if trial.arm in ("finetune", "scratch"):
            cutoff = read_config(self.args.weights).cutoff
        if self._graphs is None or self._graphs[0] != cutoff:
            graphs = [radius_graph(*arrays, cutoff) for arrays in labelled.crystals]
            self._graphs = cutoff, Crystals(graphs)
        crystals = self._graphs[1]
        kind = ARMS[trial.arm].vectors
        if not kind:
            return crystals
        if kind not in self._vectors:
            train, weights = labelled.parts["train"], self.args.weights
            self._vectors[kind] = site_vectors(kind, labelled.crystals, train, weights)
        return Crystals(crystals.graphs, self._vectors[kind])
