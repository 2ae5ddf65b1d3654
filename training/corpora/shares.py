"""The crystals of a run in disjoint shares, one a process, and sums over all of them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray


@dataclass(frozen=True)
class Share:
    """The share of one of several processes; with one process, all there is.

    Whole formulas are dealt out, by a hash: duplicates, which have one formula, are together, and
    every process knows without asking what is its own.

    Attributes
    ----------
    rank, world : int
        Number of this process, and of processes. Several are a group of ``torch.distributed``, and
        all must ask the same, in the same order.
    """

    rank: int = 0
    world: int = 1

    def has(self, formula: str) -> bool:
        """Whether the crystals of a reduced formula, or what else has a name, are in this share."""
        return self.world == 1 or stable_number(formula) % self.world == self.rank

    def all_of(self, thing: Any) -> list[Any]:
        """What each process has here, by rank."""
        if self.world == 1:
            return [thing]
        found: list[Any] = [None] * self.world
        dist.all_gather_object(found, thing)
        return found

    def total(self, values: NDArray[Any]) -> NDArray[Any]:
        """Sum over the processes of arrays of one shape."""
        if self.world == 1:
            return values
        summed = torch.from_numpy(np.array(values))
        if dist.get_backend() == "nccl":
            summed = summed.cuda()
        dist.all_reduce(summed)
        return summed.cpu().numpy()


WHOLE = Share()


def stable_number(name: str) -> int:
    """The same for a name in every process and on every machine, from 0 to 2⁶³ − 1."""
    digest = hashlib.blake2b(name.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1
