"""Crystals as ``torch_geometric`` graphs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from matminer_unate.crystals.graph import RadiusGraph, radius_graph
from matminer_unate.crystals.structures import CrystalArrays, crystal_arrays

if TYPE_CHECKING:
    from torch_geometric.data import Data


def graph_to_data(crystal: CrystalArrays, graph: RadiusGraph, cutoff: float) -> Data:
    """Wrap a crystal and its graph of this cutoff as :func:`structure_to_data` does."""
    import torch
    from torch_geometric.data import Data

    lattice, frac_coords, z = (torch.from_numpy(part) for part in crystal)
    return Data(
        z=z,
        pos=(frac_coords @ lattice).float(),
        cell=lattice.float()[None],
        edge_index=torch.from_numpy(graph.edge_index),
        edge_vector=torch.from_numpy(graph.edge_vector),
        cutoff=torch.tensor([cutoff], dtype=torch.float64),
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
        ``z`` (n_sites,) and ``pos`` (n_sites, 3; Å) of the sites; ``cell`` (1, 3, 3; Å; lattice
        vectors as rows); ``edge_index`` (2, n_edges; source, target) and ``edge_vector``
        (n_edges, 3; Å; from target to source, lattice translations included); ``cutoff`` (1,; Å).

    Raises
    ------
    StructureError
        The input is not an ordered periodic crystal, or two atoms coincide.
    """
    crystal = crystal_arrays(structure)
    return graph_to_data(crystal, radius_graph(*crystal, cutoff), cutoff)
