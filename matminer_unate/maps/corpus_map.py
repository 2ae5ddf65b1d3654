"""Structures → points on a plane, what is known of each, and vectors of their elements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from matminer_unate.crystals.checked import CheckedCrystal
from matminer_unate.crystals.formula import reduced_formula
from matminer_unate.crystals.ordering import Disorder, check_disorder
from matminer_unate.crystals.structures import CrystalArrays
from matminer_unate.crystals.symmetry import find_spacegroup
from matminer_unate.errors import InputError, StructureError
from matminer_unate.featurizers.unate import UnateFeaturizer, prepare
from matminer_unate.maps.page import map_page
from matminer_unate.network.weights import DEFAULT_WEIGHTS, weights_config

Floats = NDArray[np.float64]
Layout = Literal["pca", "umap"]
LAYOUTS: tuple[Layout, ...] = ("pca", "umap")

LEAST_CRYSTALS = 3
"""Fewer make no plane."""
SPACE_GROUP = "space group"


@dataclass
class CorpusMap:
    """A map of crystals that are added bit by bit.

    Crystals are placed by the mean of their site embeddings (``UnateFeaturizer.embed_sites``),
    elements by the mean over all of their sites.

    Parameters
    ----------
    weights : str or path
    device : str
    disorder : {"raise", "ordered"}

    Attributes
    ----------
    rows : list of dict
        ``id``, ``formula``, ``space group`` and what else is known of each crystal.

    Examples
    --------
    >>> from matminer_unate.datasets import load_semiconductors
    >>> from matminer_unate.maps.corpus_map import CorpusMap
    >>> df = load_semiconductors().head(30)
    >>> corpus = CorpusMap()
    >>> corpus.add(df["structure"], df["formula"], df[["gap_ev"]].to_dict("records"))
    >>> page = corpus.html(color="gap_ev")
    """

    weights: str | Path = DEFAULT_WEIGHTS
    device: str = "auto"
    disorder: Disorder = "raise"
    rows: list[dict[str, Any]] = field(default_factory=list)
    _embeddings: list[Floats] = field(default_factory=list)
    _sums: dict[int, Floats] = field(default_factory=dict)
    _counts: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_disorder(self.disorder)

    def add(
        self,
        structures: Sequence[Any],
        ids: Sequence[Any],
        known: Sequence[Mapping[str, Any]] | None = None,
    ) -> dict[int, StructureError]:
        """Place more crystals.

        Parameters
        ----------
        structures : (n,)
        ids : (n,)
        known : (n,) mappings, optional
            Other columns of each.

        Returns
        -------
        dict
            Errors of the unusable ones, by number; these are left out.
        """
        crystals, errors = {}, {}
        for number, structure in enumerate(structures):
            try:
                crystal = CheckedCrystal.of(structure, self.disorder)
                prepare(crystal, weights_config(self.weights))  # which refuses huge cells
                crystals[number] = crystal
            except StructureError as e:
                errors[number] = e
        featurizer = UnateFeaturizer(self.weights, device=self.device)
        sites = featurizer.embed_sites(list(crystals.values())) if crystals else []
        for (number, crystal), vectors in zip(crystals.items(), sites, strict=True):
            arrays = crystal.arrays
            self._embeddings.append(vectors.mean(axis=0, dtype=np.float64))
            self.rows.append(
                {
                    "id": str(ids[number]),
                    "formula": reduced_formula(arrays[2]),
                    SPACE_GROUP: _space_group(arrays),
                    **({} if known is None else known[number]),
                }
            )
            for z in np.unique(arrays[2]).tolist():
                own = vectors[arrays[2] == z]
                self._sums[z] = self._sums.get(z, 0.0) + own.sum(axis=0, dtype=np.float64)
                self._counts[z] = self._counts.get(z, 0) + len(own)
        return errors

    def table(self, layout: Layout = "pca") -> tuple[pd.DataFrame, tuple[str, str]]:
        """``x``, ``y`` and what is known of each crystal; and the names of the axes.

        Raises
        ------
        InputError
            There are fewer than three crystals, or umap-learn is asked for and not installed.
        """
        if len(self.rows) < LEAST_CRYSTALS:
            raise InputError(f"a map needs at least {LEAST_CRYSTALS} crystals")
        places, axes = place(np.array(self._embeddings), layout)
        frame = pd.DataFrame(self.rows)
        taken = {"x", "y"} & set(frame)
        frame = frame.rename(columns={name: f"{name} (of the table)" for name in taken})
        frame.insert(0, "x", places[:, 0])
        frame.insert(1, "y", places[:, 1])
        return frame, axes

    def element_colors(self) -> dict[str, tuple[int, int, int]]:
        """Red, green and blue of each element: alike where their vectors are."""
        from pymatgen.core import Element

        symbols = [Element.from_Z(z).symbol for z in self._sums]
        vectors = np.array([self._sums[z] / self._counts[z] for z in self._sums])
        if len(symbols) <= LEAST_CRYSTALS:
            return dict.fromkeys(symbols, (150, 180, 220))
        from sklearn.decomposition import PCA

        found = PCA(3, svd_solver="full").fit_transform(vectors)
        ranks = found.argsort(axis=0).argsort(axis=0) / (len(symbols) - 1)
        levels = np.round(90 + 160 * ranks).astype(int)
        return {s: (int(r), int(g), int(b)) for s, (r, g, b) in zip(symbols, levels, strict=True)}

    def html(
        self, color: str | None = None, layout: Layout = "pca", title: str = "Map of crystals"
    ) -> str:
        """The page; see :func:`~matminer_unate.maps.page.map_page`.

        Raises
        ------
        InputError
            As :meth:`table`; or ``color`` is no column.
        """
        frame, axes = self.table(layout)
        name = weights_config(self.weights).name
        return map_page(frame, axes, self.element_colors(), color, title, f"weights {name}")


def place(embeddings: Floats, layout: Layout) -> tuple[Floats, tuple[str, str]]:
    """Points on a plane, (n, 2), and the names of its axes.

    ``pca`` is linear and shows distances as they are, as far as two directions hold them; ``umap``
    (McInnes, Healy and Melville, arXiv:1802.03426) keeps neighbours together, and distances between
    groups mean little.

    Raises
    ------
    InputError
        umap-learn is not installed, or the layout is none of these.
    """
    from sklearn.decomposition import PCA

    if layout not in LAYOUTS:
        raise InputError(f"layout must be {' or '.join(map(repr, LAYOUTS))}, got {layout!r}")
    if layout == "umap":
        try:
            from umap import UMAP
        except ImportError as e:
            raise InputError(
                "the layout umap needs umap-learn: pip install umap-learn; or take pca"
            ) from e
        found = UMAP(random_state=0, n_jobs=1).fit_transform(embeddings)
        return np.asarray(found, np.float64), ("UMAP 1", "UMAP 2")
    pca = PCA(2, svd_solver="full").fit(embeddings)
    names = [f"component {k + 1}: {s:.0%}" for k, s in enumerate(pca.explained_variance_ratio_)]
    return pca.transform(embeddings), (f"{names[0]} of the variance", names[1])


def _space_group(crystal: CrystalArrays) -> str:
    try:
        number = find_spacegroup(*crystal)
    except StructureError:
        return ""
    from pymatgen.symmetry.groups import sg_symbol_from_int_number

    return f"{sg_symbol_from_int_number(number)} ({number})"
