"""The featurizers of the package by their names on the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matminer_unate.featurizers.base import StructureFeaturizer

FEATURIZERS = ("unate", "site-descriptors", "fingerprint", "tight-binding")


def make_featurizer(name: str) -> StructureFeaturizer:
    """One of :data:`FEATURIZERS`, with its defaults; imports matminer."""
    from matminer_unate import SiteDescriptorStats, TightBindingStats, UnateFeaturizer

    if name == "unate":
        return UnateFeaturizer()
    if name == "tight-binding":
        return TightBindingStats()
    return SiteDescriptorStats(descriptors="fingerprint" if name == "fingerprint" else "physics")
