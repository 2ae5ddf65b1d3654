"""Processes, precision, optimiser, learning rate and moving average of a pretraining run."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
from datetime import timedelta
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import nn

from matminer_unate.errors import InputError
from matminer_unate.network.encoder import SiteEncoder
from matminer_unate.network.weights import load_encoder
from pretraining.config import PretrainConfig


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
