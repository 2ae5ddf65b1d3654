"""What one process of a pretraining run holds: networks, optimiser, crystals, and how far it is."""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import nn

from corpora.corpus import Corpus
from corpora.sampling import epoch_batches
from corpora.shares import Share
from matminer_unate.errors import InputError
from matminer_unate.network.initialisation import DrawFrom
from pretraining.checkpointing import CHECKPOINT, Progress, load_checkpoint, save_checkpoint
from pretraining.config import PretrainConfig
from pretraining.epoch_log import log_epoch, trim_log
from pretraining.epoch_table import EpochTable
from pretraining.export import export
from pretraining.model_card import inherited
from pretraining.monitor import Monitor
from pretraining.optimisation import load_start, make_optimizer
from pretraining.pretrainer import Pretrainer
from pretraining.target_errors import TARGET_ERRORS, target_errors
from pretraining.targets import with_predictions
from pretraining.views import ViewMaker
from site_targets.files import about_site_targets

LEAST_USED = 0.8
"""Share of the batches of all processes below which one is told of those that are left out."""


def about_unequal(counts: Sequence[int]) -> str:
    """What to say where processes have unlike numbers of batches; nothing where it is little.

    Formulas are dealt whole, so that few of them, or one with many crystals, make shares unequal.
    """
    used = len(counts) * min(counts) / sum(counts)
    if used >= LEAST_USED:
        return ""
    least, most = min(counts), max(counts)
    return (
        f"the shares of the processes are unequal ({least} to {most} batches), and each reads "
        f"{least} an epoch: some {100 * used:.0f} % of the crystals; use fewer processes"
    )


class Run:
    """One process's part of a run, at its start or where it was stopped.

    Parameters
    ----------
    config : PretrainConfig
    corpus : Corpus
        The crystals to train on.
    held_out : Corpus or None
        Those to measure on.
    out : Path
        The output folder.
    place : tuple of int, int, torch.device
        Rank, number of processes, and device of this one.
    resuming : bool
        Go on from the checkpoint in the output folder.

    Attributes
    ----------
    model, average : Pretrainer, SiteEncoder
        What is trained, and the moving average of its encoder.
    wrapped : torch.nn.Module
        The model, its gradients averaged over the processes.
    progress : Progress
    """

    def __init__(
        self,
        config: PretrainConfig,
        corpus: Corpus,
        held_out: Corpus | None,
        out: Path,
        place: tuple[int, int, torch.device],
        resuming: bool,
    ) -> None:
        self.rank, self.world, self.device = place
        self.first, self.out, self.corpus = self.rank == 0, out, corpus
        self.config = config = with_predictions(config, corpus)
        with DrawFrom(torch.Generator().manual_seed(config.seed)):
            self.model = Pretrainer(config, corpus)
        if config.start_from:
            load_start(config.start_from, self.model.encoder)
        self.model.to(self.device)
        self.average = copy.deepcopy(self.model.encoder)
        self.optimizer = make_optimizer(self.model, config)
        self.make_views = ViewMaker(config, torch.from_numpy(corpus.element_counts))
        self.progress, self._saved = Progress(), time.monotonic()
        if resuming:
            self.progress = load_checkpoint(
                out / CHECKPOINT, self.model, self.average, self.optimizer
            )
            before = self.progress.processes
            if self.progress.batch and before not in (0, self.world):
                raise InputError(
                    f"{out} was stopped within an epoch on {before} process(es), whose batches are "
                    f"others than those of {self.world}; go on with {before}"
                )
        self.progress.processes = self.world
        self.wrapped: nn.Module = self.model
        if self.world > 1:
            self.wrapped = nn.parallel.DistributedDataParallel(self.model, broadcast_buffers=False)
        self._held_out = held_out
        if self.first:
            self._monitor = Monitor(held_out, corpus, config.max_edges) if held_out else None
            n_monitor = len(held_out) if held_out else 0
            self._table = EpochTable(config.epochs, n_monitor, out / "log.csv")
            trim_log(out / "log.csv", self.progress.epoch)

    def batches(self) -> list[NDArray[np.int64]]:
        """What this process reads in the present epoch, in order: as many as every other one."""
        seeds = [self.config.seed, self.progress.epoch, *([self.rank] if self.world > 1 else [])]
        rng = np.random.default_rng(seeds)
        batches = epoch_batches(self.corpus, self.config.max_edges, rng, self.config.grouped_share)
        counts = Share(self.rank, self.world).all_of(len(batches))
        if self.first and self.progress.epoch == 0 and (text := about_unequal(counts)):
            print(text)
        return batches[: min(counts)]

    def save(self, after_minutes: float = 0.0) -> None:
        """Write a checkpoint, if it is so long since the last one."""
        if self.first and time.monotonic() - self._saved >= 60 * after_minutes:
            state = (self.model, self.average, self.optimizer, self.progress)
            save_checkpoint(self.out / CHECKPOINT, *state)
            self._saved = time.monotonic()

    def finish_epoch(self, seconds: float) -> None:
        """Measure, log and save; ``seconds`` is what the epoch took."""
        if self.first:
            measured = {f"scale_{n}": scale for n, scale in self.model.balance.scales().items()}
            if self._monitor is not None:
                views = self.make_views
                measured = self._monitor(self.model, self.average, views, self.device) | measured
            row = log_epoch(self.out, self.progress, measured, self.config.tensorboard)
            rate = self.optimizer.param_groups[0]["lr"]
            self._table.print(row, rate, seconds, self.progress.seconds)
        self.progress.next_epoch()
        self.save()

    def export(self) -> None:
        """Write the weights and say how they are used."""
        about: dict[str, Any] = {
            "steps": self.progress.step,
            "wall_s": round(self.progress.seconds),
            "processes": self.world,
            "threads": torch.get_num_threads(),
            "device": self.device.type,
        }
        if self.config.teacher:
            told = about_site_targets(self.config.teacher)
            about["teacher"] = told.get("version", "an unnamed teacher")
        about |= inherited(self.config.start_from)
        folder = self.out / "weights"
        export(folder, self.average, self.corpus, self.config, self.device, about)
        if self._held_out is not None:
            errors = target_errors(self.average, self._held_out, self.config, self.device)
            errors.to_csv(self.out / TARGET_ERRORS, index=False)
        print(
            f"\nweights: {folder}. To use them:\n\n"
            "    from matminer_unate import UnateFeaturizer\n\n"
            f'    df = UnateFeaturizer(weights="{folder}")'
            '.featurize_dataframe(df, "structure")\n\n'
            f"or: unate featurize my_cifs/ --weights {folder} --out features.parquet"
        )

    def leave(self) -> None:
        """Leave the group of processes."""
        if self.world > 1:
            # The wrapper must go first: were its reference to the group the last, the group would
            # be taken down under the interpreter's lock, and gloo's threads may wait for that.
            del self.wrapped
            dist.destroy_process_group()
