"""DataFrame of structures in, DataFrame of columns of the cell out: layers, vacuum, stiffness."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, Literal

from matminer_unate.crystals.checked import CheckedCrystal
from matminer_unate.crystals.graph import radius_graph
from matminer_unate.crystals.ordering import Disorder
from matminer_unate.featurizers.base import StructureFeaturizer
from matminer_unate.featurizers.chunks import CELL_SECONDS
from matminer_unate.featurizers.column_meanings import ColumnMeaning, of_crystal
from matminer_unate.featurizers.rows import Computed, PlacedCrystal, RowNotes
from matminer_unate.featurizers.site_descriptor_stats import BOND_VALENCE
from matminer_unate.physics.bonded_networks import CUTOFF
from matminer_unate.physics.cell_quantities import CELL_QUANTITIES, cell_quantities
from matminer_unate.physics.elements import has_radius
from matminer_unate.physics.quantity import with_tables
from matminer_unate.processes import one_blas_thread

_DIMENSIONALITY = """@article{dimensionality,
    title = {Definition of a scoring parameter to identify low-dimensional materials components},
    author = {Larsen, Peter Mahler and Pandey, Mohnish and Strange, Mikkel and Jacobsen, Karsten
        Wedel},
    journal = {Physical Review Materials}, volume = {3}, pages = {034003}, year = {2019},
    doi = {10.1103/PhysRevMaterials.3.034003}}"""

_HILL = """@article{hill,
    title = {The elastic behaviour of a crystalline aggregate},
    author = {Hill, R.},
    journal = {Proceedings of the Physical Society. Section A}, volume = {65}, pages = {349--354},
    year = {1952}, doi = {10.1088/0370-1298/65/5/307}}"""


class CellNotes(RowNotes):
    """What a caller should know of rows that were described all the same."""

    def about_unknown(self, symbols: str) -> str:
        return (
            f"elements whose covalent radius is not tabulated ({symbols}); the mean over the "
            "elements is used for them"
        )

    def about_isolated(self) -> str:
        return f"atoms with no neighbour within {CUTOFF:g} Å; these are bonded to nothing"


@with_tables(cell=CELL_QUANTITIES)
class CellStats(StructureFeaturizer):
    """Molecules, chains, layers or bulk; vacuum; and how stiff the whole is: columns of the cell.

    What no site sees of its surroundings: how far a network of bonds goes on, what its weakest bond
    is, and how thick and how far apart layers are. Columns of volume and density mean little for
    slabs in vacuum; here the vacuum is taken off. A model of springs says how much the crystal
    gives where it is weakest.

    The columns do not change when the crystal is rotated, reflected or shifted, when its sites are
    reordered, or when another cell of the same crystal is given, and none jumps where an atom
    moves.

    Features:

    ``cell_<quantity>``
        Of two sites i and j at the distance d: r̂ is the sum of both covalent radii, d₁ the distance
        of the nearest neighbour of a site, f falls smoothly from 1 at 5 Å to 0 at 6 Å, and s is the
        strength of their bond. Networks of the bonds with s > 1/k go on for ever in no direction
        (molecules), one (chains), two (layers) or three (bulk). No single k decides, so that
        nothing jumps: ⟨…⟩ is the mean over all k > 1 weighted by the slope of x²/(1 + x²),
        x = (k − 1)/0.15, and over atoms, of which those in no layer count with 0. A layer has the
        thickness h between its outermost planes of atoms, and the next one follows at the distance
        p. Springs have the stiffness min(exp((r̂ − d)/0.37 Å), 3)·f along d and a tenth of that
        across; K and G are the bulk and shear modulus of the crystal that they hold together, with
        atoms relaxed, after Voigt and Reuss.

    {cell}

    Parameters
    ----------
    on_error : {"raise", "nan"}
        What an unusable structure does: stop with an error that names its row, or give a row of
        NaN and one warning with the count.
    disorder : {"raise", "ordered"}
        What a crystal with sites of mixed or partial occupancy is: unusable, or replaced by an
        ordered one (:func:`~matminer_unate.ordered_structure`), with one warning with the count.

    Notes
    -----
    * A crystal of 20 sites takes 1 ms, one of 150 takes 10 ms, one of 1,000 takes 0.15 s.
    * Elements without a tabulated covalent radius (from Bk on) take the mean over the elements,
      with a warning.
    * Atoms with no neighbour within 6 Å are molecules of their own, with a warning.
    * Many rows are computed in as many processes as there are cores, few inside this one;
      ``set_n_jobs`` has no effect.

    References
    ----------
    Dimensions: Larsen et al., Phys. Rev. Mater. 3, 034003 (2019). Springs: Brown and Altermatt,
    Acta Cryst. B 41, 244 (1985). Moduli: Hill, Proc. Phys. Soc. A 65, 349 (1952). Radii: Ward et
    al., npj Comput. Mater. 2, 16028 (2016).

    Examples
    --------
    >>> from matminer_unate import CellStats
    >>> from matminer_unate.datasets import load_semiconductors
    >>> df = load_semiconductors().head(20)
    >>> df = CellStats().featurize_dataframe(df, "structure", pbar=False)
    """

    _core_seconds: ClassVar[tuple[float, float]] = CELL_SECONDS

    def __init__(
        self, on_error: Literal["raise", "nan"] = "raise", disorder: Disorder = "raise"
    ) -> None:
        self.on_error = on_error
        self.disorder = disorder

    def citations(self) -> list[str]:
        """BibTeX of the sources."""
        return [_DIMENSIONALITY, BOND_VALENCE, _HILL]

    def _prepare(self, structure: Any) -> PlacedCrystal:
        crystal = CheckedCrystal.of(structure, self.disorder)
        lattice, frac_coords, z = crystal.arrays
        graph = radius_graph(lattice, frac_coords, z, CUTOFF, draw_in=False)
        unknown = frozenset(z[~has_radius()[z]].tolist())
        return PlacedCrystal(graph, unknown, lattice, frac_coords, resolution=crystal.resolution)

    def _notes(self) -> RowNotes:
        return CellNotes()

    def _column_meanings(self) -> list[ColumnMeaning]:
        return [of_crystal("cell", quantity) for quantity in CELL_QUANTITIES]

    def _describe(self, crystals: Iterator[tuple[int, PlacedCrystal]]) -> Iterator[Computed]:
        with one_blas_thread():
            for row, crystal in crystals:
                columns = cell_quantities(crystal.lattice, crystal.frac_coords, crystal.graph)
                yield [row], columns[None]
