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
# # Rows of sites, and formulas without a structure
#
# `UnateSiteFeaturizer` speaks matminer's language of sites, `UnateCompositionFeaturizer` and
# `UnateElementData` that of compositions.

# %%
import matplotlib.pyplot as plt
import numpy as np
from matminer.featurizers.composition import ElementProperty
from pymatgen.core import Composition
from sklearn.feature_selection import VarianceThreshold
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from matminer_unate import UnateCompositionFeaturizer, UnateElementData, UnateSiteFeaturizer
from matminer_unate.datasets import load_semiconductors

df = load_semiconductors()

# %% [markdown]
# ## A table with a row for each site
#
# Here physical descriptors, among them an electronegativity charge: what the bonds of a site sum up
# to, each with its weight times the tanh of the difference of electronegativities. It has no unit
# and is no oxidation state (which is guessed in another column): above 0 for sites that give
# electrons, and the larger the more bonds there are. `"embedding"`, `"predicted"` and
# `"tight-binding"` are other choices.

# %%
sites = UnateSiteFeaturizer(columns="physics")
table = sites.featurize_sites(df["structure"])
charge = next(name for name in table if name.endswith("_electronegativity_charge"))
by_element = table.groupby("element")[charge].agg(["mean", "std", "count"])
print(f"{len(table)} sites, {len(sites.feature_labels())} columns")
print(by_element[by_element["count"] >= 5].sort_values("mean").round(3).to_string())

# %% [markdown]
# ## Formulas alone
#
# The vector of an element is the mean over its sites in the pretraining crystals, drawn towards the
# mean of all where it is rare. A formula gets statistics of those.

# %%
X = UnateCompositionFeaturizer().transform(df["formula"])
y = df["gap_ev"].to_numpy()
magpie = ElementProperty.from_preset("magpie", impute_nan=True)
magpie.set_n_jobs(1)
compositions = [Composition(formula) for formula in df["formula"]]
by_hand = np.array(magpie.featurize_many(compositions, pbar=False))
folds = GroupKFold(n_splits=5, shuffle=True, random_state=0)
predicted = {}
for name, columns in {"Magpie": by_hand, "UnateCompositionFeaturizer": np.asarray(X)}.items():
    # Columns beyond five standard deviations say "far out" and no more.
    clip = FunctionTransformer(np.clip, kw_args={"a_min": -5, "a_max": 5})
    model = make_pipeline(
        VarianceThreshold(1e-6), StandardScaler(), clip, RidgeCV(np.logspace(0, 5, 16))
    )
    predicted[name] = cross_val_predict(model, columns, y, cv=folds, groups=df["formula"])
    print(f"{name}: {np.abs(predicted[name] - y).mean():.2f} eV")

# %% [markdown]
# The two forms of TiO2, or of SiC, get the same columns: only structures tell them apart.

# %%
fig, axes = plt.subplots(1, 2, figsize=(8, 4), sharex=True, sharey=True)
for ax, (name, guesses) in zip(axes, predicted.items(), strict=True):
    ax.axline((0, 0), slope=1, color="0.7", lw=1)
    ax.scatter(y, guesses, s=14, alpha=0.7)
    ax.set_aspect("equal")
    ax.set_title(f"{name} → ridge: {np.abs(guesses - y).mean():.2f} eV", fontsize=9)
    ax.set_xlabel("measured gap (eV)")
axes[0].set_ylabel("predicted gap (eV), formula unseen")
fig.tight_layout()

# %% [markdown]
# ## The vectors of the elements
#
# `own_share` says how far an element is described by its own sites rather than by the mean of all.

# %%
elements = UnateElementData().to_frame()
print(elements[["n_crystals", "own_share"]].sort_values("n_crystals").head().round(2).to_string())
