"""Small tables of crystals that come with the package, for examples and tests."""

from __future__ import annotations

from fractions import Fraction
from importlib import resources
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


__all__ = ["load_moduli", "load_semiconductors"]


def load_semiconductors(*, primitive: bool = True) -> pd.DataFrame:
    """Measured crystals and band gaps of 109 semiconductors and insulators.

    Elements, binaries and ternaries of the classical structure types, from Bi2Te3 (0.13 eV) to LiF
    (13.6 eV). Cells, coordinates and gaps are experimental, none is relaxed or computed. Use it
    where a table should fit on a screen; it is far too small to judge a model by.

    Parameters
    ----------
    primitive : bool, default True
        Give the primitive cell. Otherwise the conventional one.

    Returns
    -------
    pandas.DataFrame
        One row for each crystal, in the order of the file:

        - ``formula`` (str): as it is usually written, so CuGaS2 where pymatgen's reduced formula
          is GaCuS2. Not unique: TiO2, GaN and SiC come in more than one structure.
        - ``prototype`` (str): name of the structure type. Unique together with ``formula``.
        - ``spacegroup_number`` (int).
        - ``structure`` (pymatgen.core.Structure): ordered; lengths in Å.
        - ``gap_ev`` (float): band gap in eV.
        - ``gap_source`` (str): key of the compilation, see Notes.
        - ``note`` (str): what the number is where it is not the direct gap at room temperature;
          often empty.

    Raises
    ------
    FileNotFoundError
        If the installed package lacks its data file.
    ValueError
        If a row of the data file cannot be read as a crystal of its stated formula.

    Notes
    -----
    Lattice parameters are those of room temperature, rounded to 0.001 Å where samples differ.
    Magnetic order and the small distortions that come with it are not in the structures.

    Gaps of one crystal differ between samples and methods by about 0.1 eV, above 5 eV by more: the
    optical edge, the exciton and the interband gap lie up to 2 eV apart in the fluorides. Zhuo
    2018 states neither temperature nor polymorph and often lists several values. Here stands one
    of those, given to the form that is stable at room temperature. CdSe, for one, is listed from
    1.67 to 2.27 eV.

    The keys of ``gap_source``:

    - Bortz 1989: M. L. Bortz and R. H. French, Appl. Phys. Lett. 55, 1955 (1989).
    - French 1990: R. H. French, J. Am. Ceram. Soc. 73, 477 (1990).
    - Kam 1982: K. K. Kam and B. A. Parkinson, J. Phys. Chem. 86, 463 (1982).
    - Kittel: C. Kittel, Introduction to Solid State Physics, 8th ed. (Wiley, 2005), chapter 8.
    - Levinshtein 2001: M. E. Levinshtein, S. L. Rumyantsev and M. S. Shur (eds.), Properties of
      Advanced Semiconductor Materials (Wiley, 2001).
    - Madelung 2004: O. Madelung, Semiconductors: Data Handbook, 3rd ed. (Springer, 2004).
    - Morita 1986: A. Morita, Appl. Phys. A 39, 227 (1986).
    - Poole 1975: R. T. Poole et al., Phys. Rev. B 11, 5179 (1975).
    - Rubloff 1972: G. W. Rubloff, Phys. Rev. B 5, 662 (1972).
    - Sze 1981: S. M. Sze, Physics of Semiconductor Devices, 2nd ed. (Wiley, 1981), pp. 848-849.
    - Tang 1994: H. Tang et al., J. Appl. Phys. 75, 2042 (1994).
    - van Benthem 2001: K. van Benthem et al., J. Appl. Phys. 90, 6156 (2001).
    - Vurgaftman 2003: I. Vurgaftman and J. R. Meyer, J. Appl. Phys. 94, 3675 (2003).
    - Zhuo 2018: Y. Zhuo, A. Mansouri Tehrani and J. Brgoch, J. Phys. Chem. Lett. 9, 1668 (2018).

    Examples
    --------
    >>> from matminer_unate.datasets import load_semiconductors
    >>> table = load_semiconductors()
    >>> gallium_arsenide = table.set_index("formula").loc["GaAs"]
    >>> len(gallium_arsenide.structure), float(gallium_arsenide.gap_ev)
    (2, 1.42)
    """
    # Imported here so that `import matminer_unate` does not wait for pymatgen.
    import pandas as pd
    from pymatgen.core.composition import Composition
    from pymatgen.core.lattice import Lattice
    from pymatgen.core.structure import Structure
    from pymatgen.symmetry.groups import SpaceGroup

    path = resources.files("matminer_unate").joinpath("data/semiconductors.csv")
    with path.open(encoding="utf-8") as file:
        # keep_default_na: an empty note is text, and a formula such as NaN is no missing value.
        table = pd.read_csv(file, keep_default_na=False)

    # pymatgen forgets a space group, which is slow to build, once nobody holds it.
    groups = [SpaceGroup.from_int_number(n) for n in table["spacegroup_number"].unique()]
    structures = []
    for row in table.to_dict("records"):
        species, coords = _asymmetric_unit(row["sites"])
        lattice = Lattice.from_parameters(
            *(row[name] for name in ("a_ang", "b_ang", "c_ang")),
            *(row[name] for name in ("alpha_deg", "beta_deg", "gamma_deg")),
        )
        # An origin other than pymatgen's (origin choice 1, where there are two) puts atoms on
        # the wrong orbit, which shows in the formula.
        structure = Structure.from_spacegroup(row["spacegroup_number"], lattice, species, coords)
        if structure.composition.reduced_formula != Composition(row["formula"]).reduced_formula:
            raise ValueError(
                f"semiconductors.csv: the sites of {row['formula']} ({row['prototype']}) make "
                f"{structure.composition.reduced_formula}"
            )
        structures.append(
            structure.get_primitive_structure(tolerance=0.01) if primitive else structure
        )
    del groups
    table["structure"] = structures
    return table[
        [
            "formula",
            "prototype",
            "spacegroup_number",
            "structure",
            "gap_ev",
            "gap_source",
            "note",
        ]
    ]


