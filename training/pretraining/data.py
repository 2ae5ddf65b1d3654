"""From the sources of a command line to the corpora of a run."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from corpora.corpus import FROM_FILES, Corpus, SiteTargets
from corpora.crystal import Crystal
from corpora.reading import read_with_report
from corpora.shares import Share
from matminer_unate.errors import InputError
from objectives.pairwise_floor import pairwise_floor
from pretraining.config import PretrainConfig
from site_targets.computing import write_site_targets
from site_targets.files import read_site_targets


def read_corpora(config: PretrainConfig, out: Path, share: Share) -> tuple[Corpus, Corpus | None]:
    """The crystals to train on, and a few to measure on: of held-out formulas, if there are any.

    A process holds its own share of the former; the first of several has the latter.
    """
    talk = share.rank == 0
    part = None if config.part == "all" else config.part
    read = partial(
        read_with_report, config.data, config.max_sites, accept_doubtful=config.accept_doubtful
    )
    excluded = config.exclude_formulas or None
    crystals, report = read(part, config.limit or None, exclude_formulas=excluded, share=share)
    others = crystals[: config.n_monitor] if talk else []
    if part == "train" and others:
        with contextlib.suppress(ValueError):  # small data sets may have no such formula
            others, _ = read("val", config.n_monitor)
    if talk:
        seen = "all formulas" if part is None else f"formulas in {part!r} (--part all: of all)"
        print(f"{report}: up to {config.max_sites} sites, {seen}")
    each = list({c.identifier: c for c in [*others, *crystals]}.values())
    files = _target_files(config, each, out, share)
    own = {c.identifier for c in each} if share.world > 1 else None
    digests = {c.identifier: c.digest for c in each} if files else {}
    targets: dict[str, SiteTargets] = {
        name: read_site_targets(file, own, digests) for name, file in files.items()
    }
    for name, known in targets.items():
        n_known = sum(share.all_of(sum(c.identifier in known for c in crystals)))
        if talk and n_known < report.kept:
            print(f"{files[name]}: {name} targets of {n_known:,} of {report.kept:,} crystals")
    if min(share.all_of(len(crystals))) < 1:
        raise InputError(
            f"{report.kept:,} crystals are too few for {share.world} processes; use fewer"
        )
    corpus = Corpus(crystals, config.encoder.cutoff, targets, progress=talk, share=share)
    if min(share.all_of(int(corpus.n_sites.sum()))) < 2:
        raise InputError("one crystal of one site is too little to learn from; give --data more")
    if talk:
        _tell_floor(config, corpus)
    if not others:
        return corpus, None
    return corpus, Corpus(others, config.encoder.cutoff, targets, like=corpus, progress=False)


def _target_files(
    config: PretrainConfig, crystals: Sequence[Crystal], out: Path, share: Share
) -> dict[str, str]:
    """Files of site targets by kind; those of the tight-binding model are made if need be.

    Each process computes those of its own crystals, and goes on when all have theirs.
    """
    files = {name: file for name in FROM_FILES if (file := getattr(config, name))}
    wanted = config.weights.tight_binding or config.weights.tight_binding_crystal
    if wanted and not config.tight_binding:
        of = f"_{share.rank + 1}_of_{share.world}" if share.world > 1 else ""
        file = out / f"tight_binding{of}.parquet"
        files["tight_binding"] = str(file)
        if share.rank == 0:
            print("tight-binding site targets, computed once (beforehand: training/teachers.py):")
        out.mkdir(parents=True, exist_ok=True)
        write_site_targets("tight-binding", crystals, file, ["python", *sys.argv])
    return files


def _tell_floor(config: PretrainConfig, corpus: Corpus) -> None:
    """Print how much of a pairwise adjacency loss can be learned at all."""
    if not config.weights.adjacency or config.adjacency == "species-rdf":
        return
    members = np.random.default_rng(0).permutation(len(corpus))[:200]
    floor = pairwise_floor(config.adjacency, corpus, members)
    told = ", ".join(f"{name} {value:.4g}" for name, value in floor.items())
    print(f"adjacency {config.adjacency}, the least loss that symmetry allows: {told}")
