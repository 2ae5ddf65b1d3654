"""Settings ↔ options of the command line."""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import re
import types
import typing
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from corpora.corpus import FROM_FILES
from matminer_unate.errors import WeightsError
from matminer_unate.network.weights import weights_config
from pretraining.checkpointing import CHECKPOINT
from pretraining.config import PretrainConfig
from pretraining.presets import PRESETS

_METAVARS = {int: "N", float: "X"}


def attribute_texts(cls: type) -> dict[str, str]:
    """What the Attributes section of a docstring says of each, in one line, with its unit."""
    section = inspect.getdoc(cls).partition("Attributes\n----------\n")[2]  # type: ignore[union-attr]
    texts: dict[str, str] = {}
    for entry in re.split(r"\n(?=\w)", section.split("\n\n")[0]):
        head, _, text = entry.partition("\n")
        names, _, kind = head.partition(" : ")
        unit = kind.partition(", ")[2] if "{" not in kind else ""
        line = " ".join(text.split()) + (f" ({unit})" if unit else "")
        texts |= dict.fromkeys(names.split(", "), line)
    return texts


def add_options(parser: argparse.ArgumentParser, config: Any, prefix: str = "") -> None:
    """Add one option a field of a dataclass instance, nested ones as ``--part.field``."""
    hints, told = typing.get_type_hints(type(config)), attribute_texts(type(config))
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
        if not isinstance(value, bool) and origin is not typing.Literal:
            options["metavar"] = _METAVARS.get(options["type"], "TEXT")
        text = f"{told[item.name]} [{shown}]".replace("%", "%%").replace("``", "")
        parser.add_argument(f"--{prefix}{item.name}".replace("_", "-"), help=text, **options)


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


def choose_settings(parser: argparse.ArgumentParser, args: argparse.Namespace) -> PretrainConfig:
    """The settings of a preset, or of the run to go on with, and the options that change them.

    What cannot work ends the script now, and not after hours of reading and computing.
    """
    out = Path(args.out)
    started = (out / CHECKPOINT).is_file()
    if started and not args.resume:
        parser.error(f"{out} holds a run: go on with --resume, or choose another --out")
    config = PRESETS[args.preset or "default"]
    if started:
        try:
            config = PretrainConfig.from_json((out / "config.json").read_text())
        except (OSError, ValueError, TypeError, KeyError) as e:
            parser.error(f"{out / 'config.json'} cannot be read ({e}); choose another --out")
    try:
        given: PretrainConfig = apply_options(config, vars(args))
    except ValueError as e:
        parser.error(str(e))
    if started and args.preset and apply_options(PRESETS[args.preset], vars(args)) != config:
        parser.error(
            f"--resume keeps the settings in {out / 'config.json'}, which are not those of "
            f"--preset {args.preset}; leave it out"
        )
    if started and given != config:
        parser.error(f"--resume keeps the settings in {out / 'config.json'}; other options differ")
    _check_files(parser, given)
    return given


def _check_files(parser: argparse.ArgumentParser, config: PretrainConfig) -> None:
    """Is there what the settings name?"""
    if not config.data:
        parser.error("--data needs at least one file, folder or database (see training/sources.py)")
    if bool(config.teacher) != bool(config.weights.teacher):
        parser.error("--teacher FILE and --weights.teacher above 0 need each other")
    for name in FROM_FILES:
        if (file := getattr(config, name)) and not Path(file).exists():
            parser.error(f"--{name.replace('_', '-')} {file}: no such file; check the path")
    if config.start_from:
        try:
            weights_config(config.start_from)
        except (WeightsError, OSError) as e:
            parser.error(f"--start-from {config.start_from}: {e}")
    if config.tensorboard and find_spec("tensorboard") is None:
        parser.error("--tensorboard needs it: pip install tensorboard")
