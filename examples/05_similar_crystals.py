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
# # What is like this crystal, and can I trust the row?
#
# `UnateIndex` finds the crystals of a table that are most like one, `UnateNovelty` says how far a
# crystal is from all that the network has seen, and a map shows a whole table.

# %%
from pathlib import Path
from tempfile import mkdtemp

from matminer_unate import UnateIndex, UnateNovelty
from matminer_unate.datasets import load_semiconductors
from matminer_unate.maps.corpus_map import CorpusMap

df = load_semiconductors()
names = df["formula"] + ", " + df["prototype"]

# %% [markdown]
# ## Neighbours
#
# Euclidean distances between mean site embeddings: 0 for two cells of one crystal, about 1 for
# polymorphs.

# %%
index = UnateIndex(df["structure"], ids=names)
gallium_arsenide = df.loc[df["formula"] == "GaAs", "structure"].iloc[0]
print(index.query(gallium_arsenide, k=6).round(3).to_string(index=False))

# %% [markdown]
# A supercell is the same crystal, and is found as a duplicate.

# %%
index.add([gallium_arsenide * (2, 1, 1)], ["GaAs, twice as long"])
first = index.duplicates()
print({index.ids[row]: index.ids[found] for row, found in enumerate(first) if row != found})

# %% [markdown]
# ## Novelty
#
# Columns are percentiles of crystals that the network has not been trained on: near 1 is farther
# from the pretraining corpus than nearly all of them. Exchanging elements makes a crystal that
# nature does not.

# %%
novelty = UnateNovelty()
odd = gallium_arsenide.copy()
odd.replace_species({"Ga": "F", "As": "U"})
squeezed = gallium_arsenide.copy()
squeezed.apply_strain(-0.1)
table = novelty.set_output(transform="pandas").transform([gallium_arsenide, squeezed, odd])
table.index = ["GaAs", "GaAs, squeezed by 10 %", "UF in its structure"]
print(table.round(3).to_string())

# %% [markdown]
# ## A map
#
# The same as `unate map table.parquet --color gap_ev --out map.html`: open the page in a browser.

# %%
corpus = CorpusMap()
corpus.add(df["structure"], names, df[["gap_ev", "prototype"]].to_dict("records"))
page = Path(mkdtemp()) / "map.html"
page.write_text(corpus.html("gap_ev", title="Semiconductors"), encoding="utf-8")
print(f"a page of {page.stat().st_size / 1e6:.1f} MB with {len(corpus.rows)} crystals")
