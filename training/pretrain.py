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
import contextlib
import copy
import csv
import dataclasses
import math
import os
import sys
import time
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import nn
from tqdm.auto import tqdm

from checkpointing import Progress, load_checkpoint, save_checkpoint
from command import run_script, torch_threads
from config import PRESETS, PretrainConfig, add_options, apply_options
from corpora import FROM_FILES, Corpus, epoch_batches
from epoch_table import EpochTable
from export import export
from instruments import Monitor
from matminer_unate.cartnet import SiteEncoder
from matminer_unate.checkpoint import load_encoder
from matminer_unate.encoding import weights_config
from matminer_unate.errors import InputError, WeightsError
from matminer_unate.initialisation import DrawFrom
from objectives import pairwise_floor
from pretrainer import Pretrainer, ViewMaker, with_predictions
from sources import read_crystals, read_with_report
from stopping import whole_steps
from teachers import about_site_targets, read_site_targets, write_site_targets

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
                update_average(average, model.encoder, config.ema, progress.step)
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


def read_corpora(config: PretrainConfig, out: Path, rank: int) -> tuple[Corpus, Corpus | None]:
    """The crystals to train on, and a few to measure on: of held-out formulas, if there are any."""
    talk = rank == 0
    part = None if config.part == "all" else config.part
    excluded = config.exclude_formulas or None
    crystals, report = read_with_report(
        config.data, config.max_sites, part, config.limit or None, exclude_formulas=excluded
    )
    others = crystals[: config.n_monitor]
    if part == "train" and others:
        with contextlib.suppress(ValueError):  # small data sets may have no such formula
            others = read_crystals(config.data, config.max_sites, "val", config.n_monitor)
    if talk:
        seen = "all formulas" if part is None else f"formulas in {part!r} (--part all: of all)"
        print(f"{report}: up to {config.max_sites} sites, {seen}")
    files = {name: getattr(config, name) for name in FROM_FILES}
    weights = config.weights
    if (weights.tight_binding or weights.tight_binding_crystal) and not config.tight_binding:
        files["tight_binding"] = str(out / "tight_binding.parquet")
        if talk:
            print("tight-binding site targets, computed once (beforehand: training/teachers.py):")
            file, command = out / "tight_binding.parquet", ["python", *sys.argv]
            each = list({c.identifier: c for c in [*others, *crystals]}.values())
            write_site_targets("tight-binding", each, file, command)
        if dist.is_initialized():
            dist.barrier()
    targets = {name: read_site_targets(file) for name, file in files.items() if file}
    for name, known in targets.items():
        n_known = sum(c.identifier in known for c in crystals)
        if talk and n_known < len(crystals):
            print(f"{files[name]}: {name} targets of {n_known:,} of {len(crystals):,} crystals")
    corpus = Corpus(crystals, config.encoder.cutoff, targets, progress=talk)
    if talk and config.weights.adjacency and config.adjacency != "species-rdf":
        members = np.random.default_rng(0).permutation(len(corpus))[:200]
        floor = pairwise_floor(config.adjacency, corpus, members)
        told = ", ".join(f"{name} {value:.4g}" for name, value in floor.items())
        print(f"adjacency {config.adjacency}, the least loss that symmetry allows: {told}")
    if not others:
        return corpus, None
    return corpus, Corpus(others, config.encoder.cutoff, targets, like=corpus, progress=False)


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


def start_processes() -> tuple[int, int, torch.device]:
    """Rank, number of processes and device; joins the process group under torchrun."""
    rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    device = torch.device("cpu")
    if torch.cuda.is_available():
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
        torch.cuda.set_device(device)
        torch.backends.cuda.matmul.allow_tf32 = True
    if world > 1:
        # One process may compute site targets for hours while the others wait.
        backend = "nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(backend, timeout=timedelta(hours=24))
    return rank, world, device


def mixed_precision(
    config: PretrainConfig, device: torch.device
) -> contextlib.AbstractContextManager:
    """Autocast of matrix products to bfloat16, or nothing."""
    if config.precision == "fp32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, torch.bfloat16)


def load_start(weights: str, encoder: SiteEncoder) -> None:
    """Give an encoder the weights to go on from.

    Raises
    ------
    InputError
        They are of an encoder with other settings.
    """
    start, _ = load_encoder(weights)
    own, other = (dataclasses.asdict(e.config) for e in (encoder, start))
    differing = [name for name in own if own[name] != other[name]]
    if differing:
        told = "; ".join(f"{n} {other[n]} there, {own[n]} here" for n in differing)
        raise InputError(
            f"--start-from {weights}: the encoder there has other settings ({told}); give the same "
            "--encoder options, and the same --weights above 0 where predictions differ"
        )
    encoder.load_state_dict(start.state_dict())


def make_optimizer(model: nn.Module, config: PretrainConfig) -> torch.optim.AdamW:
    """AdamW without decay on vectors (biases, norms) and embeddings."""
    plain = [p for n, p in model.named_parameters() if p.ndim < 2 or n.endswith(".species.weight")]
    listed = {id(p) for p in plain}
    decayed = [p for p in model.parameters() if id(p) not in listed]
    groups: list[dict[str, Any]] = [
        {"params": decayed, "weight_decay": config.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate)


def step_generator(device: torch.device, *seeds: int) -> torch.Generator:
    """A random generator that follows from the seeds alone, so that a resumed run repeats."""
    state = np.random.SeedSequence(seeds).generate_state(1, np.uint64)[0]
    return torch.Generator(device).manual_seed(int(state >> np.uint64(1)))


def learning_rate(done: float, config: PretrainConfig) -> float:
    """One cycle over the finished share of the run: half a cosine up, half a cosine down."""
    if done < config.warmup:
        phase = math.pi * (1.0 - (done + 1e-3) / (config.warmup + 1e-3))
    else:
        phase = math.pi * (done - config.warmup) / (1.0 - config.warmup)
    return config.learning_rate * 0.5 * (1.0 + math.cos(phase))


@torch.no_grad()
def update_average(average: nn.Module, model: nn.Module, decay: float, step: int) -> None:
    """Exponential moving average of the parameters, faster in the first steps."""
    share = 1.0 - min(decay, (1 + step) / (10 + step))
    for mean, value in zip(average.parameters(), model.parameters(), strict=True):
        mean.lerp_(value, share)


def trim_log(path: Path, n_epochs: int) -> None:
    """Forget the epochs that are run anew: of an earlier run, or logged but not saved."""
    if n_epochs == 0:
        path.unlink(missing_ok=True)
    elif path.exists():
        path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[: n_epochs + 1]))


def log_epoch(
    out: Path, progress: Progress, more: dict[str, float], tensorboard: bool
) -> dict[str, float]:
    """Append the means of one epoch, and what was measured after it, to the log."""
    row: dict[str, float] = {
        "epoch": progress.epoch + 1,
        "step": progress.step,
        "wall_s": round(progress.seconds, 1),
    }
    row |= {name: round(progress.mean(name), 5) for name in progress.sums}
    row |= {name: round(value, 5) for name, value in more.items()}
    path = out / "log.csv"
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(row))
        if new:
            writer.writeheader()
        writer.writerow(row)
    if tensorboard:
        from torch.utils.tensorboard import SummaryWriter

        with SummaryWriter(str(out / "tensorboard")) as board:
            for name, value in row.items():
                board.add_scalar(name, value, progress.epoch + 1)
    return row


if __name__ == "__main__":
    run_script(main)
