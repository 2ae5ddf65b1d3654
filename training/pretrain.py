"""Pretrain the UNATE site encoder on unlabeled crystals.

Two minutes on a CPU, to see that everything runs:

    python training/pretrain.py --preset smoke --data my_cifs/ --out runs/smoke

A few minutes on a CPU:

    python training/pretrain.py --data my_cifs/ --epochs 5 --limit 2000 --out runs/small

The shipped weights, on two processes (or GPUs):

    torchrun --nproc-per-node 2 training/pretrain.py --name mp_v2 --out runs/mp_v2 --data \\
        mp_mtcgcnn.parquet mp20_val_test.parquet mpts52_val_test.parquet mp_elasticity.parquet \\
        mp_piezoelectric.parquet mp_extra.parquet

More crystals for weights that are there, here the shipped ones:

    python training/pretrain.py --start-from mp_v2 --name mine --data my_cifs/ --out runs/mine

A run that was stopped goes on with the same command and ``--resume``. It leaves in the output
folder ``log.csv`` (one row an epoch), ``checkpoint.safetensors`` and, at the end, ``weights/``,
which ``UnateFeaturizer(weights="runs/small/weights")`` loads.

Two branches share one encoder and two corrupted views of every crystal (UNATE, arXiv:2605.25866):
each view is decoded to the clean crystal (species, adjacency, site descriptors), and the two views
are contrasted with each other.
"""

from __future__ import annotations

import argparse
import copy
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import nn
from tqdm.auto import tqdm

from corpora.corpus import FROM_FILES
from corpora.sampling import epoch_batches
from harness.command import run_script, torch_threads
from harness.stopping import whole_steps
from matminer_unate.errors import InputError, WeightsError
from matminer_unate.network.initialisation import DrawFrom
from matminer_unate.network.optimisation import update_average
from matminer_unate.network.weights import weights_config
from pretraining.checkpointing import Progress, load_checkpoint, save_checkpoint
from pretraining.config import PretrainConfig
from pretraining.data import read_corpora
from pretraining.epoch_log import log_epoch, trim_log
from pretraining.epoch_table import EpochTable
from pretraining.export import export
from pretraining.monitor import Monitor
from pretraining.optimisation import (
    average_decay,
    learning_rate,
    load_start,
    make_optimizer,
    mixed_precision,
    start_processes,
    step_generator,
)
from pretraining.options import add_options, apply_options
from pretraining.presets import PRESETS
from pretraining.pretrainer import Pretrainer
from pretraining.targets import with_predictions
from pretraining.views import ViewMaker
from site_targets.files import about_site_targets

CHECKPOINT = "checkpoint.safetensors"

LOWER_RATE = "lower --learning-rate, or look for unphysical crystals in --data"
"""What helps against numbers that are not finite."""


def main(argv: list[str] | None = None) -> None:
    args, config = parse_arguments(argv)
    with torch_threads(args.threads):
        pretrain(args, config)


