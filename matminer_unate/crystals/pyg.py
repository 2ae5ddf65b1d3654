"""Crystals as ``torch_geometric`` graphs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from matminer_unate.crystals.graph import RadiusGraph, radius_graph
from matminer_unate.crystals.structures import crystal_arrays

if TYPE_CHECKING:
    from torch_geometric.data import Data


def graph_to_data(graph: RadiusGraph) -> Data:
    """Wrap a graph as a PyG ``Data`` with ``z``, ``edge_index`` and ``edge_vector``."""
    import torch
    from torch_geometric.data import Data

    return Data(
        z=torch.from_numpy(graph.atomic_numbers),
        edge_index=torch.from_numpy(graph.edge_index),
        edge_vector=torch.from_numpy(graph.edge_vector),
        num_nodes=graph.n_sites,
    )


def structure_to_data(structure: Any, cutoff: float) -> Data:
    """Turn a pymatgen ``Structure``, ``IStructure`` or ASE ``Atoms`` into a PyG graph.

    Parameters
    ----------
    structure : Structure, IStructure or ase.Atoms
        Ordered and periodic. Oxidation states are dropped; D and T count as H.
    cutoff : float, Å

    Returns
    -------
    torch_geometric.data.Data
        ``z`` (n_sites,), ``edge_index`` (2, n_edges; source, target) and ``edge_vector``
        (n_edges, 3; Å, from target to source).

    Raises
    ------
    StructureError
        The input is not an ordered periodic crystal, or two atoms coincide.
    """
    return graph_to_data(radius_graph(*crystal_arrays(structure), cutoff))
