"""Columns for crystal structures as matminer featurizers.

``UnateFeaturizer`` gives learned ones, from a pretrained CartNet encoder; ``SiteDescriptorStats``
physical ones, without any network.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matminer_unate.featurizer import UnateFeaturizer
    from matminer_unate.site_descriptor_stats import SiteDescriptorStats

__all__ = ["SiteDescriptorStats", "UnateFeaturizer", "__version__"]

__version__ = version("matminer_unate")


def __getattr__(name: str) -> Any:
    # matminer's base class takes a second to import, and the command line often does not need it.
    if name == "UnateFeaturizer":
        from matminer_unate.featurizer import UnateFeaturizer

        return UnateFeaturizer
    if name == "SiteDescriptorStats":
        from matminer_unate.site_descriptor_stats import SiteDescriptorStats

        return SiteDescriptorStats
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
