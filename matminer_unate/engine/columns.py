"""The columns that can be asked for, by their names on the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matminer_unate.featurizers.base import StructureFeaturizer

FEATURIZERS = ("unate", "site-descriptors", "fingerprint", "cell", "tight-binding")

RECIPE = "recipe"
"""All that ``UnateRegressor`` learns from."""

COLUMNS = (*FEATURIZERS, RECIPE)


def make_featurizer(name: str) -> StructureFeaturizer:
    """One of :data:`FEATURIZERS`, with its defaults; imports matminer."""
    from matminer_unate.featurizers.cell_stats import CellStats
    from matminer_unate.featurizers.site_descriptor_stats import SiteDescriptorStats
    from matminer_unate.featurizers.tight_binding_stats import TightBindingStats
    from matminer_unate.featurizers.unate import UnateFeaturizer

    if name == "unate":
        return UnateFeaturizer()
    if name == "cell":
        return CellStats()
    if name == "tight-binding":
        return TightBindingStats()
    return SiteDescriptorStats(descriptors="fingerprint" if name == "fingerprint" else "physics")
