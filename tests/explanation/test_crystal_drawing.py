"""A crystal is drawn as it is: its sites, their images on the faces, and their colours."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pytest
from pymatgen.core import Lattice, Structure
from real_crystals import crystals

from matminer_unate import draw_contributions
from matminer_unate.errors import InputError, StructureError
from matminer_unate.explanation.site_contributions import SiteContributions

SALT = crystals()["NaCl"]


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    plt.close("all")


def test_sites_on_faces_are_drawn_on_all_of_them() -> None:
    ax = draw_contributions(SALT, np.arange(8.0))
    symbols = [text.get_text() for text in ax.texts]
    # 4 Na on corners and faces are 8 + 6, 4 Cl on edges and in the centre 12 + 1.
    assert (symbols.count("Na"), symbols.count("Cl")) == (14, 13)


def test_a_site_of_one_element_in_two_charges_is_that_element() -> None:
    sites = [{"Fe2+": 0.5, "Fe3+": 0.5}, "O2-"]
    wustite = Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(4.3), sites, [[0, 0, 0], [0.5, 0.5, 0.5]]
    )
    ax = draw_contributions(wustite, np.zeros(8))
    assert {text.get_text() for text in ax.texts} == {"Fe", "O"}
    wustite.replace_species({"Fe3+": "Mg2+"})
    with pytest.raises(StructureError, match="disordered"):
        draw_contributions(wustite, np.zeros(8))


def test_red_raises_blue_lowers_and_the_scale_is_centred_on_0() -> None:
    values = np.where([site.specie.symbol == "Na" for site in SALT], -0.4, 0.1)
    found = SiteContributions(SALT, values, 0.2, 1.0, float(1.2 + values.sum()))
    ax = draw_contributions(found, label="gap (eV)")
    assert "base 1, sites −1.2, rest +0.2" in ax.get_title()
    bar = ax.figure.axes[1]
    assert bar.get_ylim() == (-0.4, 0.4)
    assert bar.get_ylabel() == "gap (eV)"
    atoms = [c for c in ax.collections if len(c.get_facecolor()) == 1]
    for atom, text in zip(atoms, ax.texts, strict=True):
        red, _, blue, _ = atom.get_facecolor()[0]
        assert (blue > red) == (text.get_text() == "Na")
    ax.figure.canvas.draw()


def test_wrong_values_and_flat_axes_are_told() -> None:
    with pytest.raises(InputError, match="8 sites need as many values"):
        draw_contributions(SALT, [1.0])
    with pytest.raises(InputError, match="three-dimensional"):
        draw_contributions(SALT, np.ones(8), ax=plt.figure().add_subplot())
