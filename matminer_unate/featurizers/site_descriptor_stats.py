"""DataFrame of structures in, DataFrame of pooled physical site descriptors out; no network."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, Literal

import numpy as np

from matminer_unate.crystals.batching import fill_batches
from matminer_unate.crystals.checked import CheckedCrystal
from matminer_unate.crystals.neighbours import ISOLATED
from matminer_unate.crystals.ordering import Disorder
from matminer_unate.errors import InputError
from matminer_unate.featurizers.base import StructureFeaturizer
from matminer_unate.featurizers.column_meanings import ColumnMeaning, of_sites
from matminer_unate.featurizers.pooling import check_pooling, pool
from matminer_unate.featurizers.rows import (
    Computed,
    PreparedCrystal,
    RowNotes,
)
from matminer_unate.physics.elements import is_tabulated
from matminer_unate.physics.quantity import with_tables
from matminer_unate.physics.site_descriptors import (
    DESCRIPTORS,
    FINGERPRINT,
    PHYSICS,
    DescriptorGroup,
    site_descriptors,
)

BATCH_EDGES = 25_000
"""Edges described at once: about 100 small crystals. The arrays then stay in the cache."""

DECIMALS = 6
"""Digits beyond are rounding errors: a mean that is 0 for every crystal would be all noise."""

CUTOFF_RANGE = (2.0, 12.0)
"""Å. Below, hardly any bond is seen; above, a site has thousands of neighbours."""

_MAGPIE = """@article{magpie,
    title = {A general-purpose machine learning framework for predicting properties of inorganic
        materials},
    author = {Ward, Logan and Agrawal, Ankit and Choudhary, Alok and Wolverton, Christopher},
    journal = {npj Computational Materials}, volume = {2}, pages = {16028}, year = {2016},
    doi = {10.1038/npjcompumats.2016.28}}"""

BOND_VALENCE = """@article{bond_valence,
    title = {Bond-valence parameters obtained from a systematic analysis of the Inorganic Crystal
        Structure Database},
    author = {Brown, I. D. and Altermatt, D.},
    journal = {Acta Crystallographica Section B}, volume = {41}, pages = {244--247}, year = {1985},
    doi = {10.1107/S0108768185002063}}"""

_WOLF = """@article{wolf_sum,
    title = {Exact method for the simulation of Coulombic systems by spherically truncated,
        pairwise 1/r summation},
    author = {Wolf, D. and Keblinski, P. and Phillpot, S. R. and Eggebrecht, J.},
    journal = {The Journal of Chemical Physics}, volume = {110}, pages = {8254--8282},
    year = {1999}, doi = {10.1063/1.478738}}"""

_SYMMETRY_FUNCTIONS = """@article{wacsf,
    title = {{wACSF} -- Weighted atom-centered symmetry functions as descriptors in machine
        learning potentials},
    author = {Gastegger, M. and Schwiedrzik, L. and Bittermann, M. and Berzsenyi, F. and
        Marquetand, P.},
    journal = {The Journal of Chemical Physics}, volume = {148}, pages = {241709}, year = {2018},
    doi = {10.1063/1.5019667}}"""


@dataclass(frozen=True)
class MeasuredCrystal(PreparedCrystal):
    """A checked crystal with its graph and the volume (Å³) of its cell."""

    volume: float

    def key(self) -> bytes:
        """The same for crystals whose descriptors are the same."""
        # Where an isolated atom's neighbours were drawn in, the graph does not tell the volume.
        return self.graph.digest + struct.pack("<d", self.volume)


@dataclass
class DescriptorNotes(RowNotes):
    """What a caller should know of rows that were described all the same.

    Attributes
    ----------
    cutoff : float, Å
    """

    cutoff: float

    def about_unknown(self, symbols: str) -> str:
        return (
            f"elements whose electronegativity or covalent radius is not tabulated ({symbols}); "
            "the mean over the elements is used for them"
        )

    def about_isolated(self) -> str:
        return (
            f"atoms with no neighbour within {ISOLATED * self.cutoff:.3g} Å; these are described "
            "with their neighbours drawn in"
        )


@with_tables(physics=PHYSICS, fingerprint=FINGERPRINT)
class SiteDescriptorStats(StructureFeaturizer):
    """Pooled physical descriptors of the sites of a crystal: columns one can name.

    Every site gets 26 numbers from the electronegativities, radii and valences of itself and its
    neighbours, or 56 from the distances and directions of the neighbours, or both; these are pooled
    over the sites of the cell. No network is involved, which makes them the control that learned
    columns must beat.

    The columns do not change when the crystal is rotated, reflected or shifted, when its sites are
    reordered, or (``sum`` apart) when another cell of the same crystal is given.

    Features:

    ``site_<descriptor>_<pooling>``
        For the site *i*, with neighbours *j* at distances *d* within the cutoff: electronegativity
        χ (Pauling), Δχ = χⱼ − χᵢ; r̂ the sum of both covalent radii; *f* = ½(cos(πd/cutoff) + 1);
        bond weight *w* = min(exp((r̂ − d)/0.37 Å), 3)·f; ⟨v⟩ = Σ w v / Σ w. Logarithms are natural.

    Physics (``descriptors="physics"``):

    {physics}

    Fingerprint (``descriptors="fingerprint"``); *c* is the number in the name, in Å (1.4, 1.8, …
    4.2 and 1.8, 2.5, 3.3, 4.0), û the unit vector to the neighbour, *g* = exp(−((d − c)/0.4 Å)²)
    and *s* = f exp(−((d − c)/0.73 Å)²):

    {fingerprint}

    Parameters
    ----------
    pooling : str or sequence of {"mean", "std", "min", "max", "sum"}
        In the order of the columns. ``sum`` grows with the cell.
    descriptors : {"physics", "fingerprint", "all"}
    cutoff : float, Å
        How far a neighbour may be, from 2 to 12.
    on_error : {"raise", "nan"}
        What an unusable structure does: stop with an error that names its row, or give a row of
        NaN and one warning with the count.
    disorder : {"raise", "ordered"}
        What a crystal with sites of mixed or partial occupancy is: unusable, or replaced by an
        ordered one (:func:`~matminer_unate.ordered_structure`), with one warning with the count.

    Notes
    -----
    * Elements without a tabulated electronegativity or radius (He, Ne, Ar, Rn, and Bk on) take the
      mean over the elements, with a warning.
    * Of an atom with no neighbour within 0.85 cutoffs, the neighbours are drawn in, with a warning:
      where the nearest is at d₁ = 0.85 cutoffs + x, all distances are taken shorter by x²/(x + 0.1
      cutoffs). So no column jumps where a last neighbour leaves the cutoff. But the shortest bond
      over the sum of radii is the least of all neighbours' within the cutoff, and of large cations
      (Cs at a = 4.5 Å in CsI) jumps by 0.1 where a second shell leaves it.
    * Three descriptors are the same at every site of a crystal: their ``std`` is 0.
    * Rows are batched inside this process; ``set_n_jobs`` has no effect.

    References
    ----------
    Element properties: Ward et al., npj Comput. Mater. 2, 16028 (2016). Bond weights: Brown and
    Altermatt, Acta Cryst. B 41, 244 (1985). Potentials: Wolf et al., J. Chem. Phys. 110, 8254
    (1999). Fingerprint: Gastegger et al., J. Chem. Phys. 148, 241709 (2018).

    Examples
    --------
    >>> from matminer_unate import SiteDescriptorStats
    >>> from matminer_unate.datasets import load_semiconductors
    >>> df = load_semiconductors().head(20)
    >>> df = SiteDescriptorStats().featurize_dataframe(df, "structure", pbar=False)
    """

    def __init__(
        self,
        pooling: str | Sequence[str] = ("mean", "std", "min", "max"),
        descriptors: DescriptorGroup = "physics",
        cutoff: float = 4.5,
        on_error: Literal["raise", "nan"] = "raise",
        disorder: Disorder = "raise",
    ) -> None:
        self.pooling = pooling
        self.descriptors = descriptors
        self.cutoff = cutoff
        self.on_error = on_error
        self.disorder = disorder

    def citations(self) -> list[str]:
        """BibTeX of the sources of the descriptors."""
        return [_MAGPIE, BOND_VALENCE, _WOLF, _SYMMETRY_FUNCTIONS]

    def _check_options(self) -> None:
        super()._check_options()
        check_pooling(self.pooling)
        if not isinstance(self.descriptors, str) or self.descriptors not in DESCRIPTORS:
            raise InputError(
                f"descriptors must be one of {', '.join(DESCRIPTORS)}; got {self.descriptors!r}"
            )
        low, high = CUTOFF_RANGE
        number = isinstance(self.cutoff, Real) and not isinstance(self.cutoff, bool)
        if not number or not low <= self.cutoff <= high:
            raise InputError(f"cutoff is a length from {low:g} to {high:g} Å; got {self.cutoff!r}")

    def _prepare(self, structure: Any) -> MeasuredCrystal:
        crystal = CheckedCrystal.of(structure, self.disorder)
        z = crystal.atomic_numbers
        unknown = frozenset(z[~is_tabulated()[z]].tolist())
        graph, volume = crystal.graph(self.cutoff), crystal.volume
        return MeasuredCrystal(graph, unknown, volume, resolution=crystal.resolution)

    def _notes(self) -> RowNotes:
        return DescriptorNotes(self.cutoff)

    def _column_meanings(self) -> list[ColumnMeaning]:
        pooling, descriptors = check_pooling(self.pooling), DESCRIPTORS[self.descriptors]
        return [of_sites("site", quantity, how) for how in pooling for quantity in descriptors]

    def _describe(self, crystals: Iterator[tuple[int, MeasuredCrystal]]) -> Iterator[Computed]:
        pooling = check_pooling(self.pooling)
        items = (((row, crystal.volume), crystal.graph) for row, crystal in crystals)
        for batch in fill_batches(items, BATCH_EDGES):
            graphs = [graph for _, graph in batch]
            volumes = [volume for (_, volume), _ in batch]
            sites = site_descriptors(graphs, volumes, self.cutoff, self.descriptors)
            site_start = np.concatenate([[0], np.cumsum([graph.n_sites for graph in graphs])])
            # Adding 0 makes −0 a 0.
            pooled = pool(sites, site_start, pooling).round(DECIMALS) + np.float32(0.0)
            yield [row for (row, _), _ in batch], pooled
