"""Pretext tasks, one a file. Each is a module: site latents and the clean batch in, loss out."""

from objectives.adjacency import SpeciesAdjacency
from objectives.contrastive import NTXent
from objectives.element_properties import ElementPropertyReconstruction
from objectives.node import NodeReconstruction
from objectives.site_targets import SiteTargetRegression

__all__ = [
    "ElementPropertyReconstruction",
    "NTXent",
    "NodeReconstruction",
    "SiteTargetRegression",
    "SpeciesAdjacency",
]
