"""Pretrain the UNATE site encoder on unlabeled crystals.

A few minutes on a CPU:

    python training/pretrain.py --data my_cifs/ --epochs 5 --limit 2000 --out runs/small

The shipped weights, on two processes (or GPUs):

    torchrun --nproc-per-node 2 training/pretrain.py --name mp_v1 --out runs/mp_v1 --data \\
        mp_mtcgcnn.parquet mp20_val_test.parquet mpts52_val_test.parquet mp_elasticity.parquet \\
        mp_piezoelectric.parquet mp_extra.parquet

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
import csv
import math
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from tqdm.auto import tqdm

from augment import Corruption, View
from checkpointing import Progress, load_checkpoint, save_checkpoint
from config import PretrainConfig, add_options, apply_options
from corpora import CleanBatch, Corpus, epoch_batches
from export import element_properties, export
from matminer_unate.cartnet import SiteEncoder
from matminer_unate.descriptors import PHYSICS_NAMES
from objectives import (
    ElementPropertyReconstruction,
    NodeReconstruction,
    NTXent,
    SiteTargetRegression,
    SpeciesAdjacency,
)
from objectives.node import masked_majority_accuracy
from sources import read_crystals

CHECKPOINT = "checkpoint.safetensors"


class Pretrainer(nn.Module):
    """Encoder and objectives as one module: a clean batch and two views in, losses out."""

    def __init__(self, config: PretrainConfig, element_counts: Tensor) -> None:
        super().__init__()
        self.config = config
        self.encoder = SiteEncoder(config.encoder)
        latent, weights = config.encoder.latent_dim, config.weights
        properties = torch.from_numpy(element_properties()).float()
        if config.encoder.n_properties:
            self.encoder.backbone.properties.copy_(properties)
        n_physics = len(PHYSICS_NAMES)
        builders = {
            "node": lambda: NodeReconstruction(latent, element_counts),
            "adjacency": lambda: SpeciesAdjacency(latent),
            "contrastive": lambda: NTXent(latent, config.temperature),
            "physics": lambda: SiteTargetRegression(latent, n_physics),
            "fingerprint": lambda: SiteTargetRegression(latent, 82 - n_physics),
            "properties": lambda: ElementPropertyReconstruction(latent, properties),
        }
        self.objectives = nn.ModuleDict(
            {name: build() for name, build in builders.items() if getattr(weights, name) > 0}
        )

    def forward(self, batch: CleanBatch, views: tuple[View, View]) -> dict[str, Tensor]:
        """Loss terms, their weighted ``total``, and accuracies, each averaged over both views."""
        terms: dict[str, list[Tensor]] = {}
        pooled = []
        for view in views:
            latent = self.encoder.raw_latent(self.encoder.backbone(view))
            pooled.append(mean_pool(latent, batch))
            for name, value in self._decode(latent, batch, view).items():
                terms.setdefault(name, []).append(value)
        result = {name: torch.stack(values).mean() for name, values in terms.items()}
        if "contrastive" in self.objectives:
            result["contrastive"], result["retrieval_accuracy"] = self.objectives["contrastive"](
                *pooled, batch.formula
            )
        result["total"] = torch.stack(
            [getattr(self.config.weights, name) * result[name] for name in self.objectives]
        ).sum()
        result["effective_rank"] = effective_rank(pooled[0].detach())
        return result

    def _decode(self, latent: Tensor, batch: CleanBatch, view: View) -> dict[str, Tensor]:
        heads, n_physics = self.objectives, len(PHYSICS_NAMES)
        out = {}
        if "node" in heads:
            out["node"], out["masked_accuracy"] = heads["node"](latent, batch.z, view.selected)
            out["majority_accuracy"] = masked_majority_accuracy(batch.z, view.selected)
        if "adjacency" in heads:
            out["adjacency"] = heads["adjacency"](latent, batch)
        if "physics" in heads:
            out["physics"] = heads["physics"](latent, batch.descriptors[:, :n_physics])
        if "fingerprint" in heads:
            out["fingerprint"] = heads["fingerprint"](latent, batch.descriptors[:, n_physics:])
        if "properties" in heads:
            out["properties"] = heads["properties"](latent, batch.z, view.selected)
        return out


def mean_pool(latent: Tensor, batch: CleanBatch) -> Tensor:
    """Mean over the sites of each crystal, (n_sites, d) → (n_crystals, d)."""
    total = latent.new_zeros(batch.n_crystals, latent.shape[1])
    return total.index_add(0, batch.crystal, latent) / batch.site_start.diff().unsqueeze(1)


def effective_rank(vectors: Tensor) -> Tensor:
    """Exponential of the entropy of the normalised singular values (Roy & Vetterli 2007)."""
    share = torch.linalg.svdvals((vectors - vectors.mean(0)).float())
    share = share / share.sum().clamp(min=1e-12)
    return torch.exp(-(share * share.clamp(min=1e-12).log()).sum())


def main(argv: list[str] | None = None) -> None:
    args, config = parse_arguments(argv)
    rank, world, device = start_processes()
    first = rank == 0
    out = Path(args.out)
    resuming = args.resume and (out / CHECKPOINT).is_file()
    if first and not resuming:
        out.mkdir(parents=True, exist_ok=True)
        (out / "config.json").write_text(config.to_json())

    part = None if config.part == "all" else config.part
    crystals = read_crystals(config.data, config.max_sites, part, config.limit or None)
    if first:
        seen = "all formulas" if part is None else f"formulas in {part!r} (--part all: of all)"
        print(
            f"{len(crystals):,} crystals with up to {config.max_sites} sites of {seen}, duplicates "
            "removed"
        )
    corpus = Corpus(crystals, config.encoder.cutoff, progress=first)
    counts = torch.from_numpy(corpus.element_counts)
    torch.manual_seed(config.seed)
    model = Pretrainer(config, counts).to(device)
    average = copy.deepcopy(model.encoder)
    optimizer = make_optimizer(model, config)
    corruption = Corruption(config.corruption, config.encoder.cutoff, counts)
    progress = Progress()
    if resuming:
        progress = load_checkpoint(out / CHECKPOINT, model, average, optimizer)
    if first:
        trim_log(out / "log.csv", progress.epoch)
    wrapped: nn.Module = model
    if world > 1:
        wrapped = nn.parallel.DistributedDataParallel(model, broadcast_buffers=False)

    last_saved = time.monotonic()
    while progress.epoch < config.epochs:
        started = time.monotonic() - progress.seconds
        rng = np.random.default_rng([config.seed, progress.epoch])
        batches = epoch_batches(corpus, config.max_edges, rng)
        if len(batches) < world:
            raise ValueError(
                f"{len(batches)} batches for {world} processes; lower --max-edges or use fewer"
            )
        batches = batches[: len(batches) // world * world][rank::world]
        model.train()
        label = f"epoch {progress.epoch + 1}/{config.epochs}"
        bar = tqdm(total=len(batches), initial=progress.batch, desc=label, disable=not first)
        for members in batches[progress.batch :]:
            batch = corpus.batch(members).to(device)
            generator = step_generator(device, config.seed, progress.step, rank)
            views = corruption(batch, generator), corruption(batch, generator)
            losses = wrapped(batch, views)
            optimizer.zero_grad()
            losses["total"].backward()
            nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm, error_if_nonfinite=True)
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
            bar.set_postfix(loss=f"{progress.mean('total'):.3f}", refresh=False)
            bar.update()
        bar.close()
        if first:
            log_epoch(out / "log.csv", progress)
        progress.next_epoch()
        if first:
            save_checkpoint(out / CHECKPOINT, model, average, optimizer, progress)
    if first:
        run = {
            "steps": progress.step,
            "wall_s": round(progress.seconds),
            "processes": world,
            "threads": torch.get_num_threads(),
            "device": device.type,
        }
        export(out / "weights", average, corpus, config, device, run)
    if world > 1:
        dist.destroy_process_group()


def parse_arguments(argv: list[str] | None) -> tuple[argparse.Namespace, PretrainConfig]:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", default="runs/pretrain", help="output folder [runs/pretrain]")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint, if any")
    add_options(parser, PretrainConfig())
    args = parser.parse_args(argv)
    out, config = Path(args.out), PretrainConfig()
    started = (out / CHECKPOINT).is_file()
    if started and not args.resume:
        parser.error(f"{out} holds a run: go on with --resume, or choose another --out")
    if started:
        config = PretrainConfig.from_json((out / "config.json").read_text())
    try:
        given = apply_options(config, vars(args))
    except ValueError as e:
        parser.error(str(e))
    if started and given != config:
        parser.error(f"--resume keeps the settings in {out / 'config.json'}; other options differ")
    if not given.data:
        parser.error("--data needs at least one parquet file or folder of CIF or POSCAR files")
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
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return rank, world, device


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


def log_epoch(path: Path, progress: Progress) -> None:
    """Append the means of one epoch to the log."""
    row: dict[str, float] = {
        "epoch": progress.epoch + 1,
        "step": progress.step,
        "wall_s": round(progress.seconds, 1),
    }
    row |= {name: round(progress.mean(name), 5) for name in progress.sums}
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(row))
        if new:
            writer.writeheader()
        writer.writerow(row)
    print(", ".join(f"{name} {value:.4g}" for name, value in row.items()), flush=True)


if __name__ == "__main__":
    main()
