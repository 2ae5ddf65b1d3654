"""Learned columns for crystal structures: a matminer featurizer on a pretrained CartNet encoder."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matminer_unate.featurizer import UnateFeaturizer

__all__ = ["UnateFeaturizer", "__version__"]

__version__ = version("matminer_unate")


def __getattr__(name: str) -> Any:
    # matminer's base class takes a second to import, and the command line often does not need it.
    if name == "UnateFeaturizer":
        from matminer_unate.featurizer import UnateFeaturizer

        return UnateFeaturizer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
