"""What the tests of the pairwise losses share."""

from __future__ import annotations

import itertools
import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from pymatgen.core import Structure
from real_crystals import crystals
from small_corpora import CUTOFF, make_corpus

from corpora.batches import CleanBatch
from corpora.corpus import Corpus
from objectives.pair_targets import Form, pair_targets, site_pairs

FORMS: tuple[Form, ...] = ("multiplicity", "bond", "pair-rdf")


def matrices(form: Form, batch: CleanBatch) -> list[NDArray[np.float64]]:
    """Targets of a batch as one (n, n, …) array a crystal; its cells have few sites."""
    found = pair_targets(form, batch, CUTOFF).numpy()
    first, second = (sites.numpy() for sites in site_pairs(batch))
    whole = np.zeros((len(batch.z), len(batch.z), *found.shape[1:]), found.dtype)
    whole[first, second] = found
    bounds = itertools.pairwise(batch.site_start.tolist())
    return [whole[start:end, start:end] for start, end in bounds]


@lru_cache(maxsize=1)
def quartz_twice_and_salt() -> Corpus:
    """The second time its sites are in another order."""
    quartz = crystals()["SiO2 quartz"]
    mixed = Structure.from_sites([quartz[k] for k in (4, 0, 8, 2, 6, 1, 3, 7, 5)])
    return make_corpus([quartz, mixed, crystals()["NaCl"]])


def entropy(*counts: float) -> float:
    total = sum(counts)
    return -sum(c * math.log(c / total) for c in counts if c)
