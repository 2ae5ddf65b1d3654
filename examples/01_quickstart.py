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
# # Quickstart: crystals to learned columns to a band-gap model
#
# 109 measured semiconductors and insulators come with the package. We turn each structure into
# columns, train LightGBM and ridge regression on them, and compare with matminer's Magpie columns
# on the same cross-validation folds.

# %%
import lightgbm
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matminer.featurizers.composition import ElementProperty
from sklearn.feature_selection import VarianceThreshold
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from matminer_unate import UnateFeaturizer
from matminer_unate.datasets import load_semiconductors

df = load_semiconductors()
df[["formula", "prototype", "gap_ev"]].sample(5, random_state=1)

# %% [markdown]
# ## One line: structures in, columns out

# %%
unate = UnateFeaturizer()
df = unate.featurize_dataframe(df, "structure", pbar=False)
df[unate.feature_labels()].iloc[:5, :6].round(2)

# %% [markdown]
# ## Hand-made columns, for comparison
#
# Magpie describes the composition only: the two forms of TiO2, or of SiC, get the same row.

# %%
magpie = ElementProperty.from_preset("magpie", impute_nan=True)
magpie.set_n_jobs(1)
df["composition"] = [s.composition for s in df["structure"]]
df = magpie.featurize_dataframe(df, "composition", pbar=False)

feature_sets = {
    "Magpie": magpie.feature_labels(),
    "UNATE": unate.feature_labels(),
    "Magpie + UNATE": magpie.feature_labels() + unate.feature_labels(),
}

# %% [markdown]
# ## The same folds for everybody
#
# Five-fold cross-validation, three times over. Forms of one formula stay in one fold: they would
# give each other away.

# %%
models = {
    "LightGBM": lightgbm.LGBMRegressor(
        n_estimators=300,
        learning_rate=0.05,
        num_leaves=7,
        min_child_samples=5,
        colsample_bytree=0.3,
        extra_trees=True,
        verbosity=-1,
        n_jobs=1,
        random_state=0,
    ),
    # Columns beyond five standard deviations say "far out" and no more.
    "ridge": make_pipeline(
        VarianceThreshold(1e-6),
        StandardScaler(),
        FunctionTransformer(np.clip, kw_args={"a_min": -5, "a_max": 5}),
        RidgeCV(alphas=np.logspace(-1, 5, 19)),
    ),
}
folds = [GroupKFold(n_splits=5, shuffle=True, random_state=seed) for seed in range(3)]
y = df["gap_ev"].to_numpy()
predicted, rows = {}, []
for name, columns in feature_sets.items():
    X = df[columns].to_numpy()
    for head, model in models.items():
        guesses = np.array(
            [cross_val_predict(model, X, y, cv=cv, groups=df["formula"]) for cv in folds]
        )
        errors = np.abs(guesses - y).mean(axis=1)
        predicted[name, head] = guesses.mean(axis=0)
        rows.append({"columns": name, "n": len(columns), "model": head, "MAE (eV)": errors.mean()})
table = pd.DataFrame(rows).pivot(index=["columns", "n"], columns="model", values="MAE (eV)")
print(f"mean absolute error of the gap, {len(df)} crystals, formulas unseen")
print(table.round(3).to_string())
print(f"always guessing the mean: {np.abs(y - y.mean()).mean():.3f}")

# %% [markdown]
# The folds here are small, so differences of a few hundredths of an eV mean nothing. The README
# has the comparison on thousands of crystals.

# %%
best = table.stack().groupby("columns").idxmin().map(lambda key: key[-1])
fig, axes = plt.subplots(1, 3, figsize=(11, 4.2), sharex=True, sharey=True)
for ax, name in zip(axes, feature_sets, strict=True):
    head = best[name]
    guesses = predicted[name, head]
    error = table.xs(name, level="columns")[head].item()
    ax.axline((0, 0), slope=1, color="0.7", lw=1)
    ax.scatter(y, guesses, s=14, alpha=0.7)
    for row in np.argsort(np.abs(guesses - y))[-3:]:
        side = {"ha": "right", "xytext": (-4, 0)} if guesses[row] > y[row] else {"xytext": (4, 0)}
        at = df["formula"].iloc[row], (y[row], guesses[row])
        ax.annotate(*at, textcoords="offset points", va="center", fontsize=7, **side)
    ax.set_aspect("equal")
    ax.set_title(f"{name} → {head}\nmean absolute error {error:.2f} eV", fontsize=9)
    ax.set_xlabel("measured gap (eV)")
axes[0].set_ylabel("predicted gap (eV), formula unseen")
fig.suptitle("each point is a crystal; the three worst are named", fontsize=9)
fig.tight_layout()
fig.savefig("quickstart.png", dpi=150)
print("figure: quickstart.png")