def load_moduli() -> pd.DataFrame:
    """Computed elastic moduli of 300 crystals of the Materials Project.

    Mostly binaries and ternaries with up to 12 sites, from CuCl4 (bulk modulus 1.1 GPa) to ReIr3
    (359 GPa): a random choice, and about as many as a group has of its own. The weights that come
    with the package have not seen these formulas. Options of the package were chosen on tables that
    have these rows among others, so errors on them are a little flattering.

    Returns
    -------
    pandas.DataFrame
        One row for each crystal:

        - ``material_id`` (str): of the Materials Project, such as mp-82.
        - ``formula`` (str): reduced. Not unique.
        - ``structure`` (pymatgen.core.Structure): relaxed with PBE; lengths in Å.
        - ``bulk_modulus_gpa``, ``shear_modulus_gpa`` (float): averages of Voigt and Reuss (Hill),
          GPa.

    Raises
    ------
    FileNotFoundError
        If the installed package lacks its data file.
    ValueError
        If a row of the data file cannot be read as a crystal of its stated formula.

    Notes
    -----
    Structures and moduli are data of the Materials Project, licence CC BY 4.0
    (https://creativecommons.org/licenses/by/4.0/), rounded to 10⁻⁵ Å, 10⁻⁶ of the cell and 0.1 GPa.
    Please cite:

    - A. Jain et al., APL Materials 1, 011002 (2013), doi:10.1063/1.4812323.
    - M. de Jong et al., Scientific Data 2, 150009 (2015), doi:10.1038/sdata.2015.9.

    Examples
    --------
    >>> from matminer_unate.datasets import load_moduli
    >>> table = load_moduli().set_index("material_id")
    >>> table.loc["mp-203", "formula"], float(table.loc["mp-203", "bulk_modulus_gpa"])
    ('NiTe', 114.4)
    """
    import pandas as pd
    from pymatgen.core.lattice import Lattice
    from pymatgen.core.structure import Structure

    path = resources.files("matminer_unate").joinpath("data/moduli.csv")
    with path.open(encoding="utf-8") as file:
        table = pd.read_csv(file, keep_default_na=False)
    structures = []
    for row in table.to_dict("records"):
        species, coords = _asymmetric_unit(row["sites"])
        vectors = [float(x) for x in row["lattice_ang"].split()]
        lattice = Lattice([vectors[:3], vectors[3:6], vectors[6:]])
        structure = Structure(lattice, species, coords)
        if structure.composition.reduced_formula != row["formula"]:
            raise ValueError(
                f"moduli.csv: the sites of {row['formula']} ({row['material_id']}) make "
                f"{structure.composition.reduced_formula}"
            )
        structures.append(structure)
    table.insert(2, "structure", structures)
    return table.drop(columns=["lattice_ang", "sites"])


def _asymmetric_unit(sites: str) -> tuple[list[str], list[list[float]]]:
    """Read ``"Ga 0 0 0; As 0.25 0.25 0.25"`` (fractions such as 1/3 allowed)."""
    species, coords = [], []
    for site in sites.split(";"):
        symbol, *position = site.split()
        if len(position) != 3:
            raise ValueError(f"{site.strip()!r} is not a symbol and x y z")
        species.append(symbol)
        coords.append([float(Fraction(value)) for value in position])
    return species, coords
