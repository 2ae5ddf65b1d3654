"""Structures → one embedding a crystal, in which crystals that are alike are near each other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from matminer_unate.crystals.checked import CheckedCrystal
from matminer_unate.crystals.ordering import Disorder
from matminer_unate.errors import StructureError
from matminer_unate.featurizers.base import CURE
from matminer_unate.featurizers.column_meanings import ColumnMeaning, learned
from matminer_unate.featurizers.inputs import entries_of, index_of
from matminer_unate.featurizers.pooling import pool
from matminer_unate.featurizers.rows import Columns, Computed, PreparedCrystal
from matminer_unate.featurizers.unate import UnateFeaturizer
from matminer_unate.network.encoding import Encoded, encode
from matminer_unate.network.weights import weights_config


class CrystalEmbedding(UnateFeaturizer):
    """The mean of the site embeddings of a crystal; parameters as of the parent, less pooling.

    The same for every cell of a crystal. Of the choices in ``training/results/similarity.csv`` it
    is among the best for polymorphs and for the gap of the nearest crystal, within 0.03 of the best
    share of nearest crystals of the same structure type, and needs no scales of a corpus.
    """

    def __init__(
        self,
        weights: str | Path,
        device: str,
        batch_size: int,
        on_error: Literal["raise", "nan"],
        disorder: Disorder,
    ) -> None:
        super().__init__(weights, "mean", device, batch_size, on_error, disorder)

    def embed(self, structures: Any) -> tuple[Columns, list[str]]:
        """Embeddings of many crystals, with the errors of those that are unusable.

        Returns
        -------
        found : Columns
            ``values`` has the shape (n_crystals, latent_dim), with NaN in rows that failed.
        formulas : (n_crystals,) list of str
            Reduced; empty in rows that failed.

        Raises
        ------
        StructureError
            A structure is unusable, and errors are not ignored.
        """
        index = index_of(structures)
        crystals = [_checked(structure, self.disorder) for structure in entries_of(structures)]
        found = self._compute(crystals, False, False, False, index, CURE)
        formulas = [
            crystal.formula
            if isinstance(crystal, CheckedCrystal) and row not in found.errors
            else ""
            for row, crystal in enumerate(crystals)
        ]
        return found, formulas

    def _column_meanings(self) -> list[ColumnMeaning]:
        config = weights_config(self.weights)
        labels = [f"z_{k:03d}" for k in range(config.latent_dim)]
        return [learned(f"unate_{config.name}", label, "mean") for label in labels]

    def _describe(self, crystals: Iterator[tuple[int, PreparedCrystal]]) -> Iterator[Computed]:
        graphs = ((row, crystal.graph) for row, crystal in crystals)
        for batch in encode(graphs, self.weights, self.device, self.batch_size, "embedding"):
            yield batch.rows, mean_embedding(batch)


def mean_embedding(batch: Encoded) -> NDArray[np.float32]:
    """Site embeddings of a batch, (n_sites, latent_dim) → (n_crystals, latent_dim)."""
    return pool(batch.sites, batch.site_start, ("mean",), batch.occupancy)


def _checked(structure: Any, disorder: Disorder) -> CheckedCrystal | StructureError:
    try:
        crystal = CheckedCrystal.of(structure, disorder)
    except StructureError as e:
        return e
    crystal.keeps_graphs = False
    return crystal
