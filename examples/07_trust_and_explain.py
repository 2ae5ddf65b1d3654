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
# # Can I trust this prediction, and what is it made of?
#
# A model answers whatever it is asked. Here one learns bulk moduli of 250 Materials Project
# crystals and is asked about others, and about one that looks like nothing it has seen. Then we
# take predictions apart: which columns count, and what each site of a crystal contributes.

# %%
import time

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from pymatgen.core import Lattice, Structure
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import GroupShuffleSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from matminer_unate import (
    UnateFeaturizer,
    UnateRegressor,
    draw_contributions,
    plot_importances,
    site_contributions,
)
from matminer_unate.datasets import load_moduli

started = time.perf_counter()
df = load_moduli()
df["log_k"] = np.log10(df["bulk_modulus_gpa"])
split = GroupShuffleSplit(1, test_size=50, random_state=0)
train, test = (df.iloc[rows] for rows in next(split.split(df, groups=df["formula"])))
model = UnateRegressor(progress=False).fit(train["structure"], train["log_k"])

# %% [markdown]
# ## Familiar or not
#
# `return_novelty=True` gives two numbers from 0 (familiar) to 1 (like none) beside the prediction.
# `to_training`: the share of the training rows that are nearer to their nearest of another formula
# than the crystal is to its nearest training row. `to_corpus`: the share of ordinary crystals that
# are nearer to the 99,334 that the network was pretrained on. 0.5 is usual; beyond 0.99, a crystal
# is farther than all but one in a hundred.

# %%
log_k, std, novelty = model.predict(test["structure"], return_std=True, return_novelty=True)
found = pd.DataFrame(
    {
        "formula": test["formula"].to_numpy(),
        "K": test["bulk_modulus_gpa"].to_numpy(),
        "predicted": 10**log_k,
        "factor": 10**std,
        "error": np.abs(log_k - test["log_k"].to_numpy()),
    }
).join(novelty.reset_index(drop=True))
ordered = found.sort_values("to_training")
print("most familiar\n" + ordered.head(5).round(2).to_string(index=False))
print("\nleast familiar\n" + ordered.tail(5).round(2).to_string(index=False))
half = found["to_training"] > found["to_training"].median()
print(
    f"\nmean error of log10 K: {found['error'][~half].mean():.3f} of the more familiar half, ",
    end="",
)
print(f"{found['error'][half].mean():.3f} of the less familiar one")

# %% [markdown]
# Both halves are predicted alike here: it is the last of them that stand out, as CsF. Rock salt
# with its species replaced by xenon and osmium is no crystal that anybody has made:

# %%
salt = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0] * 3, [0.5] * 3])
odd = Structure(salt.lattice, ["Xe"] * 4 + ["Os"] * 4, salt.frac_coords)
values, novelty = model.predict([salt, odd], return_novelty=True)
print(novelty.assign(K=10**values).set_axis(["NaCl", "XeOs"]).round(3))

# %% [markdown]
# ## Which columns count
#
# `importances()` has all of them by name. The figure has those that mean something, in words, and
# in its legend how much each kind of columns counts together. Many columns say much the same, and
# which of them the model takes hangs on the rows: with other 250 of these 300, a third of all
# importance is of other kinds.

# %%
ax = plot_importances(model, n=12)

# %% [markdown]
# ## Which sites count
#
# Columns that are means over the sites are sums of what the sites bring, and so a prediction can be
# shared out among them. For a linear model this is exact: weights times what the site differs by
# from the average training crystal, over the number of sites.

# %%
linear = make_pipeline(
    UnateFeaturizer(pooling="mean"), StandardScaler(), RidgeCV(np.logspace(0, 4, 9))
)
linear.fit(train["structure"], train["log_k"])
perovskite = Structure(
    Lattice.cubic(3.905),
    ["Sr", "Ti", "O", "O", "O"],
    [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]],
)
stiff = test.loc[test["bulk_modulus_gpa"].idxmax(), "structure"]
parts = [site_contributions(linear, s, reference=train["structure"]) for s in (perovskite, stiff)]
for part in parts:
    total = part.base + part.sites.sum() + part.rest
    print(
        part.structure.reduced_formula,
        part.sites.round(3),
        f"sum − prediction: {total - part.prediction:.0e}",
    )

# %%
fig = plt.figure(figsize=(10, 4.2))
for k, part in enumerate(parts):
    axes = fig.add_subplot(1, 2, k + 1, projection="3d")
    draw_contributions(part, ax=axes, label="contribution to log10(K / GPa)")

# %% [markdown]
# Red sites raise the modulus, blue ones lower it. The rest is of no site: what the network
# predicts for the crystal as a whole. A `UnateRegressor` can be taken apart as well, but many of
# its columns are no means over sites: deviations, extremes, layers, springs, bands. Here they bring
# all that sets this crystal apart from the average one, and the sites together nothing:

# %%
whole = site_contributions(model, perovskite)
print(f"predicted {whole.prediction:.2f} = base {whole.base:.2f}, ", end="")
print(f"sites {whole.sites.sum():+.2f}, rest {whole.rest:+.2f}")
print(f"{time.perf_counter() - started:.0f} s in all")
