"""Dicts of other programs → pymatgen Structure: pymatgen, JARVIS and OPTIMADE.

Only the cell, the species and the coordinates are read. Site properties of pymatgen dicts are left
alone, because rebuilding them would import whatever modules the file names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from matminer_unate.errors import StructureError

if TYPE_CHECKING:
    from pymatgen.core import Structure


_PYMATGEN = frozenset({"lattice", "sites"})
_JARVIS = frozenset({"lattice_mat", "coords", "elements"})
_OPTIMADE = frozenset({"lattice_vectors", "cartesian_site_positions", "species_at_sites"})

_HOLDERS = ("structure", "final_structure", "atoms", "attributes")
"""Keys under which entries of pymatgen, documents of the Materials Project, rows of JARVIS and
entries of OPTIMADE hold their structure, in this order."""

_LATTICE_KEYS = ("matrix", "pbc", "a", "b", "c", "alpha", "beta", "gamma")
_SPECIES_KEYS = ("element", "occu", "oxidation_state", "spin")

_OPTIMADE_INCOMPLETE = ("disorder", "assemblies", "implicit_atoms", "site_attachments")
"""Structure features with which the listed sites are not all there is, or not there for certain."""


def is_structure_dict(content: Any) -> bool:
    """Whether this looks like the dict of one structure, in one of the ways that are read."""
    return isinstance(content, dict) and any(
        keys <= content.keys() for keys in (_PYMATGEN, _JARVIS, _OPTIMADE)
    )


def holds_structure(content: Any) -> bool:
    """Whether this is the dict of a structure, or of an entry that holds one."""
    return is_structure_dict(content) or (
        isinstance(content, dict) and any(is_structure_dict(content.get(k)) for k in _HOLDERS)
    )


def from_dict(content: Any) -> Structure:
    """Read the dict of one structure, or of an entry that holds one.

    Parameters
    ----------
    content : dict
        ``Structure.as_dict()`` of pymatgen, also one that went through a Parquet struct column;
        ``Atoms.to_dict()`` of JARVIS (``lattice_mat``, ``coords``, ``elements``); attributes of an
        OPTIMADE structure; or a dict with one of these under ``structure``, ``final_structure``,
        ``atoms`` or ``attributes``, such as ``ComputedStructureEntry.as_dict()``.

    Raises
    ------
    StructureError
        It is none of these, or holds no sites.
    """
    if not isinstance(content, dict):
        raise StructureError(f"no pymatgen Structure dict, but {_short(content)}; {_CURE}")
    if content.keys() >= _PYMATGEN:
        return _from_pymatgen(content)
    if content.keys() >= _JARVIS:
        return from_jarvis(content)
    if content.keys() >= _OPTIMADE:
        return from_optimade(content)
    held = next((content[key] for key in _HOLDERS if isinstance(content.get(key), dict)), None)
    if held is not None and held is not content:
        return from_dict(held)
    if str(content.get("@class", "")).endswith("Entry"):
        raise StructureError(
            f"a {content['@class']} holds no structure; use ComputedStructureEntry, or the "
            "structure that it was computed for"
        )
    found = ", ".join(map(repr, list(content)[:5])) or "nothing"
    raise StructureError(
        "no pymatgen Structure dict (keys 'lattice' and 'sites'; or 'lattice_mat', 'coords' and "
        f"'elements' of JARVIS; or those of OPTIMADE expected, found {_short(found)}); {_CURE}"
    )


_CURE = "write it with Structure.as_dict() or Structure.to_json()"


def _from_pymatgen(content: dict[str, Any]) -> Structure:
    from pymatgen.core import Lattice, PeriodicSite, Structure

    lattice = Lattice.from_dict(_given(content["lattice"], _LATTICE_KEYS))
    sites = [
        PeriodicSite.from_dict(
            {"species": _each_once(site["species"]), "abc": site["abc"]},
            lattice,
        )
        for site in content["sites"]
    ]
    if not sites:
        raise StructureError("the structure has no sites; drop this row")
    return Structure.from_sites(sites)


def _each_once(listed: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Species of a site; pymatgen writes deuterium as H too, and would keep the last of them."""
    found: list[dict[str, Any]] = []
    for one in listed:
        species = _given(one, _SPECIES_KEYS)
        same = (other for other in found if {**other, "occu": None} == {**species, "occu": None})
        first = next(same, None)
        if first is None:
            found.append(species)
        else:
            first["occu"] += species["occu"]
    return found


def from_jarvis(content: dict[str, Any]) -> Structure:
    """Read ``Atoms.to_dict()`` of JARVIS; the cell in Å.

    Raises
    ------
    StructureError
        Elements and coordinates differ in number, or there are none.
    """
    from pymatgen.core import Structure

    symbols = [str(symbol).strip() for symbol in content["elements"]]
    if not symbols or len(symbols) != len(content["coords"]):
        raise StructureError(
            f"{len(symbols)} elements and {len(content['coords'])} coords in a dict of JARVIS; "
            "write it again with Atoms.to_dict()"
        )
    cartesian = content.get("cartesian")
    return Structure(
        content["lattice_mat"],
        symbols,
        content["coords"],
        # A JSON of JARVIS that went through a table may hold the word.
        coords_are_cartesian=cartesian not in (None, False, 0, "False", "false"),
    )


def from_optimade(content: dict[str, Any]) -> Structure:
    """Read the attributes of an OPTIMADE structure (Andersen et al. 2021,
    doi:10.1038/s41597-021-00974-z).

    Raises
    ------
    StructureError
        Some sites are shared, vacant, without place, or hold no element.
    """
    from pymatgen.core import Lattice, Structure

    features = [f for f in content.get("structure_features") or () if f in _OPTIMADE_INCOMPLETE]
    if features:
        raise StructureError(f"its sites are not all certain ({', '.join(features)})")
    lattice, positions = content["lattice_vectors"], content["cartesian_site_positions"]
    if lattice is None or None in [x for row in [*lattice, *positions] for x in row]:
        raise StructureError("a lattice vector or position is unknown")
    element = {one["name"]: _only_element(one) for one in content.get("species") or ()}
    at_sites = [element.get(name, name) for name in content["species_at_sites"]]
    periodic = content.get("dimension_types")
    # An array in Python, a list in JSON.
    periodic = (1, 1, 1) if periodic is None or len(periodic) == 0 else periodic
    cell = Lattice(lattice, pbc=tuple(map(bool, periodic)))  # type: ignore[arg-type]
    return Structure(cell, at_sites, positions, coords_are_cartesian=True)


def _only_element(species: dict[str, Any]) -> str:
    from pymatgen.core import Element

    symbols, shares = species["chemical_symbols"], species["concentration"]
    if len(symbols) != 1 or abs(shares[0] - 1) > 1e-6 or not Element.is_valid_symbol(symbols[0]):
        share = ", ".join(f"{s} {c:g}" for s, c in zip(symbols, shares, strict=True))
        raise StructureError(f"disordered: the species {species['name']!r} is {share}")
    return str(symbols[0])


def _given(content: dict[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    # A Parquet struct column fills every key that any row has with None.
    return {key: content[key] for key in keys if content.get(key) is not None}


def _short(value: Any) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= 200 else f"{text[:199]}…"
