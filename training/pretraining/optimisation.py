"""Processes, precision, optimiser, learning rate and moving average of a pretraining run."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from datetime import timedelta
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import nn

from matminer_unate.errors import InputError
from matminer_unate.network.encoder import SiteEncoder
from matminer_unate.network.optimisation import is_decayed, one_cycle
from matminer_unate.network.weights import load_encoder
from pretraining.config import PretrainConfig

HEADS = ("predict", "predict_crystal")
"""Networks of the encoder that predict its ``predicted`` and ``crystal_predicted``."""


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

    Quantities that both predict are matched by name; those that are new start anew.

    Raises
    ------
    InputError
        They are of an encoder with other settings.
    """
    start, _ = load_encoder(weights)
    own, other = (dataclasses.asdict(e.config) for e in (encoder, start))
    names = [(own.pop(n), other.pop(n)) for n in ("predicted", "crystal_predicted")]
    differing = [name for name in own if own[name] != other[name]]
    if differing:
        told = "; ".join(f"{n} {other[n]} there, {own[n]} here" for n in differing)
        raise InputError(
            f"--start-from {weights}: the encoder there has other settings ({told}); give the same "
            "--encoder options"
        )
    state, known = encoder.state_dict(), start.state_dict()
    answers = [f"{head}.2.{part}" for head in HEADS for part in ("weight", "bias")]
    state |= {
        name: known[name]
        for name, value in state.items()
        # The scale of columns is measured at the end.
        if name in known and name not in answers and known[name].shape == value.shape
    }
    for head, (ours, theirs) in zip(HEADS, names, strict=True):
        rows = [(k, theirs.index(name)) for k, name in enumerate(ours) if name in theirs]
        if rows:
            to, of = torch.tensor(rows).T
            for part in ("weight", "bias"):
                state[f"{head}.2.{part}"][to] = known[f"{head}.2.{part}"][of]
    encoder.load_state_dict(state)


def make_optimizer(model: nn.Module, config: PretrainConfig) -> torch.optim.AdamW:
    """AdamW without decay on vectors (biases, norms) and embeddings."""
    decayed, plain = list[nn.Parameter](), list[nn.Parameter]()
    for name, parameter in model.named_parameters():
        (decayed if is_decayed(name, parameter) else plain).append(parameter)
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
    """At a finished share of the run."""
    return config.learning_rate * one_cycle(done, config.warmup)


def average_decay(step: int, decay: float) -> float:
    """Decay of the moving average of the weights, which is faster in the first steps."""
    return min(decay, (1 + step) / (10 + step))
