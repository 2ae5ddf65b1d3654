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
# # Dask: featurize beyond one core
#
# Columns of a Dask DataFrame, or `unate featurize --dask` for tables that do not fit into memory.
# On one machine or on a cluster, nothing changes but the address of the scheduler. This needs
# `pip install "matminer_unate[dask]"`.

# %%
import subprocess
import sys
import time
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pandas as pd

try:
    import dask
    import dask.dataframe as dd
    from distributed import Client
except ImportError:
    raise SystemExit('Dask is not installed: pip install "matminer_unate[dask]"') from None

from matminer_unate import UnateFeaturizer, featurize_dask
from matminer_unate.datasets import load_moduli

# %% [markdown]
# ## Columns of a Dask DataFrame
#
# `featurize_dask` adds columns lazily: partitions, index and divisions stay. Dask makes text of
# objects unless it is told not to; columns of CIF texts or JSON need no such care.

# %%
df = load_moduli()
with dask.config.set({"dataframe.convert-string": False}):
    ddf = dd.from_pandas(df, npartitions=4)
lazy = featurize_dask(ddf, "structure", UnateFeaturizer(on_error="nan"))
print(f"{lazy.npartitions} partitions, {len(lazy.columns)} columns, nothing computed yet")

# %% [markdown]
# Workers of one thread each are best: several batches at once, on one core each, beat one batch on
# several cores. `Client("tcp://HOST:8786")` would take a cluster in place of this machine.
#
# Each worker first imports torch and loads the weights, which takes some seconds: 300 crystals are
# too few to gain by it, 100,000 are not.

# %%
if __name__ == "__main__":  # as a script, the workers import this file
    with Client(n_workers=2, threads_per_worker=1, dashboard_address=None) as client:
        for attempt in ("first", "again"):
            started = time.perf_counter()
            table = lazy.compute()
            print(f"{attempt}: {len(table)} crystals in {time.perf_counter() - started:.1f} s")

# %% [markdown]
# The numbers are those of one process.

# %%
if __name__ == "__main__":
    alone = UnateFeaturizer().featurize_dataframe(df, "structure", pbar=False)
    names = UnateFeaturizer().feature_labels()
    difference = np.abs(table[names] - alone[names]).max(axis=None)
    print(f"largest difference of {len(names)} columns: {difference:.1e}")

# %% [markdown]
# ## Tables that do not fit into memory
#
# `unate featurize` reads a table by blocks, and writes each finished part to disk: what was
# stopped goes on with the same command. With `--dask` the blocks are computed by a worker on each
# core, with `--dask tcp://HOST:8786` by those of a cluster, which must see the same folders.

# %%
if __name__ == "__main__":
    work = Path(mkdtemp())
    cifs = df["structure"].map(lambda structure: structure.to(fmt="cif"))
    pd.DataFrame({"id": df["material_id"], "cif": cifs}).to_parquet(work / "crystals.parquet")
    unate = [sys.executable, "-m", "matminer_unate"]  # the command `unate`
    options = ["--out", str(work / "features.parquet"), "--part-rows", "100", "--dask"]
    started = time.perf_counter()
    command = [*unate, "featurize", str(work / "crystals.parquet"), *options]
    done = subprocess.run(command, capture_output=True, text=True)
    print(done.stderr[-300:] if done.returncode else f"{time.perf_counter() - started:.0f} s")
    features = pd.read_parquet(work / "features.parquet")
    print(features.iloc[:3, :6].round(3).to_string(index=False))

# %% [markdown]
# Without Dask, array jobs of a batch system share a table out by `--shard 3/100`, and `unate merge`
# joins the parts. What millions of crystals cost: `training/results/scale.md`.
