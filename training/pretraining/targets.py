"""Which quantities of the clean crystal the encoder is asked for."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from corpora.corpus import Corpus
from matminer_unate.errors import InputError
from matminer_unate.physics.band_quantities import CRYSTAL_NAMES, SITE_NAMES
from matminer_unate.physics.quantity import slug
from matminer_unate.physics.site_descriptors import FINGERPRINT_NAMES, PHYSICS_NAMES
from objectives.target_regression import TargetRegression
from pretraining.config import PretrainConfig


@dataclass(frozen=True)
class Targets:
    """What an objective regresses on: columns of a field of the clean batch, and their names."""

    objective: str
    field: str
    columns: slice
    names: tuple[str, ...] = ()  # of a teacher: none
    gives_back: str = ""  # in the words of the model card
    of_crystals: bool = False


DESCRIPTORS, ELECTRONS = "site descriptors", "electrons of a tight-binding model"
_N_PHYSICS, _N_ELECTRONS = len(PHYSICS_NAMES), len(SITE_NAMES)

SITE_TARGETS = (
    Targets("physics", "descriptors", slice(_N_PHYSICS), PHYSICS_NAMES, DESCRIPTORS),
    Targets("fingerprint", "descriptors", slice(_N_PHYSICS, None), FINGERPRINT_NAMES, DESCRIPTORS),
    Targets("tight_binding", "tight_binding", slice(_N_ELECTRONS), SITE_NAMES, ELECTRONS),
    Targets("teacher", "teacher", slice(None)),
)
CRYSTAL_TARGETS = Targets(
    "tight_binding_crystal",
    "tight_binding",
    slice(_N_ELECTRONS, None),
    CRYSTAL_NAMES,
    ELECTRONS,
    of_crystals=True,
)


def with_predictions(config: PretrainConfig, corpus: Corpus) -> PretrainConfig:
    """The configuration with the names of what its objectives let the encoder predict.

    Raises
    ------
    InputError
        An objective has a weight, but the corpus none of its targets, or not the ones it knows.
    """
    active = [t for t in (*SITE_TARGETS, CRYSTAL_TARGETS) if getattr(config.weights, t.objective)]
    names = {t.objective: target_names(t, corpus) for t in active}
    encoder = replace(
        config.encoder,
        predicted=tuple(n for t in SITE_TARGETS for n in names.get(t.objective, ())),
        crystal_predicted=names.get(CRYSTAL_TARGETS.objective, ()),
    )
    return replace(config, encoder=encoder)


def target_regression(targets: Targets, config: PretrainConfig, corpus: Corpus) -> TargetRegression:
    """The objective of these targets; those of sites share the encoder's predictions in order."""
    answered = slice(None)
    if not targets.of_crystals:
        asked = [t for t in SITE_TARGETS if getattr(config.weights, t.objective)]
        ends = np.cumsum([0, *(len(target_names(t, corpus)) for t in asked)]).tolist()
        k = asked.index(targets)
        answered = slice(ends[k], ends[k + 1])
    return TargetRegression(targets.field, targets.columns, answered, targets.of_crystals)


def target_names(targets: Targets, corpus: Corpus) -> tuple[str, ...]:
    """Names of the targets as parts of column names, checked against what the corpus has."""
    n, option = corpus.n_targets(targets.field), targets.field.replace("_", "-")
    if not n:
        raise InputError(
            f"--weights.{targets.objective} is set, but --{option} names no file with site targets "
            "of these crystals"
        )
    width = len(range(n)[targets.columns])
    names = targets.names or tuple(f"{k:02d}" for k in range(width))
    if len(names) != width:
        raise InputError(
            f"the file of --{option} has {n} targets a site, which are not those of the present "
            "code; make it anew with training/teachers.py"
        )
    prefix = "" if targets.field == "descriptors" else f"{targets.field} "
    return tuple(slug(prefix + name) for name in names)
