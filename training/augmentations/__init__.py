"""Corruptions of a clean batch, one a file; ``corruption.Corruption`` applies them in turn.

Each takes its randomness from the generator it is given, on the generator's device.
"""

from augmentations.edge_drop import drop_edges
from augmentations.edge_rewiring import rewire_edges
from augmentations.jitter import jitter
from augmentations.masking import Selection, mask_species, select_sites
from augmentations.rotation import random_rotations
from augmentations.shuffling import shuffle_species
from augmentations.strain import random_strains

__all__ = [
    "Selection",
    "drop_edges",
    "jitter",
    "mask_species",
    "random_rotations",
    "random_strains",
    "rewire_edges",
    "select_sites",
    "shuffle_species",
]
