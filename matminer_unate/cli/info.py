"""``unate info``: versions, device, classes and weights."""

from __future__ import annotations

import argparse
import json
from typing import Any

from matminer_unate import __version__
from matminer_unate.engine.columns import FEATURIZERS, make_featurizer
from matminer_unate.network.weights import CARD, read_config, shipped_weights, weights_folder


def info(args: argparse.Namespace) -> None:
    """Print what ``args`` ask for: ``json``, ``card`` or all of it, of ``weights``."""
    if args.card:
        print((weights_folder(args.weights) / CARD).read_text(encoding="utf-8"), end="")
        return
    if args.json:
        told = {**_environment(), "classes": _classes(), "weights": _weights(args.weights)}
        print(json.dumps(told, indent=1))
        return
    # The versions are of use even where the weights are not.
    _print_pairs(_environment())
    print()
    for name, what in _classes().items():
        print(f"{name:<28}{what}")
    print()
    _print_pairs(_weights(args.weights))


def _environment() -> dict[str, Any]:
    import platform
    from importlib.metadata import version

    from matminer_unate.network.devices import resolve_device

    packages = {name: version(name) for name in ("torch", "pymatgen", "matminer")}
    return {
        "matminer_unate": __version__,
        "python": platform.python_version(),
        **packages,
        "device": str(resolve_device("auto")),
        "shipped_weights": shipped_weights(),
        "featurizers": {n: len(make_featurizer(n).feature_labels()) for n in FEATURIZERS},
    }


def _classes() -> dict[str, str]:
    """The public classes, with a line for each."""
    import matminer_unate
    from matminer_unate.featurizers.notebook_view import summary_of

    names = [name for name in matminer_unate.__all__ if name[0].isupper()]
    return {name: summary_of(getattr(matminer_unate, name)) for name in names}


def _weights(weights: str) -> dict[str, Any]:
    from matminer_unate.featurizers.unate import UnateFeaturizer

    config, folder = read_config(weights), weights_folder(weights)
    card = folder / CARD
    return {
        "name": config.name,
        "folder": str(folder.resolve()),
        "columns": len(UnateFeaturizer(weights).feature_labels()),
        "cutoff_angstrom": config.cutoff,
        "geometry": config.encoder.geometry,
        "latent_size": config.latent_dim,
        "elements_known": len(config.known_elements),
        "pretraining_crystals": config.training.get("n_crystals"),
        "sha256": config.sha256,
        "card": str(card.resolve()) if card.is_file() else None,
    }


def _print_pairs(pairs: dict[str, Any]) -> None:
    for name, value in pairs.items():
        shown = ", ".join(value) if isinstance(value, list) else value
        if isinstance(value, dict):
            shown = ", ".join(f"{key} ({n:,} columns)" for key, n in value.items())
        if isinstance(value, int):
            shown = f"{value:,}"
        print(f"{name.replace('_angstrom', ' (Å)'):<22}{'—' if shown in (None, '') else shown}")
