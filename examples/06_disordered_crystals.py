# ---
# jupyter:
#   jupytext:
#     formats: py:percent,ipynb
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Alloys, solid solutions and vacancies
#
# In measured crystals, elements often share a site, or a site is empty here and there. A network
# and a tight-binding model know atoms only, so such a crystal is an error unless you say what is to
# stand for it: `disorder="ordered"`, an ordered cell, everywhere; or `disorder="average"` in
# `UnateFeaturizer`.

# %%
import warnings

import pandas as pd
from pymatgen.core import Lattice, Structure

from matminer_unate import SiteDescriptorStats, UnateFeaturizer, UnateRegressor, ordered_structure
from matminer_unate.datasets import load_semiconductors
from matminer_unate.errors import StructureError

perovskite = [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
disordered = {
    "beta brass": Structure.from_spacegroup(
        "Im-3m", Lattice.cubic(2.95), [{"Cu": 0.5, "Zn": 0.5}], [[0, 0, 0]]
    ),
    "half-charged battery": Structure.from_spacegroup(
        "R-3m",
        Lattice.hexagonal(2.816, 14.05),
        [{"Li": 0.5}, "Co", "O"],
        [[0, 0, 0.5], [0, 0, 0], [0, 0, 0.2395]],
    ),
    "double perovskite": Structure(
        Lattice.cubic(3.94), ["Sr", {"Fe": 0.5, "Mo": 0.5}, "O", "O", "O"], perovskite
    ),
    "stabilised zirconia": Structure.from_spacegroup(
        "Fm-3m",
        Lattice.cubic(5.14),
        [{"Zr": 0.85, "Y": 0.15}, {"O": 0.9625}],
        [[0, 0, 0], [0.25, 0.25, 0.25]],
    ),
}
try:
    SiteDescriptorStats().featurize(disordered["beta brass"])
except StructureError as error:
    print(error)

# %% [markdown]
# ## Ordered
#
# In the smallest cell whose numbers of atoms fit the occupancies within 0.02, the arrangement of
# lowest electrostatic energy: of oxidation states where some balance, of electronegativities where
# none do. It is always the same one. The first three are known from nature: β′ brass, the rows of
# lithium in the half-charged battery, and the double perovskite.

# %%
for name, structure in disordered.items():
    cell = ordered_structure(structure)
    symbol, number = cell.get_space_group_info()
    print(f"{name}: {structure.formula} -> {cell.formula}, {symbol} ({number})")

# %% [markdown]
# Featurizers and models take a column in which some crystals are disordered, and say how many.

# %%
df = pd.DataFrame({"structure": disordered})
columns = SiteDescriptorStats(disorder="ordered").featurize_dataframe(df, "structure", pbar=False)
print(columns.iloc[:, 1:6].round(3).to_string())

# %% [markdown]
# ## Average
#
# The learned columns can do without a cell: every element of a site is a site of its own, which
# counts with its occupancy. For elements that are alike this is nearer to a solid solution than an
# ordered cell is, for vacancies it is not: `training/results/disorder.md` has the distances to
# random supercells. Any composition will do; the columns change smoothly with it.


# %%
def barium_strontium_titanate(x: float) -> Structure:
    species = [{"Ba": 1 - x, "Sr": x}, "Ti", "O", "O", "O"]
    return Structure(Lattice.cubic(4.0 - 0.1 * x), species, perovskite)


shares = [0.0, 0.03, 0.25, 0.5, 0.75, 1.0]
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    average = UnateFeaturizer(disorder="average").transform(
        [barium_strontium_titanate(x) for x in shares]
    )
distance = ((average - average[0]) ** 2).mean(axis=1) ** 0.5
moved = pd.DataFrame({"strontium": shares, "distance from BaTiO3": distance})
print(moved.round(3).to_string(index=False))

# %% [markdown]
# ## A model of ordered crystals for an alloy
#
# Measured gaps of a hundred semiconductors, InAs (0.36 eV) and GaAs (1.42 eV) not among them, teach
# a model, which is then asked for indium gallium arsenide.

# %%
known = load_semiconductors()
known = known[~known["formula"].isin(["InAs", "GaAs"])]
model = UnateRegressor(n_folds=3, disorder="ordered", progress=False)
model.fit(known["structure"], known["gap_ev"])


def indium_gallium_arsenide(x: float) -> Structure:
    species = [{"In": 1 - x, "Ga": x}, "As"]
    return Structure.from_spacegroup(
        "F-43m", Lattice.cubic(6.058 - 0.405 * x), species, [[0, 0, 0], [0.25, 0.25, 0.25]]
    )


shares = [0.0, 0.25, 0.5, 0.75, 1.0]
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    gap, std = model.predict([indium_gallium_arsenide(x) for x in shares], return_std=True)
print(pd.DataFrame({"gallium": shares, "gap (eV)": gap, "±": std}).round(2).to_string(index=False))

# %% [markdown]
# Both ends are within their error bars. So is the dip at a quarter of gallium, which is none of the
# alloy: its gap rises all the way.
