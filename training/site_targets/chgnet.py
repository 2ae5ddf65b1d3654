"""CHGNet's atom features."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from pymatgen.core import Structure

from corpora.crystal import Crystal
from site_targets.files import SiteVectors

BATCH_SITES = 64
"""CHGNet's edge tensors then stay in the cache of a core: 1,600 sites/s, 1,200 at 512 sites."""

UNSEEN_BY_CHGNET = (84, 85, 86, 87, 88)
"""Po to Ra and everything beyond Pu: not among the 89 elements that it was trained on."""

LAST_OF_CHGNET = 94


def chgnet_targets(crystals: Sequence[Crystal], readout: bool = False) -> list[SiteVectors | None]:
    """Atom features of CHGNet before its last convolution, (n_sites, 64) or with ``readout`` 66.

    ``None`` for crystals with an element it never saw, or with a site that has no neighbour within
    its 6 Å.
    """
    model = load_chgnet()
    graphs = {}
    for k, c in enumerate(crystals):
        unseen = np.isin(c.atomic_numbers, UNSEEN_BY_CHGNET) | (c.atomic_numbers > LAST_OF_CHGNET)
        if not unseen.any():
            structure = Structure(c.lattice, c.atomic_numbers.tolist(), c.frac_coords)
            graph = model.graph_converter(structure, graph_id=c.identifier)
            centres = graph.atom_graph.reshape(-1, 2)[:, 0]  # one-dimensional without any edge
            if len(centres.unique()) == len(c):
                graphs[k] = graph
    vectors: list[SiteVectors | None] = [None] * len(crystals)
    for batch in batches_by_sites(list(graphs), [len(c) for c in crystals]):
        inputs = [graphs[k] for k in batch]
        with torch.inference_mode():
            found = model(inputs, task="em", return_site_energies=True, return_atom_feas=True)
            shifts = model.composition_model.get_site_energies(inputs)
        for k, features, moment, energy, shift in zip(
            batch, found["atom_fea"], found["m"], found["site_energies"], shifts, strict=True
        ):
            columns = [features, moment[:, None], (energy - shift)[:, None]]
            vectors[k] = torch.cat(columns if readout else columns[:1], dim=1).numpy()
    return vectors


@lru_cache(maxsize=1)
def load_chgnet() -> Any:
    """CHGNet 0.3.0 on the CPU, from its wheel."""
    try:
        from chgnet.model import CHGNet
    except ImportError as e:
        raise ImportError("this teacher needs chgnet: pip install 'matminer_unate[teacher]'") from e
    with contextlib.redirect_stdout(io.StringIO()):  # it prints its number of parameters
        model = CHGNet.load(model_name="0.3.0", use_device="cpu", verbose=False)
    model.graph_converter.set_isolated_atom_response("ignore")  # seen to by the caller
    return model.eval()


def batches_by_sites(members: Sequence[int], sizes: Sequence[int]) -> Iterator[list[int]]:
    """Cut into runs of at most ``BATCH_SITES`` sites; a larger crystal is alone."""
    batch: list[int] = []
    for k in members:
        if batch and sum(sizes[b] for b in batch) + sizes[k] > BATCH_SITES:
            yield batch
            batch = []
        batch.append(k)
    if batch:
        yield batch
