"""Typed settings of a pretraining run, and their command line."""

from __future__ import annotations

import argparse
import dataclasses
import json
import types
import typing
from dataclasses import dataclass, field
from typing import Any

from augment import CorruptionConfig
from matminer_unate.cartnet import EncoderConfig
from matminer_unate.checkpoint import _NAME


@dataclass(frozen=True)
class LossWeights:
    """Weight of each objective; an objective of weight 0 is not built."""

    node: float = 1.0
    adjacency: float = 1.0
    contrastive: float = 0.1
    physics: float = 5.0
    fingerprint: float = 2.0
    properties: float = 1.0


@dataclass(frozen=True)
class PretrainConfig:
    """One pretraining run.

    Attributes
    ----------
    name : str
        Name of the exported weights; begins the column names.
    data_statement : str
        Licence and citation of the data, for the model card.
    data : tuple of str
        Parquet files and folders of CIF or POSCAR files.
    part : str
        Formulas that may be seen: ``train``, ``val``, ``test``, or ``all``.
    max_sites : int
        Crystals with more sites are left out.
    limit : int
        Use a random choice of this many crystals; 0 for all.
    epochs : int
    max_edges : int
        Edges of a batch (with skin), per process.
    learning_rate, weight_decay, clip_norm : float
        AdamW; no decay on biases, norms and embeddings. Peak of a one-cycle schedule.
    warmup : float
        Share of the steps in which the learning rate rises.
    ema : float
        Decay of the moving average of the weights that is exported.
    temperature : float
        Of the contrastive loss.
    seed : int
    checkpoint_minutes : float
    encoder, corruption, weights
        Settings of the parts.
    """

    name: str = "my_weights"
    data_statement: str = ""
    data: tuple[str, ...] = ()
    part: str = "train"
    max_sites: int = 40
    limit: int = 0
    epochs: int = 25
    max_edges: int = 32_000
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    clip_norm: float = 1.0
    warmup: float = 0.05
    ema: float = 0.999
    temperature: float = 0.1
    seed: int = 0
    checkpoint_minutes: float = 3.0
    encoder: EncoderConfig = field(default_factory=lambda: EncoderConfig(n_properties=22))
    corruption: CorruptionConfig = field(default_factory=CorruptionConfig)
    weights: LossWeights = field(default_factory=LossWeights)

    def __post_init__(self) -> None:
        # Now, and not hours later when the weights are to be saved.
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"name {self.name!r} may hold letters, digits, _, - and . only")

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> PretrainConfig:
        content = json.loads(text)
        content["encoder"] = EncoderConfig(**content["encoder"])
        content["corruption"] = CorruptionConfig(**content["corruption"])
        content["weights"] = LossWeights(**content["weights"])
        content["data"] = tuple(content["data"])
        return cls(**content)


def add_options(parser: argparse.ArgumentParser, config: Any, prefix: str = "") -> None:
    """Add one option a field of a dataclass instance, nested ones as ``--part.field``."""
    hints = typing.get_type_hints(type(config))
    for item in dataclasses.fields(config):
        value = getattr(config, item.name)
        if dataclasses.is_dataclass(value):
            add_options(parser, value, f"{prefix}{item.name}.")
            continue
        hint = hints[item.name]
        options: dict[str, Any] = {"default": argparse.SUPPRESS, "dest": prefix + item.name}
        origin = typing.get_origin(hint)
        if origin is tuple:
            options |= {"nargs": "*", "type": typing.get_args(hint)[0]}
        elif origin is typing.Literal:
            options |= {"choices": typing.get_args(hint)}
        elif hint is bool:
            options["action"] = argparse.BooleanOptionalAction
        else:
            options["type"] = hint
        shown = " ".join(map(str, value)) if isinstance(value, tuple) else value
        parser.add_argument(
            f"--{prefix}{item.name}".replace("_", "-"), help=f"[{shown}]", **options
        )


def apply_options(config: Any, given: dict[str, Any], prefix: str = "") -> Any:
    """A copy of the configuration with the parsed options in place."""
    changes: dict[str, Any] = {}
    for item in dataclasses.fields(config):
        value = getattr(config, item.name)
        key = prefix + item.name
        if dataclasses.is_dataclass(value) and not isinstance(value, type | types.UnionType):
            changes[item.name] = apply_options(value, given, f"{key}.")
        elif key in given:
            changes[item.name] = tuple(given[key]) if isinstance(value, tuple) else given[key]
    return dataclasses.replace(config, **changes)
