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
# # Pretraining on your own crystals
#
# The network learns from crystals without any label: it gets them with species hidden, atoms moved
# and bonds cut, and gives back what they were. You can make weights of your own, or go on from
# those that come with the package. `training/` is not installed: this needs a checkout.
#
# **What to expect.** The shipped weights have seen 99,334 crystals. With some hundred you see how
# it is done, and no more: columns learned from nothing stay well behind, and those of weights that
# went on from the shipped ones are a little worse. It is meant for thousands of crystals of a kind
# that these have not met. The last table says what it did here.

# %%
import subprocess
import sys
import time
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pandas as pd
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from matminer_unate import UnateFeaturizer
from matminer_unate.datasets import load_moduli, load_semiconductors

folders = (Path.cwd(), *Path.cwd().parents)
script = next(p / "training/pretrain.py" for p in folders if (p / "training").is_dir())
work = Path(mkdtemp())

# %% [markdown]
# ## Crystals
#
# A folder of CIF files, a table (Parquet, CSV, JSON lines) or a database by its name. Labels are
# not read; those of the moduli are for the test at the end.

# %%
df = load_moduli()
(work / "cifs").mkdir()
for name, structure in zip(df["material_id"], df["structure"], strict=True):
    structure.to(filename=str(work / "cifs" / f"{name}.cif"))
others = load_semiconductors()["structure"]
for number, structure in enumerate(others):
    structure.to(filename=str(work / "cifs" / f"semiconductor_{number}.cif"))
print(f"{len(df) + len(others)} crystals")

# %% [markdown]
# ## From nothing
#
# The preset `smoke` is a tiny network. `--part all` takes all formulas; by default a fifth is held
# out, so that benchmarks on them are fair. A run that is stopped goes on with `--resume`.


# %%
def pretrain(name: str, *options: str) -> None:
    """Run the script, and say what the last epoch was like."""
    started = time.perf_counter()
    out = work / name
    data = ["--data", str(work / "cifs"), "--part", "all", "--name", name, "--out", str(out)]
    done = subprocess.run(
        [sys.executable, str(script), *data, *options], capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    log = pd.read_csv(out / "log.csv")
    print(f"{name}: {log['epoch'].max()} epochs, {time.perf_counter() - started:.0f} s")
    shown = ["epoch", "total", "masked_accuracy", "retrieval_accuracy"]
    print(log.loc[[0, len(log) - 1], shown].round(3).to_string(index=False))


pretrain("from_nothing", "--preset", "smoke", "--limit", "0", "--epochs", "30")

# %% [markdown]
# `masked_accuracy` is how many of the hidden species are named rightly, `retrieval_accuracy` how
# many corrupted crystals are told from all others. `target_errors.csv` lists how well each of the
# quantities is predicted that pretraining computes itself.
#
# ## Going on from the shipped weights
#
# A quarter of the usual learning rate, so that little is forgotten. What decodes species starts
# anew, so that it names few at first.

# %%
pretrain("went_on", "--start-from", "mp_v3", "--epochs", "10", "--learning-rate", "0.0005")

# %% [markdown]
# ## Columns from a folder of weights
#
# `weights/` in the output folder is what `UnateFeaturizer`, `UnateRegressor`,
# `UnateFineTuneRegressor` and `unate featurize --weights` take. Ridge regression learns bulk moduli
# on each set of columns, with formulas held out.

# %%
weights = {
    "from nothing, these crystals": work / "from_nothing" / "weights",
    "shipped": "mp_v3",
    "shipped, then these crystals": work / "went_on" / "weights",
}
y = np.log10(df["bulk_modulus_gpa"])
ridge = make_pipeline(StandardScaler(), RidgeCV(alphas=np.logspace(0, 4, 9)))
rows = []
for label, folder in weights.items():
    X = UnateFeaturizer(folder).transform(df["structure"])
    found = cross_val_predict(ridge, X, y, groups=df["formula"], cv=GroupKFold(5))
    rows.append({"weights": label, "columns": np.shape(X)[1], "error": np.abs(found - y).mean()})
print("mean absolute error of log10(K / GPa)")
print(pd.DataFrame(rows).round(4).to_string(index=False))

# %% [markdown]
# `training/README.md` has the presets, training on several processes or GPUs, and second models as
# teachers; `python training/pretrain.py --help` all settings.
