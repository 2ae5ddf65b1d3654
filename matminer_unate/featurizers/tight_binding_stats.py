"""DataFrame of structures in, DataFrame of electronic columns out: bands of a model, no network."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from numbers import Integral
from typing import Any, ClassVar, Literal

import numpy as np

from matminer_unate.crystals.checked import CheckedCrystal
from matminer_unate.crystals.graph import radius_graph
from matminer_unate.crystals.ordering import Disorder
from matminer_unate.errors import InputError, StructureError
from matminer_unate.featurizers.base import StructureFeaturizer
from matminer_unate.featurizers.chunks import TIGHT_BINDING_SECONDS
from matminer_unate.featurizers.column_meanings import ColumnMeaning, of_crystal, of_sites
from matminer_unate.featurizers.pooling import check_pooling, pool
from matminer_unate.featurizers.rows import Computed, PlacedCrystal, RowNotes
from matminer_unate.physics.atoms import LAST_RADIUS
from matminer_unate.physics.band_quantities import (
    CRYSTAL_QUANTITIES,
    SITE_QUANTITIES,
    PhysicalCell,
    quantities,
)
from matminer_unate.physics.quantity import with_tables
from matminer_unate.physics.tight_binding import CUTOFF, n_orbitals

OWN_QUANTITIES = tuple(q for q in CRYSTAL_QUANTITIES if not q.is_site_mean)
"""Of the crystal, but for those that pooling the sites by their mean gives anyway."""

DECIMALS = 6
"""Digits beyond are rounding errors, which another cell or machine would have others of."""

_DFTB = """@article{dftb,
    title = {Construction of tight-binding-like potentials on the basis of density-functional
        theory: Application to carbon},
    author = {Porezag, D. and Frauenheim, Th. and K\\"ohler, Th. and Seifert, G. and Kaschner, R.},
    journal = {Physical Review B}, volume = {51}, pages = {12947--12957}, year = {1995},
    doi = {10.1103/PhysRevB.51.12947}}"""

_SLATER_KOSTER = """@article{slater_koster,
    title = {Simplified {LCAO} method for the periodic potential problem},
    author = {Slater, J. C. and Koster, G. F.},
    journal = {Physical Review}, volume = {94}, pages = {1498--1524}, year = {1954},
    doi = {10.1103/PhysRev.94.1498}}"""

_MULLIKEN = """@article{mulliken,
    title = {Electronic population analysis on {LCAO--MO} molecular wave functions. {I}},
    author = {Mulliken, R. S.},
    journal = {The Journal of Chemical Physics}, volume = {23}, pages = {1833--1840},
    year = {1955}, doi = {10.1063/1.1740588}}"""

_LOCAL_DENSITY = """@article{perdew_wang,
    title = {Accurate and simple analytic representation of the electron-gas correlation energy},
    author = {Perdew, John P. and Wang, Yue},
    journal = {Physical Review B}, volume = {45}, pages = {13244--13249}, year = {1992},
    doi = {10.1103/PhysRevB.45.13244}}"""

_ZORA = """@article{zora,
    title = {Relativistic regular two-component {H}amiltonians},
    author = {van Lenthe, E. and Baerends, E. J. and Snijders, J. G.},
    journal = {The Journal of Chemical Physics}, volume = {99}, pages = {4597--4610},
    year = {1993}, doi = {10.1063/1.466059}}"""


class TightBindingNotes(RowNotes):
    """What a caller should know of rows that were described all the same."""

    def about_unknown(self, symbols: str) -> str:
        return (
            f"elements whose covalent radius is not tabulated ({symbols}); the mean over the "
            "elements is used for them, and from Rf on the atom one row above"
        )

    def about_isolated(self) -> str:
        return f"atoms with no neighbour within {CUTOFF} Å; these stay free atoms"


@with_tables(sites=SITE_QUANTITIES, crystal=OWN_QUANTITIES)
class TightBindingStats(StructureFeaturizer):
    """Electronic structure by a tight-binding model of a few milliseconds, as columns one can name.

    Two-centre density-functional tight binding without self-consistency: levels, hoppings and
    overlaps of s, p and d orbitals come from free atoms solved in the local-density approximation,
    bands from a few k points. Nothing is fitted to any crystal, and no network is involved. Gaps
    come out too large and magnetic insulators as metals, but they rank as real ones: columns for a
    model to learn from, not predictions.

    The columns do not change when the crystal is rotated, reflected or shifted, when its sites are
    reordered, or when another cell of the same crystal is given: each crystal is first brought to
    its primitive cell.

    Features:

    ``tight_binding_<quantity>_<pooling>``
        Of the sites. States ψ at energies E, filled by the Fermi function f(E) (0.1 eV wide) with
        two electrons each, belong to site *i* with the share pᵢ (Mulliken's), pᵢₗ for one shell
        ℓ = s, p or d; Σ is over states and k points, E_F the Fermi level or the middle of the gap,
        and gauss(x, w) a Gaussian of unit area and standard deviation w.

    {sites}

    ``tight_binding_<quantity>``
        Of the crystal. Levels of all k points are filled in the order of their energies.

    {crystal}

    Parameters
    ----------
    pooling : str or sequence of {"mean", "std", "min", "max", "sum"}
        In the order of the columns. ``sum`` is over the primitive cell.
    max_orbitals : int
        Crystals whose primitive cell has more orbitals than this are unusable. An atom has 4, with
        a d shell 9, H and He 1. Time grows with the cube and memory with the square.
    on_error : {"raise", "nan"}
        What an unusable structure does: stop with an error that names its row, or give a row of
        NaN and one warning with the count.
    disorder : {"raise", "ordered"}
        What a crystal with sites of mixed or partial occupancy is: unusable, or replaced by an
        ordered one (:func:`~matminer_unate.ordered_structure`), with one warning with the count.

    Notes
    -----
    * Measured on 200 crystals of the Materials Project: another orientation, origin, order of
      sites, basis or supercell, and atoms moved by 10⁻⁹ Å, change the columns by up to 3·10⁻⁶ (in
      their units). Where sites repeat themselves, or have symmetry, only within 10⁻³ Å, they count
      as if they had it exactly, which can change columns by 10⁻³.
    * Columns are continuous in lattice and coordinates, but for such gains of symmetry, for a
      centre or width of states where there are hardly any, and for the next point. Finer grids of k
      points take over gradually as a cell shrinks.
    * Grids are along the axes of the reduced cell. Where a lattice has several reduced bases, as
      one that is more symmetric than the atoms in it (substituted cells that were not relaxed), and
      needs more points along one axis than along another, the basis that was given decides among
      them, and a shear from one reduced cell to the next is a step. In the worst crystals found,
      edges differ by 0.1 eV and the smallest direct gap by 0.4 eV.
    * A band that is half filled, by an odd number of electrons, can be full at half of the points
      of a coarse grid: then there is a gap that is none, and the direct gap is below it.
    * One core takes 3 ms for a crystal (up to 20 sites), and for perovskites without symmetry of 5,
      20, 60, 100, 200, 300 and 1,000 sites 0.01, 0.01, 0.03, 0.1, 0.3, 0.8 and 30 s; k points that
      symmetry makes equal are solved once. Cells of more than 1,000 orbitals are solved in single
      precision, which changes columns by up to 3·10⁻⁵; 5,400 orbitals take 1.7 GB, and the default
      ``max_orbitals`` (2,500 sites of silicon, 1,100 of iron) 2 minutes and 4 GB. Several crystals
      are computed at once, in as many threads as BLAS would use.
    * Free atoms and the integrals between orbitals are read from a file of 1.2 MB, which
      ``training/tight_binding_tables.py`` makes: hoppings are within 0.4 meV and overlaps within
      3·10⁻⁶ of the integrals themselves (``training/results/tight_binding_tables.csv``). The first
      crystal of a process takes 0.05 s longer.
    * f electrons are core. All elements up to Lr are solved; those beyond take the atom one row
      above them. From Bk on no covalent radius is tabulated and the mean over the elements sets
      the width of the orbitals, with a warning.
    * Atoms with no neighbour within 5 Å stay free atoms, with a warning.
    * Many rows are computed in as many processes as there are cores, few inside this one;
      ``set_n_jobs`` has no effect.

    References
    ----------
    Model: Porezag et al., Phys. Rev. B 51, 12947 (1995). Hoppings: Slater and Koster, Phys. Rev.
    94, 1498 (1954). Shares: Mulliken, J. Chem. Phys. 23, 1833 (1955). Atoms: Perdew and Wang, Phys.
    Rev. B 45, 13244 (1992); van Lenthe, Baerends and Snijders, J. Chem. Phys. 99, 4597 (1993).

    Examples
    --------
    >>> from matminer_unate import TightBindingStats
    >>> from matminer_unate.datasets import load_semiconductors
    >>> df = load_semiconductors().head(5)
    >>> df = TightBindingStats().featurize_dataframe(df, "structure", pbar=False)
    """

    _core_seconds: ClassVar[tuple[float, float]] = TIGHT_BINDING_SECONDS

    def __init__(
        self,
        pooling: str | Sequence[str] = ("mean", "std", "min", "max"),
        max_orbitals: int = 10_000,
        on_error: Literal["raise", "nan"] = "raise",
        disorder: Disorder = "raise",
    ) -> None:
        self.pooling = pooling
        self.max_orbitals = max_orbitals
        self.on_error = on_error
        self.disorder = disorder

    def citations(self) -> list[str]:
        """BibTeX of the sources of the model."""
        return [_DFTB, _SLATER_KOSTER, _MULLIKEN, _LOCAL_DENSITY, _ZORA]

    def _check_options(self) -> None:
        super()._check_options()
        check_pooling(self.pooling)
        number = isinstance(self.max_orbitals, Integral) and not isinstance(self.max_orbitals, bool)
        if not number or self.max_orbitals < 1:
            raise InputError(
                f"max_orbitals is a number of orbitals, at least 1; got {self.max_orbitals!r}"
            )

    def _prepare(self, structure: Any) -> PlacedCrystal:
        crystal = CheckedCrystal.of(structure, self.disorder)
        crystal.check()  # before the sites are numbered anew
        lattice, frac_coords, z = crystal.primitive_cell
        size = n_orbitals(z)
        if size > self.max_orbitals:
            raise StructureError(
                f"the primitive cell has {len(z)} sites with {size} orbitals, more than "
                f"max_orbitals={self.max_orbitals}; take a smaller cell, drop this row, or raise "
                "max_orbitals (time grows with the cube of the orbitals, memory with the square)"
            )
        graph = radius_graph(lattice, frac_coords, z, CUTOFF, draw_in=False)
        unknown = frozenset(z[z > LAST_RADIUS].tolist())
        return PlacedCrystal(graph, unknown, lattice, frac_coords, resolution=crystal.resolution)

    def _notes(self) -> RowNotes:
        return TightBindingNotes()

    def _column_meanings(self) -> list[ColumnMeaning]:
        prefix, pooling = "tight_binding", check_pooling(self.pooling)
        sites = [of_sites(prefix, q, how) for how in pooling for q in SITE_QUANTITIES]
        return sites + [of_crystal(prefix, q) for q in OWN_QUANTITIES]

    def _describe(self, crystals: Iterator[tuple[int, PlacedCrystal]]) -> Iterator[Computed]:
        pooling = check_pooling(self.pooling)
        own = [not q.is_site_mean for q in CRYSTAL_QUANTITIES]
        rows: deque[int] = deque()

        def cells() -> Iterator[PhysicalCell]:
            for row, crystal in crystals:
                rows.append(row)
                yield crystal.lattice, crystal.frac_coords, crystal.graph

        for sites, whole in quantities(cells()):
            rounded = sites.round(DECIMALS).astype(np.float32)
            pooled = pool(rounded, np.array([0, len(sites)]), pooling)
            columns = np.concatenate([pooled, whole[None, own]], axis=1)
            # Adding 0 makes −0 a 0.
            yield [rows.popleft()], columns.round(DECIMALS).astype(np.float32) + 0.0
