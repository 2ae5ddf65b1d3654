"""A number a site → a drawing of the crystal in which it is the colour."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from matminer_unate.errors import InputError
from matminer_unate.explanation.site_contributions import SiteContributions

COLOURS = "RdBu_r"
"""Diverging: blue lowers, white is 0, red raises."""

ON_EDGE = 1e-3
"""Å. Sites nearer to a face of the cell are drawn on the opposite one, too."""

BOND = 1.1
"""A site is joined to others up to this times the distance of the nearest."""

ATOM = 0.4
"""Radius (Å) of a drawn atom whose atomic radius is 1 Å; it grows with the root of that."""

VIEW = (14, -68)
"""Elevation and azimuth, degrees."""

LUMINANCE = (0.299, 0.587, 0.114)
"""Of red, green and blue; what is written on dark colours is white."""


def draw_contributions(
    found: SiteContributions | Any, values: Any = None, ax: Any = None, label: str = ""
) -> Any:
    """Draw a crystal, its sites coloured by what they contribute.

    Parameters
    ----------
    found : SiteContributions, or Structure
        Of :func:`~matminer_unate.site_contributions`; or a structure of pymatgen.
    values : (n_sites,), optional
        To be drawn, where a structure is given.
    ax : Axes3D, optional
        Made with ``projection="3d"``. Default: of a new figure.
    label : str
        Of the colour bar: what is predicted, with its unit.

    Returns
    -------
    Axes3D

    Raises
    ------
    InputError
        There is not one value a site, or the axes have two dimensions.

    Examples
    --------
    >>> from matminer_unate import draw_contributions
    >>> from matminer_unate.datasets import load_semiconductors
    >>> structure = load_semiconductors()["structure"][0]
    >>> axes = draw_contributions(structure, [-0.2, 0.5], label="gap (eV)")
    """
    import matplotlib.pyplot as plt

    if isinstance(found, SiteContributions):
        structure, values, title = _structure(found.structure), found.sites, _sum_of(found)
    else:
        structure, title = _structure(found), ""
    values = np.asarray(values, dtype=np.float64)
    if values.shape != (len(structure),):
        raise InputError(f"{len(structure)} sites need as many values, got shape {values.shape}")
    if ax is None:
        ax = plt.figure(figsize=(5.6, 4.6)).add_subplot(projection="3d")
    if not hasattr(ax, "get_zlim"):
        raise InputError('ax= must be three-dimensional: add_subplot(projection="3d")')
    site, places = _within_cell(structure)
    radii = ATOM * np.sqrt([_radius(structure[k].specie) for k in site])
    bound = float(np.abs(values).max()) or 1.0
    colours = plt.cm.ScalarMappable(plt.Normalize(-bound, bound), COLOURS)
    # One by one from the back to the front: matplotlib knows of no depth within a collection.
    ax.computed_zorder = False
    ax.set_axis_off()
    ax.set_proj_type("ortho")
    ax.view_init(*VIEW)
    _draw_cell(ax, structure.lattice.matrix)
    depth = places @ _towards_viewer(*VIEW)
    for a, b in _bonds(places, _nearest(structure)[site]):
        whole = places[b] - places[a]
        unit = whole / np.linalg.norm(whole)
        visible = np.array([places[a] + unit * radii[a], places[b] - unit * radii[b]])
        ax.plot(*visible.T, color="0.75", lw=2.0, zorder=depth[[a, b]].mean())
    ax.set_aspect("equal")
    area = (_points_per_length(ax) * 2 * radii) ** 2
    for k, place, size, near in zip(site, places, area, depth, strict=True):
        colour = colours.to_rgba(values[k])
        ax.scatter(*place, s=size, color=[colour], edgecolors="0.25", lw=0.8, zorder=near)
        on = "white" if np.dot(colour[:3], LUMINANCE) < 0.5 else "black"
        style: dict[str, Any] = {"ha": "center", "va": "center", "zorder": near}
        symbol = structure[k].specie.symbol
        ax.text(*place, symbol, color=on, fontsize=min(9, 0.45 * size**0.5), **style)
    ax.set_title(f"{structure.composition.reduced_formula}{title}", fontsize=9)
    bar = ax.figure.colorbar(colours, ax=ax, shrink=0.7, pad=0.02)
    bar.set_label(label or "contribution of the site")
    return ax


def _structure(given: Any) -> Any:
    from pymatgen.core import Structure

    from matminer_unate.crystals.checked import CheckedCrystal

    if isinstance(given, Structure) and given.is_ordered:
        return given
    lattice, frac_coords, numbers = CheckedCrystal.of(given).arrays
    return Structure(lattice, numbers.tolist(), frac_coords)


def _sum_of(found: SiteContributions) -> str:
    """A second line of the title: of what the prediction is the sum."""
    told = f"\npredicted {found.prediction:.3g} = base {found.base:.3g}"
    told += f", sites {found.sites.sum():+.2g}, rest {found.rest:+.2g}"
    return told.replace("-", "−")


def _radius(species: Any) -> float:
    """Å; of an element whose radius is not known, a middling one."""
    return float(species.atomic_radius or 1.5)


def _within_cell(structure: Any) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Sites within the cell, its faces included: the number of each, and its place (Å)."""
    matrix, lengths = structure.lattice.matrix, np.array(structure.lattice.abc)
    near = ON_EDGE / lengths
    # A coordinate just below 1 is one just below 0, and on the face.
    coords = (structure.frac_coords + near) % 1.0 - near
    found = [
        (k, place + shift)
        for k, place in enumerate(coords)
        for shift in itertools.product((0, 1), repeat=3)
        if (place + shift <= 1 + near).all()
    ]
    site, places = zip(*found, strict=True)
    return np.array(site), np.array(places) @ matrix


