"""Pretext tasks, one a file.

Each is a module that returns its loss and what else is worth logging. Tasks of the denoising branch
read one view, ``forward(encoded, batch)``; those of the contrastive branch two,
``forward(first, second, batch)``. Targets always come from the clean batch.
"""

from objectives.barlow_twins import BarlowTwins
from objectives.edge_denoising import EdgeDenoising
from objectives.element_properties import ElementPropertyReconstruction
from objectives.infomax import DeepGraphInfomax
from objectives.node import NodeReconstruction
from objectives.nt_xent import NTXent
from objectives.pair_adjacency import PairAdjacency
from objectives.pairwise_floor import pairwise_floor
from objectives.space_group import SpaceGroup
from objectives.species_adjacency import SpeciesAdjacency
from objectives.target_regression import CrystalTargetRegression, SiteTargetRegression
from objectives.triplet import Triplet
from objectives.vicreg import VICReg

__all__ = [
    "BarlowTwins",
    "CrystalTargetRegression",
    "DeepGraphInfomax",
    "EdgeDenoising",
    "ElementPropertyReconstruction",
    "NTXent",
    "NodeReconstruction",
    "PairAdjacency",
    "SiteTargetRegression",
    "SpaceGroup",
    "SpeciesAdjacency",
    "Triplet",
    "VICReg",
    "pairwise_floor",
]
