"""What each column means: one table for names, units and help."""

from __future__ import annotations

import re
from functools import cache, lru_cache

from matminer_unate.physics.quantity import Quantity, slug

ColumnMeaning = tuple[str, str, str]
"""Name, unit and meaning of a column."""

STANDARDISED = "σ"
"""Unit of learned columns: standard deviations over the sites, or crystals, of pretraining."""

_POOLED = {
    "mean": "mean over the sites",
    "std": "standard deviation over the sites",
    "min": "least of the sites",
    "max": "largest of the sites",
    "sum": "sum over the sites of the cell",
}


@cache
def of_sites(prefix: str, quantity: Quantity, pooling: str) -> ColumnMeaning:
    """Column of a pooled quantity of the sites."""
    meaning = f"{quantity.name}, {_POOLED[pooling]}: {quantity.formula}"
    return f"{prefix}_{quantity.column}_{pooling}", quantity.unit, meaning


@cache
def of_crystal(prefix: str, quantity: Quantity) -> ColumnMeaning:
    """Column of a quantity of the crystal."""
    return f"{prefix}_{quantity.column}", quantity.unit, f"{quantity.name}: {quantity.formula}"


@cache
def learned(prefix: str, label: str, pooling: str | None = None) -> ColumnMeaning:
    """Learned column: pooled component of the site vector, or prediction for the crystal."""
    name = f"{prefix}_{label}" if pooling is None else f"{prefix}_{pooling}_{label}"
    pooled = "" if pooling is None else f", {_POOLED[pooling]}"
    return name, STANDARDISED, f"{_component(label)}{pooled}"


def _component(label: str) -> str:
    """In words, what weights call a component of their site vector."""
    if channel := re.fullmatch(r"l(\d+)_(\d+)", label):
        layer, number = map(int, channel.groups())
        knows = f"its surroundings up to {layer} × cutoff" if layer else "its element alone"
        return f"channel {number} of the site after layer {layer}, which knows {knows}"
    if component := re.fullmatch(r"(z|teacher)_(\d+)", label):
        of = {"z": "the site embedding", "teacher": "what the second teacher says of the site"}
        return f"component {int(component[2])} of {of[component[1]]}"
    if label in _predicted():
        quantity = _predicted()[label]
        return f"prediction of {quantity.name} ({quantity.formula})"
    return f"prediction of {label.replace('_', ' ')}"


@lru_cache(maxsize=1)
def _predicted() -> dict[str, Quantity]:
    """Quantities by their names in weights folders."""
    from matminer_unate.physics.band_quantities import CRYSTAL_QUANTITIES, SITE_QUANTITIES
    from matminer_unate.physics.site_descriptors import DESCRIPTORS

    bands = {slug(f"tight_binding {q.name}"): q for q in (*SITE_QUANTITIES, *CRYSTAL_QUANTITIES)}
    return {slug(q.name): q for q in DESCRIPTORS["all"]} | bands
