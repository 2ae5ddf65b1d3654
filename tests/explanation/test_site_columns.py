"""What sites bring to the columns of the recipe is what the columns are means of."""

from __future__ import annotations

import numpy as np
import pytest
from real_crystals import crystals

from matminer_unate.explanation.site_columns import SiteColumns, recipe_columns

NAMED = crystals()
S = list(NAMED.values())


@pytest.mark.parametrize("name", ["NaCl", "SrTiO3", "ZnO wurtzite", "P2I4 (triclinic)"])
def test_the_columns_of_a_crystal_are_the_means_of_those_of_its_sites(fitted, name: str) -> None:
    columns, _ = recipe_columns(fitted, NAMED[name])
    of_sites = np.isfinite(columns.sites).all(axis=0)
    names = fitted.feature_names_[of_sites]
    means = [n for n in fitted.feature_names_ if n.startswith("site_") and n.endswith("_mean")]
    means += [n for n in fitted.feature_names_ if n.startswith("MagpieData mean ")]
    means += [n for n in fitted.feature_names_ if "_tiny_mean_" in n]
    assert set(means) <= set(names)
    assert "tight_binding_charge_mean" in names
    found = columns.sites[:, of_sites].mean(axis=0)
    np.testing.assert_allclose(found, columns.crystal[of_sites], rtol=1e-4, atol=2e-4)


def test_equal_sites_are_of_one_kind_and_all_ways_sum_to_the_whole() -> None:
    nan = np.nan
    sites = np.array([[1.0, nan], [3.0, nan], [1.0 + 1e-5, nan], [7.0, nan]])
    columns = SiteColumns(None, np.array([3.0, 5.0]), sites, np.array([2.0, 1.0]))
    ways, kind, counts = columns.players()
    assert kind.tolist() == [0, 1, 0, 2]
    assert counts.tolist() == [2, 1, 1]
    np.testing.assert_allclose(ways[:, 0], [-0.5, 0.25, 1.25, 0.0], atol=1e-5)
    np.testing.assert_allclose(ways[:, 1], [0.0, 0.0, 0.0, 4.0])
    np.testing.assert_allclose(ways.sum(axis=0), [1.0, 4.0])