def pretrain(args: argparse.Namespace, config: PretrainConfig) -> None:
    """Train, or train on, and export the weights."""
    rank, world, device = start_processes()
    first = rank == 0
    out = Path(args.out)
    resuming = args.resume and (out / CHECKPOINT).is_file()
    if first and not resuming:
        out.mkdir(parents=True, exist_ok=True)
        (out / "config.json").write_text(config.to_json())

    corpus, held_out = read_corpora(config, out, rank)
    if corpus.n_sites.sum() < 2:
        raise InputError("one crystal of one site is too little to learn from; give --data more")
    config = with_predictions(config, corpus)
    with DrawFrom(torch.Generator().manual_seed(config.seed)):
        model = Pretrainer(config, corpus)
    if config.start_from:
        load_start(config.start_from, model.encoder)
    model.to(device)
    average = copy.deepcopy(model.encoder)
    optimizer = make_optimizer(model, config)
    make_views = ViewMaker(config, torch.from_numpy(corpus.element_counts))
    monitor = Monitor(held_out, corpus, config.max_edges) if first and held_out else None
    progress = Progress()
    if resuming:
        progress = load_checkpoint(out / CHECKPOINT, model, average, optimizer)
    if first:
        trim_log(out / "log.csv", progress.epoch)
    wrapped: nn.Module = model
    if world > 1:
        wrapped = nn.parallel.DistributedDataParallel(model, broadcast_buffers=False)

    table = EpochTable(config.epochs, len(held_out) if monitor and held_out else 0, out / "log.csv")
    last_saved = time.monotonic()
    try:
        while progress.epoch < config.epochs:
            before = progress.seconds
            started = time.monotonic() - before
            rng = np.random.default_rng([config.seed, progress.epoch])
            batches = epoch_batches(corpus, config.max_edges, rng, config.grouped_share)
            if len(batches) < world:
                raise InputError(
                    f"{len(batches)} batches for {world} processes; lower --max-edges or use fewer"
                )
            batches = batches[: len(batches) // world * world][rank::world]
            model.train()
            label = f"epoch {progress.epoch + 1}/{config.epochs}"
            bar = tqdm(
                total=len(batches),
                initial=progress.batch,
                desc=label,
                disable=not first,
                leave=False,
            )
            for members in whole_steps(batches[progress.batch :]):
                batch = corpus.batch(members).to(device)
                views = make_views(batch, step_generator(device, config.seed, progress.step, rank))
                measure = config.balance_every > 0 and progress.step % config.balance_every == 0
                with mixed_precision(config, device):
                    losses = wrapped(batch, views, measure)
                optimizer.zero_grad()
                losses["total"].backward()
                if not nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm).isfinite():
                    raise InputError(
                        f"the losses of step {progress.step} are not finite; {LOWER_RATE}"
                    )
                done = (progress.epoch + progress.batch / len(batches)) / config.epochs
                for group in optimizer.param_groups:
                    group["lr"] = learning_rate(done, config)
                optimizer.step()
                update_average(average, model.encoder, average_decay(progress.step, config.ema))
                progress.add({name: value.item() for name, value in losses.items()})
                progress.seconds = time.monotonic() - started
                if first and time.monotonic() - last_saved > 60 * config.checkpoint_minutes:
                    save_checkpoint(out / CHECKPOINT, model, average, optimizer, progress)
                    last_saved = time.monotonic()
                done = (progress.epoch + progress.batch / len(batches)) / config.epochs
                left = progress.seconds * (1 / done - 1)
                bar.set_postfix_str(
                    f"loss {progress.mean('total'):.3f}, {left / 60:.0f} min left", refresh=False
                )
                bar.update()
            bar.close()
            if first:
                measured = {} if monitor is None else monitor(model, average, make_views, device)
                scales = {f"scale_{name}": scale for name, scale in model.balance.scales().items()}
                row = log_epoch(out, progress, measured | scales, config.tensorboard)
                rate = optimizer.param_groups[0]["lr"]
                table.print(row, rate, progress.seconds - before, progress.seconds)
            progress.next_epoch()
            if first:
                save_checkpoint(out / CHECKPOINT, model, average, optimizer, progress)
    except KeyboardInterrupt:
        # Of several processes, some may have begun the next step.
        if world == 1:
            save_checkpoint(out / CHECKPOINT, model, average, optimizer, progress)
        raise KeyboardInterrupt(
            f"{'saved' if world == 1 else 'the last checkpoint is'} in {out}; go on with the same "
            "command and --resume"
        ) from None
    if first:
        run: dict[str, Any] = {
            "steps": progress.step,
            "wall_s": round(progress.seconds),
            "processes": world,
            "threads": torch.get_num_threads(),
            "device": device.type,
        }
        if config.teacher:
            about = about_site_targets(config.teacher)
            run["teacher"] = about.get("version", "an unnamed teacher")
        export(out / "weights", average, corpus, config, device, run)
        print(
            f"\nweights: {out / 'weights'}. To use them:\n\n"
            "    from matminer_unate import UnateFeaturizer\n\n"
            f'    df = UnateFeaturizer(weights="{out / "weights"}")'
            '.featurize_dataframe(df, "structure")\n\n'
            f"or: unate featurize my_cifs/ --weights {out / 'weights'} --out features.parquet"
        )
    if world > 1:
        # The wrapper must go first: were its reference to the group the last, the group would be
        # taken down under the interpreter's lock, and gloo's threads may be waiting for that.
        del wrapped
        dist.destroy_process_group()


def parse_arguments(argv: list[str] | None) -> tuple[argparse.Namespace, PretrainConfig]:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", default="runs/pretrain", help="output folder [runs/pretrain]")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint, if any")
    parser.add_argument(
        "--preset",
        choices=PRESETS,
        default="default",
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
    out, config = Path(args.out), PRESETS[args.preset]
    started = (out / CHECKPOINT).is_file()
    if started and not args.resume:
        parser.error(f"{out} holds a run: go on with --resume, or choose another --out")
    if started:
        try:
            config = PretrainConfig.from_json((out / "config.json").read_text())
        except (OSError, ValueError, TypeError, KeyError) as e:
            parser.error(f"{out / 'config.json'} cannot be read ({e}); choose another --out")
    try:
        given = apply_options(config, vars(args))
    except ValueError as e:
        parser.error(str(e))
    if started and given != config:
        parser.error(f"--resume keeps the settings in {out / 'config.json'}; other options differ")
    if not given.data:
        parser.error("--data needs at least one file, folder or database (see training/sources.py)")
    # Now, and not after hours of reading and computing.
    if bool(given.teacher) != bool(given.weights.teacher):
        parser.error("--teacher FILE and --weights.teacher above 0 need each other")
    for name in FROM_FILES:
        if (file := getattr(given, name)) and not Path(file).exists():
            parser.error(f"--{name.replace('_', '-')} {file}: no such file; check the path")
    if given.start_from:
        try:
            weights_config(given.start_from)
        except (WeightsError, OSError) as e:
            parser.error(f"--start-from {given.start_from}: {e}")
    if given.tensorboard and find_spec("tensorboard") is None:
        parser.error("--tensorboard needs it: pip install tensorboard")
    return args, given


if __name__ == "__main__":
    run_script(main)