def _draw_cell(ax: Any, matrix: NDArray[np.float64]) -> None:
    corners = np.array(list(itertools.product((0, 1), repeat=3)))
    for one, other in itertools.combinations(corners, 2):
        if np.abs(one - other).sum() == 1:
            edge = np.array([one, other]) @ matrix
            near = (edge @ _towards_viewer(*VIEW)).mean()
            ax.plot(*edge.T, color="0.55", lw=0.8, zorder=near)


def _nearest(structure: Any) -> NDArray[np.float64]:
    """Distance of each site to the nearest other one, or to an image of itself, (n_sites,)."""
    apart = structure.distance_matrix
    np.fill_diagonal(apart, min(structure.lattice.abc))
    found: NDArray[np.float64] = apart.min(axis=1)
    return found


def _bonds(places: NDArray[np.float64], nearest: NDArray[np.float64]) -> NDArray[np.int64]:
    """Pairs of places, (n_bonds, 2)."""
    apart = np.linalg.norm(places[:, None] - places, axis=2)
    return np.argwhere(np.triu(apart < BOND * np.maximum(nearest[:, None], nearest), 1))


def _towards_viewer(elevation: float, azimuth: float) -> NDArray[np.float64]:
    up, round_ = np.radians([elevation, azimuth])
    flat = np.cos(up)
    return np.array([flat * np.cos(round_), flat * np.sin(round_), np.sin(up)])


def _points_per_length(ax: Any) -> float:
    """How long 1 Å is on paper, at most; in points."""
    from mpl_toolkits.mplot3d import proj3d  # type: ignore[import-untyped]

    limits = np.array([ax.get_xlim(), ax.get_ylim(), ax.get_zlim()])
    middle = limits.mean(axis=1)
    ends = np.vstack([middle, middle + np.eye(3)])
    x, y, _ = proj3d.proj_transform(*ends.T, ax.get_proj())
    pixels = ax.transData.transform(np.column_stack([x, y]))
    longest = np.linalg.norm(pixels[1:] - pixels[0], axis=1).max()
    return float(longest * 72 / ax.figure.dpi)
