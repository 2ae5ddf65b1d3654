"""State of a training ↔ disk, as one safetensors file with the numbers beside it in its header.

Batches and noise follow from seeds and the step. So weights, moving averages, optimizer moments,
the random state if there is one, and where the training stands are all of it, and a training that
goes on repeats one that was never stopped.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from matminer_unate.errors import InputError
from matminer_unate.io.whole_files import fresh_file

OPTIMIZER, FACTS = "optimizer", "facts"


@dataclass(frozen=True)
class Checkpoint:
    """What a file holds.

    Attributes
    ----------
    path : Path
    parts : dict of str to dict of str to Tensor
        State of each module by its name, and other tensors, on the CPU.
    facts : dict
        What else was written, as JSON has it.
    """

    path: Path
    parts: dict[str, dict[str, Tensor]]
    facts: dict[str, Any]

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a file that :func:`write_checkpoint` wrote.

        Raises
        ------
        InputError
            The file is damaged.
        """
        try:
            with safe_open(path, "pt") as file:
                facts = json.loads(file.metadata()[FACTS])
                parts: dict[str, dict[str, Tensor]] = {}
                for key in file.keys():  # noqa: SIM118
                    part, _, name = key.partition("/")
                    parts.setdefault(part, {})[name] = file.get_tensor(key)
        except (SafetensorError, TypeError, KeyError, ValueError) as e:
            raise InputError(
                f"{path} is no readable checkpoint ({e}); delete it, or start anew elsewhere"
            ) from e
        return cls(path, parts, facts)

    def restore(self, modules: Mapping[str, nn.Module], optimizer: torch.optim.Optimizer) -> None:
        """Put modules and the optimizer back into the state in which they were written.

        Raises
        ------
        InputError
            They are of other sizes.
        """
        try:
            for name, module in modules.items():
                module.load_state_dict(self.parts.get(name, {}))
        except RuntimeError as e:
            raise InputError(
                f"{self.path} is of another network than the settings, data and code of this run "
                f"make; start anew elsewhere ({str(e).splitlines()[1].strip()})"
            ) from e
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in self.parts.get(OPTIMIZER, {}).items():
            index, _, name = key.partition("/")
            state.setdefault(int(index), {})[name] = value
        groups = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({"state": state, "param_groups": groups})


def write_checkpoint(
    path: Path,
    modules: Mapping[str, nn.Module],
    optimizer: torch.optim.Optimizer,
    facts: Mapping[str, Any],
    tensors: Mapping[str, Mapping[str, Tensor]] | None = None,
) -> None:
    """Write a checkpoint; who is killed meanwhile keeps the one before.

    Parameters
    ----------
    path : Path
    modules : dict of str to Module
        Different ones; a name has no slash.
    optimizer : torch.optim.Optimizer
    facts : dict
        Where the training stands, for JSON.
    tensors : dict of str to dict of str to Tensor, optional
        Others, by part and name.
    """
    parts: dict[str, Mapping[str, Any]] = {k: m.state_dict() for k, m in modules.items()}
    moments = optimizer.state_dict()["state"].items()
    parts[OPTIMIZER] = {f"{index}/{k}": v for index, state in moments for k, v in state.items()}
    flat = {
        f"{part}/{name}": torch.as_tensor(value).detach().cpu().contiguous()
        for part, values in {**parts, **(tensors or {})}.items()
        for name, value in values.items()
    }
    # One file, so that the old and the new state change places at once.
    with fresh_file(path) as fresh:
        save_file(flat, fresh, metadata={FACTS: json.dumps(facts)})
