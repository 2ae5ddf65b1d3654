"""Names of quantities → names of columns."""

from __future__ import annotations

import re


def column_slug(name: str) -> str:
    """``states at -2 eV [1/eV]`` → ``states_at_minus_2_ev``, as a part of a column name."""
    bare = re.sub(r"\[.*?\]", "", name.lower())
    return re.sub(r"[^a-z0-9.]+", "_", re.sub(r"[-−](?=\d)", "minus ", bare)).strip("_")


def column_name(descriptor: str) -> str:
    """``shortest bond [Å]`` → ``shortest_bond``, ``radial count 1.4 Å`` → ``radial_count_1.4A``."""
    bare = re.sub(r" \[.*\]", "", descriptor).replace(" ", "_").lower()
    return bare.replace("_å", "A")
