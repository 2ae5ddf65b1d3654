"""Which quantities of the clean crystal the encoder is asked for."""

from __future__ import annotations

from dataclasses import dataclass, replace

from corpora.corpus import Corpus
from matminer_unate.errors import InputError
from matminer_unate.physics.band_quantities import CRYSTAL_NAMES, SITE_NAMES
from matminer_unate.physics.quantity import slug
from matminer_unate.physics.site_descriptors import FINGERPRINT_NAMES, PHYSICS_NAMES
from pretraining.config import PretrainConfig


@dataclass(frozen=True)
class Targets:
    """What an objective regresses on: columns of a field of the clean batch, and their names."""

    objective: str
    field: str
    columns: slice
    names: tuple[str, ...] = ()  # of a teacher: none


SITE_TARGETS = (
    Targets("physics", "descriptors", slice(len(PHYSICS_NAMES)), PHYSICS_NAMES),
    Targets("fingerprint", "descriptors", slice(len(PHYSICS_NAMES), None), FINGERPRINT_NAMES),
    Targets("tight_binding", "tight_binding", slice(len(SITE_NAMES)), SITE_NAMES),
    Targets("teacher", "teacher", slice(None)),
)
CRYSTAL_TARGETS = Targets(
    "tight_binding_crystal", "tight_binding", slice(len(SITE_NAMES), None), CRYSTAL_NAMES
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
