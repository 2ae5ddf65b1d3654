"""Settings ↔ options of the command line."""

from __future__ import annotations

import argparse
import dataclasses
import types
import typing
from typing import Any

from pretraining.config import _METAVARS, attribute_texts


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
