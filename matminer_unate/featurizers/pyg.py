"""Crystals with their site embeddings as graphs for networks of ``torch_geometric``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from matminer_unate.crystals.checked import CheckedCrystal
from matminer_unate.crystals.pyg import graph_to_data
from matminer_unate.errors import StructureError, row_name, warn_user
from matminer_unate.featurizers.inputs import entries_of, index_of
from matminer_unate.featurizers.unate import EncodingNotes, embed, prepare
from matminer_unate.network.weights import DEFAULT_WEIGHTS, weights_config

if TYPE_CHECKING:
    from torch_geometric.data import Data


def to_data(
    structures: Any,
    weights: str | Path = DEFAULT_WEIGHTS,
    embeddings: bool = True,
    device: str = "auto",
) -> list[Data]:
    """Make PyG graphs of structures, with the embeddings of their sites.

    Parameters
    ----------
    structures : list, tuple, Series, one-column DataFrame or array of structures
    weights : str or path
        Name of weights that come with the package, or a weights folder. The graphs are of their
        cutoff, so that :class:`~matminer_unate.network.pyg.UnateEncoderLayer` can read them.
    embeddings : bool
        Whether the graphs get ``x``; without, they are for that layer.
    device : str
        Where the embeddings are computed: ``"auto"`` (CUDA where there is one), ``"cpu"``, …

    Returns
    -------
    list of torch_geometric.data.Data
        ``x`` (n_sites, latent_dim; float32; of mean 0 and deviation 1 over the sites that the
        weights were made with), and all that
        :func:`~matminer_unate.crystals.pyg.structure_to_data` gives. On the CPU.

    Raises
    ------
    StructureError
        A structure is unusable; the message names its row.
    """
    import torch

    index = index_of(structures)
    config = weights_config(weights)
    notes, found, graphs = EncodingNotes(config), list[Any](), list[Any]()
    for row, structure in enumerate(entries_of(structures)):
        try:
            crystal = CheckedCrystal(structure)
            prepared = prepare(crystal, config)
        except StructureError as e:
            raise StructureError(f"{row_name(row, index)}: {e}") from e
        notes.read(prepared, row)
        graphs.append((row, prepared.graph))
        found.append(graph_to_data(crystal.arrays, prepared.graph, config.cutoff))
    for text in notes.texts(index):
        warn_user(text)
    if embeddings:
        for row, sites in embed(graphs, weights, device):
            found[row].x = torch.tensor(sites)
    return found
