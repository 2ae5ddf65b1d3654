"""One crystal of each group of duplicates."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from corpora.crystal import Crystal

SAME_VOLUME = 0.01
"""Largest relative difference in volume per atom of two crystals that are taken for one."""


def deduplicate(crystals: Sequence[Crystal]) -> list[Crystal]:
    """Keep the first crystal of each group of duplicates (rule: see :func:`read_with_report`).

    The groups are the connected parts of the graph whose edges are "same identifier" and "same
    formula and space group, next in volume and within 1 %", so they do not depend on the order.
    """
    table = pd.DataFrame(
        {
            "identifier": [c.identifier for c in crystals],
            "formula": [c.formula for c in crystals],
            "spacegroup": [c.spacegroup_number for c in crystals],
            "volume": [c.volume / len(c.atomic_numbers) for c in crystals],
        }
    )
    by_volume = table.sort_values(["formula", "spacegroup", "volume"])
    kind = by_volume[["formula", "spacegroup"]]
    same_kind = (kind == kind.shift()).all(axis=1)
    close = same_kind & (by_volume["volume"] <= (1 + SAME_VOLUME) * by_volume["volume"].shift())
    by_name = table[table["identifier"].notna()].sort_values("identifier")
    named = by_name["identifier"] == by_name["identifier"].shift()
    pairs = [
        np.stack([np.roll(ordered.index, 1), ordered.index])[:, same]
        for ordered, same in ((by_volume, close), (by_name, named))
    ]
    rows, columns = np.concatenate(pairs, axis=1)
    edges = coo_array((np.ones(len(rows)), (rows, columns)), shape=(len(table), len(table)))
    group = connected_components(edges, directed=False)[1]
    return [crystals[i] for i in np.sort(np.unique(group, return_index=True)[1])]
