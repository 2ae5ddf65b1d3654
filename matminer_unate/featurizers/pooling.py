"""Site vectors → one crystal vector."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from matminer_unate.errors import InputError

if TYPE_CHECKING:
    from matminer_unate.network.encoding import Encoded


POOLINGS = ("mean", "std", "min", "max", "sum")
"""All but ``sum`` are the same for a primitive cell, a conventional cell and a supercell."""


def check_pooling(pooling: str | Sequence[str]) -> tuple[str, ...]:
    """The poolings as a tuple; a single name may come as a string.

    Raises
    ------
    InputError
        An unknown or repeated name, or none at all.
    """
    names = pooling if isinstance(pooling, list | tuple) else (pooling,)
    unknown = [n for n in names if not isinstance(n, str) or n not in POOLINGS]
    if unknown or not names or len(set(names)) != len(names):
        raise InputError(
            f"pooling must name distinct ones of {', '.join(POOLINGS)}; got {pooling!r}"
        )
    return tuple(names)


def pool(
    sites: NDArray[np.float32],
    site_start: NDArray[np.int64],
    pooling: Sequence[str],
    occupancy: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Pool the site vectors of each crystal.

    Parameters
    ----------
    sites : (n_sites, d)
    site_start : (n_crystals + 1,)
        Crystal c owns the rows ``site_start[c]`` to ``site_start[c + 1] - 1``; none is empty.
    pooling : sequence of str
        Names from ``POOLINGS``; ``std`` is the population standard deviation.
    occupancy : (n_sites,), optional
        What each site counts, but for ``min`` and ``max``; 1 if not given.

    Returns
    -------
    (n_crystals, d · len(pooling)) float32
        All components of the first pooling, then of the second, …
    """
    # float64, so that a mean over 8 equal sites is the mean over 1, and a std of equals is zero.
    values = sites.astype(np.float64)
    starts, counts, shares = site_start[:-1], np.diff(site_start), None
    amounts: NDArray[Any] = counts
    if occupancy is not None:
        shares = occupancy.astype(np.float64)[:, None]
        amounts = np.add.reduceat(shares[:, 0], starts)
    blocks: dict[str, NDArray[np.float64]] = {}
    if {"mean", "std", "sum"} & set(pooling):
        blocks["sum"] = np.add.reduceat(values if shares is None else values * shares, starts)
        blocks["mean"] = blocks["sum"] / amounts[:, None]
    if "std" in pooling:
        deviation = values - np.repeat(blocks["mean"], counts, axis=0)
        square = deviation**2 if shares is None else deviation**2 * shares
        variance = np.add.reduceat(square, starts) / amounts[:, None]
        blocks["std"] = np.sqrt(variance)
    if "min" in pooling:
        blocks["min"] = np.minimum.reduceat(values, starts)
    if "max" in pooling:
        blocks["max"] = np.maximum.reduceat(values, starts)
    return np.concatenate([blocks[name] for name in pooling], axis=1).astype(np.float32)


def pooled(encoded: Encoded, pooling: Sequence[str]) -> NDArray[np.float32]:
    """Pooled site vectors and the columns of whole crystals, (n_crystals, n_columns)."""
    sites = pool(encoded.sites, encoded.site_start, pooling, encoded.occupancy)
    return np.hstack([sites, encoded.crystals])
