"""Pretrain the UNATE site encoder on unlabeled crystals.

Two minutes on a CPU, to see that everything runs:

    python training/pretrain.py --preset smoke --data my_cifs/ --out runs/smoke

A few minutes on a CPU:

    python training/pretrain.py --data my_cifs/ --epochs 5 --limit 2000 --out runs/small

A larger run (how the shipped weights were made stands at the end of
``training/results/ablation.md``), on two processes (or GPUs), which deal the formulas out among
them: none holds all crystals. On several machines, with the files on each of them and ``--out`` on
a common disk, likewise:
``torchrun --nnodes 4 --nproc-per-node 8 --rdzv-backend c10d --rdzv-endpoint HOST:29500 …``.

    torchrun --nproc-per-node 2 training/pretrain.py --name mine --out runs/mine --data \\
        mp_mtcgcnn.parquet mp20_val_test.parquet mpts52_val_test.parquet mp_elasticity.parquet \\
        mp_piezoelectric.parquet mp_extra.parquet

More crystals for weights that are there, here the shipped ones:

    python training/pretrain.py --start-from mp_v3 --name mine --data my_cifs/ --out runs/mine

A run that was stopped goes on with the same command and ``--resume``. It leaves in the output
folder ``log.csv`` (one row an epoch), ``checkpoint.safetensors`` and, at the end, ``weights/``,
which ``UnateFeaturizer(weights="runs/small/weights")`` loads.

Two branches share one encoder and two corrupted views of every crystal (UNATE, arXiv:2605.25866):
each view is decoded to the clean crystal (species, adjacency, site descriptors), and the two views
are contrasted with each other.
"""

# The way of a crystal through a step, room by room:
#
# corpora/          a file becomes a crystal, once (reading), and a graph with a skin and its clean
#                   targets, once (corpus); some crystals together are a batch (sampling, batches)
# site_targets/     targets that take long are computed before, and read from a file (files)
# augmentations/    species are hidden, atoms moved, edges dropped: two views of it (corruption)
# matminer_unate/network/   the encoder reads each view: a vector for each site, and predictions
# objectives/       each loss compares these with the clean batch, or the two views with each other
# pretraining/      which losses and views a run has (pretrainer, views, config), how they are
#                   balanced (balance), what is kept of a run (checkpointing, epoch_log, export)

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from tqdm.auto import tqdm

from corpora.shares import Share
from harness.command import run_script, torch_threads
from harness.stopping import whole_steps
from matminer_unate.engine.locks import locked
from matminer_unate.errors import InputError
from matminer_unate.network.optimisation import update_average
from pretraining.checkpointing import CHECKPOINT
from pretraining.config import PretrainConfig
from pretraining.data import read_corpora
from pretraining.optimisation import (
    average_decay,
    learning_rate,
    mixed_precision,
    start_processes,
    step_generator,
)
from pretraining.options import add_options, choose_settings
from pretraining.presets import PRESETS
from pretraining.run import Run


def main(argv: list[str] | None = None) -> None:
    args, config = parse_arguments(argv)
    with torch_threads(args.threads):
        rank, world, device = start_processes()
        with held(Path(args.out)) if rank == 0 else nullcontext():
            pretrain(config, Path(args.out), args.resume, (rank, world, device))


@contextmanager
def held(out: Path) -> Iterator[None]:
    """Make the output folder, and keep other runs from it.

    Raises
    ------
    InputError
        One is at work there.
    """
    out.mkdir(parents=True, exist_ok=True)
    with locked(out / "_lock", print):
        yield


def pretrain(
    config: PretrainConfig, out: Path, resume: bool, place: tuple[int, int, torch.device]
) -> None:
    """Train, or train on, and export the weights; ``place`` is rank, processes and device."""
    rank, world, _ = place
    resuming = resume and (out / CHECKPOINT).is_file()
    if len(set(Share(rank, world).all_of(resuming))) > 1:
        raise InputError(
            f"{out / CHECKPOINT} is there for some processes only; put --out on a disk of all"
        )
    if rank == 0 and not resuming:
        (out / "config.json").write_text(config.to_json())
    corpus, held_out = read_corpora(config, out, Share(rank, world))
    run = Run(config, corpus, held_out, out, place, resuming)
    try:
        while run.progress.epoch < config.epochs:
            before = run.progress.seconds
            train_epoch(run)
            run.finish_epoch(run.progress.seconds - before)
    except KeyboardInterrupt:
        saved = "the last checkpoint is"
        if world == 1:  # of several processes, some may have begun the next step
            run.save()
            saved = "saved"
        cure = "go on with the same command and --resume"
        raise KeyboardInterrupt(f"{saved} in {out}; {cure}") from None
    if run.first:
        run.export()
    run.leave()


def train_epoch(run: Run) -> None:
    """Go through the batches of an epoch that are left."""
    progress, epochs = run.progress, run.config.epochs
    started = time.monotonic() - progress.seconds
    batches = run.batches()
    run.model.train()
    label = f"epoch {progress.epoch + 1}/{epochs}"
    with tqdm(
        total=len(batches), initial=progress.batch, desc=label, disable=not run.first, leave=False
    ) as bar:
        for members in whole_steps(batches[progress.batch :]):
            progress.add(train_step(run, members, progress.share(len(batches), epochs)))
            progress.seconds = time.monotonic() - started
            run.save(run.config.checkpoint_minutes)
            left = progress.seconds * (1 / progress.share(len(batches), epochs) - 1)
            told = f"loss {progress.mean('total'):.3f}, {left / 60:.0f} min left"
            bar.set_postfix_str(told, refresh=False)
            bar.update()


def train_step(run: Run, members: NDArray[np.int64], done: float) -> dict[str, float]:
    """One optimizer step on some crystals, at a share of the run; the losses and what is logged."""
    config, step = run.config, run.progress.step
    batch = run.corpus.batch(members).to(run.device)
    views = run.make_views(batch, step_generator(run.device, config.seed, step, run.rank))
    with mixed_precision(config, run.device):
        measure = config.balance_every > 0 and step % config.balance_every == 0
        losses = run.wrapped(batch, views, measure)
    run.optimizer.zero_grad()
    losses["total"].backward()
    if not nn.utils.clip_grad_norm_(run.model.parameters(), config.clip_norm).isfinite():
        raise InputError(
            f"the losses of step {step} are not finite; lower --learning-rate, or look for "
            "unphysical crystals in --data"
        )
    for group in run.optimizer.param_groups:
        group["lr"] = learning_rate(done, config)
    run.optimizer.step()
    update_average(run.average, run.model.encoder, average_decay(step, config.ema))
    return {name: value.item() for name, value in losses.items()}


def parse_arguments(argv: list[str] | None) -> tuple[argparse.Namespace, PretrainConfig]:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", default="runs/pretrain", help="output folder [runs/pretrain]")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint, if any")
    parser.add_argument(
        "--preset",
        choices=PRESETS,
        help="settings to start from (values in brackets: of the default preset) [default]",
    )
    parser.add_argument(
        "--threads",
        type=int,
        default=1,
        help="of torch in each process; where other programs run, several mostly wait for each "
        "other [1]",
    )
    add_options(parser, PretrainConfig())
    args = parser.parse_args(argv)
    if args.threads < 1:
        parser.error("--threads must be at least 1")
    return args, choose_settings(parser, args)


if __name__ == "__main__":
    run_script(main)
