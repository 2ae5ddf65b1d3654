"""Where and on how many threads the network computes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matminer_unate.errors import InputError

if TYPE_CHECKING:
    import torch


def resolve_device(device: str) -> torch.device:
    """``auto`` is a CUDA device where there is one that this process can use, else the CPU.

    Raises
    ------
    InputError
        The name is no device, or asks for CUDA, or one of its devices, where there is none.
    """
    import torch

    # A forked child of a process that has used CUDA must not touch it.
    usable = torch.cuda.is_available() and not torch.cuda._is_in_bad_fork()
    if device == "auto":
        return torch.device("cuda" if usable else "cpu")
    try:
        resolved = torch.device(device)
    except (RuntimeError, TypeError) as e:
        raise InputError(f"device {device!r} is not auto, cpu, cuda or cuda:<n>") from e
    if resolved.type not in ("cpu", "cuda"):
        raise InputError(f"device {device!r} is not supported; use auto, cpu, cuda or cuda:<n>")
    if resolved.type == "cuda" and not usable:
        raise InputError(
            f"device {device!r} asked for, but CUDA is not available; use device='auto'"
        )
    n_devices = torch.cuda.device_count() if resolved.type == "cuda" else 0
    if resolved.index is not None and resolved.index >= n_devices > 0:
        raise InputError(
            f"device {device!r} asked for, but there are {n_devices}, counted from cuda:0"
        )
    return resolved


def count_workers(device: torch.device) -> int:
    """Batches encoded at the same time: as many as torch would use threads, within reason."""
    import torch

    # One Python thread feeds them with graphs, which is what limits beyond eight.
    return 1 if device.type != "cpu" else min(torch.get_num_threads(), 8)
