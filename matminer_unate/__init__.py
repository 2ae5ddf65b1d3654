"""Columns for crystal structures as matminer featurizers.

``UnateFeaturizer`` gives learned ones, from a pretrained CartNet encoder; ``SiteDescriptorStats``
physical ones of sites, ``CellStats`` of the cell and ``TightBindingStats`` electronic ones, without
any network. ``UnateFineTuneRegressor`` trains the encoder on to a property, ``UnateRegressor``
learns one from all of these columns, and ``UnateClassifier`` classes. ``featurize_dask`` and
``featurize_batch`` give columns to the frames of Dask and the batches of Arrow,
``read_structures`` reads files, and ``ordered_structure`` is what stands for a disordered crystal;
``site_contributions`` and ``plot_importances`` say what a prediction and a model rest on.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matminer_unate.crystals.ordering import ordered_structure
    from matminer_unate.engine.frames import featurize_batch, featurize_dask
    from matminer_unate.explanation.crystal_drawing import draw_contributions
    from matminer_unate.explanation.importance_figure import plot_importances
    from matminer_unate.explanation.site_contributions import site_contributions
    from matminer_unate.familiarity.index import UnateIndex
    from matminer_unate.familiarity.novelty import UnateNovelty
    from matminer_unate.featurizers.cell_stats import CellStats
    from matminer_unate.featurizers.element_data import UnateElementData
    from matminer_unate.featurizers.site_descriptor_stats import SiteDescriptorStats
    from matminer_unate.featurizers.tight_binding_stats import TightBindingStats
    from matminer_unate.featurizers.unate import UnateFeaturizer
    from matminer_unate.featurizers.unate_composition import UnateCompositionFeaturizer
    from matminer_unate.featurizers.unate_sites import UnateSiteFeaturizer
    from matminer_unate.finetuning.fine_tune_regressor import UnateFineTuneRegressor
    from matminer_unate.io.structure_tables import read_structures
    from matminer_unate.regressors.unate_classifier import UnateClassifier
    from matminer_unate.regressors.unate_regressor import UnateRegressor

__all__ = [
    "CellStats",
    "SiteDescriptorStats",
    "TightBindingStats",
    "UnateClassifier",
    "UnateCompositionFeaturizer",
    "UnateElementData",
    "UnateFeaturizer",
    "UnateFineTuneRegressor",
    "UnateIndex",
    "UnateNovelty",
    "UnateRegressor",
    "UnateSiteFeaturizer",
    "__version__",
    "draw_contributions",
    "featurize_batch",
    "featurize_dask",
    "ordered_structure",
    "plot_importances",
    "read_structures",
    "site_contributions",
]

__version__ = version("matminer_unate")


_MODULES = {
    "CellStats": "featurizers.cell_stats",
    "SiteDescriptorStats": "featurizers.site_descriptor_stats",
    "TightBindingStats": "featurizers.tight_binding_stats",
    "UnateClassifier": "regressors.unate_classifier",
    "UnateCompositionFeaturizer": "featurizers.unate_composition",
    "UnateElementData": "featurizers.element_data",
    "UnateFeaturizer": "featurizers.unate",
    "UnateFineTuneRegressor": "finetuning.fine_tune_regressor",
    "UnateIndex": "familiarity.index",
    "UnateNovelty": "familiarity.novelty",
    "UnateRegressor": "regressors.unate_regressor",
    "UnateSiteFeaturizer": "featurizers.unate_sites",
    "draw_contributions": "explanation.crystal_drawing",
    "featurize_batch": "engine.frames",
    "featurize_dask": "engine.frames",
    "ordered_structure": "crystals.ordering",
    "plot_importances": "explanation.importance_figure",
    "read_structures": "io.structure_tables",
    "site_contributions": "explanation.site_contributions",
}


def __getattr__(name: str) -> Any:
    # matminer's base class takes a second to import, and the command line often does not need it.
    if name in _MODULES:
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
