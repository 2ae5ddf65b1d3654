"""Radius graph → elastic moduli of atoms held by springs: how stiff is the weakest way through?

Springs are stiffer the shorter they are against the sum of the covalent radii. Atoms may move where
the crystal is strained, so that springs in series count by the weakest of them, as in layers. What
comes out ranks crystals; it is no prediction, and has no unit.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.linalg import cg

from matminer_unate.crystals.graph import RadiusGraph
from matminer_unate.physics.bonded_networks import fading
from matminer_unate.physics.elements import Floats, element_table

SOFTNESS = 0.37
"""Å, in which the stiffness falls by e: the universal bond-valence parameter."""

STIFFEST = 3.0

SIDEWAYS = 0.1
"""Stiffness across a spring over that along it. Without it, most crystals would collapse."""

WEAKEST = 1e-6
"""Springs below this are left out."""

DENSE_SITES = 300
"""With more, the equations are solved by iteration."""

PRECISION = 1e-6
"""Of the iteration; moduli are off by its square."""

FLOOR = 1e-3
"""Added to moduli before their logarithm is taken: those of slabs in vacuum are 0."""

_VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))
_FIRST, _SECOND = np.array(_VOIGT).T

_STRAINS = np.zeros((3, 3, 6))
"""Of vector component, component of what is added to it, and unit strain."""
for _k, (_i, _j) in enumerate(_VOIGT):
    _STRAINS[_i, _j, _k] += 0.5
    _STRAINS[_j, _i, _k] += 0.5


def log_moduli(volume: float, graph: RadiusGraph, distance: Floats) -> Floats:
    """Logarithms of the bulk and shear modulus, after Voigt and Reuss: K_V, K_R, G_V, G_R.

    Parameters
    ----------
    volume : float, Å³
    graph : RadiusGraph
        With true vectors, up to ``bonded_networks.CUTOFF``.
    distance : (n_edges,), Å

    References
    ----------
    Hill, Proc. Phys. Soc. A 65, 349 (1952), doi:10.1088/0370-1298/65/5/307.
    """
    stiffness = elastic_stiffness(volume, graph, distance)
    c, s = stiffness, np.linalg.inv(stiffness + 1e-9 * np.eye(6))
    moduli = np.array(
        [
            c[:3, :3].sum() / 9,
            1 / s[:3, :3].sum(),
            (1.5 * np.trace(c[:3, :3]) - 0.5 * c[:3, :3].sum() + 3 * np.trace(c[3:, 3:])) / 15,
            15 / (6 * np.trace(s[:3, :3]) - 2 * s[:3, :3].sum() + 3 * np.trace(s[3:, 3:])),
        ]
    )
    return np.log(np.maximum(moduli, 0.0) + FLOOR)


def elastic_stiffness(volume: float, graph: RadiusGraph, distance: Floats) -> NDArray[np.float64]:
    """Voigt's matrix of elastic constants with atoms relaxed, (6, 6).

    Of displacements u and a strain ε, the energy is ½ Σ k (1 − τ)(r̂·v)² + ½ Σ k τ v², with
    v = uⱼ − uᵢ + ε r for each spring of stiffness k. Setting its gradient by u to 0 leaves
    C = (A − Bᵀ Φ⁻¹ B)/volume, of its second derivatives by strains, both, and displacements.
    """
    radius = element_table().radius[graph.atomic_numbers]
    source, target = graph.edge_index
    excess = (radius[source] + radius[target] - distance) / SOFTNESS
    spring = np.minimum(np.exp(excess), STIFFEST) * fading(distance)
    kept = spring > WEAKEST
    source, target = source[kept], target[kept]
    spring, distance = spring[kept], distance[kept]
    # Components first, where NumPy is fast.
    along = np.ascontiguousarray(graph.edge_vector[kept].T, dtype=np.float64) / distance
    stretched = along[_FIRST] * along[_SECOND]  # by unit strains, over the distance
    stiffness, pulled = (1 - SIDEWAYS) * spring * stretched, spring * distance
    # Every spring is there from both ends, with the same energy.
    moment = (pulled * distance * along) @ along.T
    affine = (1 - SIDEWAYS) * (spring * distance**2 * stretched) @ stretched.T
    affine = (affine + SIDEWAYS * np.einsum("ack,bcl,ab->kl", _STRAINS, _STRAINS, moment)) / 2
    n = graph.n_sites
    force = _sums(n, target, ((1 - SIDEWAYS) * pulled * along)[:, None] * stretched)
    sideways = _sums(n, target, SIDEWAYS * pulled * along).T @ _STRAINS.reshape(3, 18)
    pull = -(force.transpose(2, 0, 1).reshape(n, 18) + sideways).reshape(3 * n, 6)
    stiffness[:3] += SIDEWAYS * spring
    solve = _solve_dense if n <= DENSE_SITES else _solve_sparse
    relaxed = (affine - pull.T @ solve(n, source, target, stiffness, pull)) / volume
    return (relaxed + relaxed.T) / 2


def _sums(n: int, target: NDArray[np.int64], values: Floats) -> Floats:
    """Over the edges (the last axis) of each target, which they are sorted by; (…, n)."""
    found = np.zeros((*values.shape[:-1], n))
    if len(target):
        starts = np.flatnonzero(np.diff(target, prepend=-1))
        found[..., target[starts]] = np.add.reduceat(values, starts, axis=-1)
    return found


def _solve_dense(
    n: int, source: NDArray[np.int64], target: NDArray[np.int64], stiffness: Floats, pull: Floats
) -> Floats:
    """Displacements (3 n, 6) from the six components of springs (6, n_edges), and pulls."""
    pair, own = target * n + source, _sums(n, target, stiffness)
    matrix: Floats = np.empty((3, 3, n * n))
    for (a, b), component, total in zip(_VOIGT, stiffness, own, strict=True):
        matrix[a, b] = -np.bincount(pair, component, minlength=n * n)
        matrix[a, b, :: n + 1] += total
        matrix[b, a] = matrix[a, b]
    scale = float(np.trace(matrix)[:: n + 1].sum()) / (3 * n) + 1e-12
    # Pulls do not move the crystal as a whole, nor any part of it that nothing holds.
    matrix[range(3), range(3)] += scale / n
    matrix = matrix.reshape(3, 3, n, n).transpose(2, 0, 3, 1).reshape(3 * n, 3 * n)
    matrix[range(3 * n), range(3 * n)] += 1e-9 * scale
    return np.asarray(np.linalg.solve(matrix, pull))


def _solve_sparse(
    n: int, source: NDArray[np.int64], target: NDArray[np.int64], stiffness: Floats, pull: Floats
) -> Floats:
    """The same by iteration."""
    tensor = np.empty((len(target), 3, 3))
    tensor[:, _FIRST, _SECOND] = tensor[:, _SECOND, _FIRST] = stiffness.T
    inner = np.arange(3)
    rows = np.broadcast_to(3 * target[:, None, None] + inner[:, None], tensor.shape).ravel()
    across = np.broadcast_to(3 * source[:, None, None] + inner, tensor.shape).ravel()
    within = np.broadcast_to(3 * target[:, None, None] + inner, tensor.shape).ravel()
    values = np.concatenate([tensor.ravel(), -tensor.ravel()])
    places = np.concatenate([rows, rows]), np.concatenate([within, across])
    matrix = csr_array((values, places), shape=(3 * n, 3 * n))
    # Rounding leaves a pull on the crystal as a whole, against which nothing holds.
    balanced = pull - np.tile(pull.reshape(n, 3, 6).mean(axis=0), (n, 1))
    enough = PRECISION * float(np.linalg.norm(tensor))
    return np.stack([cg(matrix, p, rtol=PRECISION, atol=enough)[0] for p in balanced.T], axis=1)
