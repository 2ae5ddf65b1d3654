"""Options that several commands of ``unate`` have."""

from __future__ import annotations

import argparse
from pathlib import Path

from matminer_unate.network.weights import DEFAULT_WEIGHTS


def input_path(text: str) -> str | Path:
    """A database as it is written, anything else as a path."""
    from matminer_unate.io.databases import is_database

    return text if is_database(text) else Path(text)


def add_column(parser: argparse.ArgumentParser) -> None:
    """Add the option of where structures are in tables."""
    parser.add_argument(
        "--column", metavar="NAME", help="column of structures (default: found by its name)"
    )


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add the option of what the network runs on."""
    parser.add_argument(
        "--device", default="auto", help="auto, cpu, cuda or cuda:<n> (default: auto)"
    )


def add_weights(
    parser: argparse.ArgumentParser,
    default: str | None = DEFAULT_WEIGHTS,
    said: str = DEFAULT_WEIGHTS,
) -> None:
    """Add the option of the network's weights; ``said`` is the default in words."""
    parser.add_argument(
        "--weights",
        default=default,
        metavar="NAME|FOLDER",
        help=f"weights that come with the package, or a folder (default: {said})",
    )


def add_disorder(
    parser: argparse.ArgumentParser,
    default: str | None = "raise",
    said: str = "raise",
    average: bool = False,
) -> None:
    """Add the option of what becomes of disordered crystals; ``average`` where that is known."""
    parser.add_argument(
        "--disorder",
        choices=("raise", "ordered", "average") if average else ("raise", "ordered"),
        default=default,
        help="crystals with sites of mixed or partial occupancy fail (raise), or an ordered cell "
        "of low electrostatic energy stands for them (ordered)"
        + (
            ", or elements count with their occupancies in learned columns (average)"
            if average
            else ""
        )
        + f"; default: {said}",
    )
