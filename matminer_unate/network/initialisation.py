"""First weights of networks, drawn from a generator of one's own.

torch's layers draw theirs from the random state of the process: that changes the caller's state,
and two networks that are built in two threads get other numbers at each run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

_FILL = frozenset(
    [
        nn.init.uniform_,
        nn.init.normal_,
        nn.init.trunc_normal_,
        nn.init.kaiming_uniform_,
        nn.init.kaiming_normal_,
        nn.init.xavier_uniform_,
        nn.init.xavier_normal_,
        Tensor.uniform_,
        Tensor.normal_,
    ]
)
"""What fills a tensor, its first argument, with random numbers."""

_MAKE = frozenset([torch.rand, torch.randn])
"""What makes a tensor of random numbers."""


class DrawFrom(TorchFunctionMode):
    """While it is entered, networks built in this thread take their first weights from a generator.

    They are those that the process would give after ``torch.manual_seed`` of the same number.

    Parameters
    ----------
    generator : torch.Generator
        On the CPU.
    """

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        self.generator = generator

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = dict(kwargs or {})
        if (func in _FILL or func in _MAKE) and kwargs.get("generator") is None:
            kwargs["generator"] = self.generator
        return func(*args, **kwargs)


class WithoutDrawing(TorchFunctionMode):
    """While it is entered, networks built in this thread have no first weights, to load others."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func in _FILL:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)
