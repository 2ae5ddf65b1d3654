"""From the sources of a command line to the corpora of a run."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import numpy as np
import torch.distributed as dist

from corpora.corpus import FROM_FILES, Corpus
from corpora.reading import read_crystals, read_with_report
from objectives import pairwise_floor
from pretraining.config import PretrainConfig
from site_targets.computing import write_site_targets
from site_targets.files import read_site_targets


def read_corpora(config: PretrainConfig, out: Path, rank: int) -> tuple[Corpus, Corpus | None]:
    """The crystals to train on, and a few to measure on: of held-out formulas, if there are any."""
    talk = rank == 0
    part = None if config.part == "all" else config.part
    excluded = config.exclude_formulas or None
    crystals, report = read_with_report(
        config.data, config.max_sites, part, config.limit or None, exclude_formulas=excluded
    )
    others = crystals[: config.n_monitor]
    if part == "train" and others:
        with contextlib.suppress(ValueError):  # small data sets may have no such formula
            others = read_crystals(config.data, config.max_sites, "val", config.n_monitor)
    if talk:
        seen = "all formulas" if part is None else f"formulas in {part!r} (--part all: of all)"
        print(f"{report}: up to {config.max_sites} sites, {seen}")
    files = {name: getattr(config, name) for name in FROM_FILES}
    weights = config.weights
    if (weights.tight_binding or weights.tight_binding_crystal) and not config.tight_binding:
        files["tight_binding"] = str(out / "tight_binding.parquet")
        if talk:
            print("tight-binding site targets, computed once (beforehand: training/teachers.py):")
            file, command = out / "tight_binding.parquet", ["python", *sys.argv]
            each = list({c.identifier: c for c in [*others, *crystals]}.values())
            write_site_targets("tight-binding", each, file, command)
        if dist.is_initialized():
            dist.barrier()
    targets = {name: read_site_targets(file) for name, file in files.items() if file}
    for name, known in targets.items():
        n_known = sum(c.identifier in known for c in crystals)
        if talk and n_known < len(crystals):
            print(f"{files[name]}: {name} targets of {n_known:,} of {len(crystals):,} crystals")
    corpus = Corpus(crystals, config.encoder.cutoff, targets, progress=talk)
    if talk and config.weights.adjacency and config.adjacency != "species-rdf":
        members = np.random.default_rng(0).permutation(len(corpus))[:200]
        floor = pairwise_floor(config.adjacency, corpus, members)
        told = ", ".join(f"{name} {value:.4g}" for name, value in floor.items())
        print(f"adjacency {config.adjacency}, the least loss that symmetry allows: {told}")
    if not others:
        return corpus, None
    return corpus, Corpus(others, config.encoder.cutoff, targets, like=corpus, progress=False)
