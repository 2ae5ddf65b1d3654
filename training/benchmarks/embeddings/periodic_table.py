"""What chemistry says of the elements: groups, blocks, families and measured properties."""

from __future__ import annotations

import warnings

from pymatgen.analysis.molecule_structure_comparator import CovalentRadius
from pymatgen.core import Element

FAMILIES = (
    "alkali metal",
    "alkaline earth metal",
    "transition metal",
    "lanthanide",
    "actinide",
    "post-transition metal",
    "metalloid",
    "nonmetal",
    "halogen",
    "noble gas",
)

ELEMENT_PROPERTIES = (
    "electronegativity",
    "covalent radius",
    "first ionisation energy",
    "melting point",
)
"""Pauling; Å (Cordero et al. 2008); eV; K. As in pymatgen."""

ELEMENT_CLASSES = ("group", "period", "block", "family")


def group(z: int) -> str:
    """Column of the periodic table; the 15 lanthanides and the 15 actinides are columns too."""
    element = Element.from_Z(z)
    if element.is_lanthanoid:
        return "lanthanides"
    return "actinides" if element.is_actinoid else str(element.group)


def family(z: int) -> str:
    """One of :data:`FAMILIES`. Zinc, cadmium and mercury count as transition metals."""
    element = Element.from_Z(z)
    tests = {
        "lanthanide": element.is_lanthanoid,
        "actinide": element.is_actinoid,
        "alkali metal": element.is_alkali,
        "alkaline earth metal": element.is_alkaline,
        "transition metal": element.is_transition_metal,
        "post-transition metal": element.is_post_transition_metal,
        "metalloid": element.is_metalloid,
        "halogen": element.is_halogen,
        "noble gas": element.is_noble_gas,
    }
    return next((name for name, holds in tests.items() if holds), "nonmetal")


def element_class(name: str, z: int) -> str:
    """The class of an element by one of :data:`ELEMENT_CLASSES`."""
    if name == "group":
        return group(z)
    if name == "family":
        return family(z)
    element = Element.from_Z(z)
    # Helium's two electrons are 1s, though it stands above the p block.
    return str(element.row) if name == "period" else "s" if z == 2 else str(element.block)


def element_property(name: str, z: int) -> float:
    """One of :data:`ELEMENT_PROPERTIES`; NaN where nobody has measured it."""
    element = Element.from_Z(z)
    with warnings.catch_warnings():  # of values that pymatgen does not have
        warnings.simplefilter("ignore")
        value: float | None
        if name == "electronegativity":
            value = element.X
        elif name == "covalent radius":
            value = CovalentRadius.radius.get(element.symbol)
        elif name == "first ionisation energy":
            value = next(iter(element.ionization_energies), None)
        else:
            value = element.melting_point
    return float("nan") if value is None else float(value)
