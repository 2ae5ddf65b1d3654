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
# # A graph network of your own on pretrained embeddings
#
# `UnateFeaturizer` gives a row of numbers for each crystal, `UnateFineTuneRegressor` a whole model.
# In between lies a network of your own: here one of PyTorch Geometric's layers, which reads the
# embedding of each site in place of a table of element properties. It learns bulk moduli of 300
# Materials Project crystals, which come with the package.

# %%
import time

import numpy as np
import torch
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import GroupShuffleSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch_geometric.loader import DataLoader
from torch_geometric.nn import CGConv, global_mean_pool

from matminer_unate import UnateFeaturizer
from matminer_unate.datasets import load_moduli
from matminer_unate.featurizers.pyg import to_data
from matminer_unate.network.pyg import UnateEncoderLayer

started = time.perf_counter()
df = load_moduli()
df["log_k"] = np.log10(df["bulk_modulus_gpa"])
split = GroupShuffleSplit(1, test_size=60, random_state=0)
train, test = next(split.split(df, groups=df["formula"]))

# %% [markdown]
# ## Structures to graphs
#
# `to_data` makes a `Data` of each structure: `x` holds an embedding for each site, `edge_vector`
# the way to each neighbour within the cutoff, in Å. Put on it what else your network reads; here
# the target, and each distance as eight numbers between 0 and 1.

# %%
graphs = to_data(df["structure"])
centres = torch.linspace(1.0, 4.5, 8)
for graph, log_k in zip(graphs, df["log_k"], strict=True):
    graph.y = torch.tensor([log_k], dtype=torch.float32)
    distance = graph.edge_vector.norm(dim=1, keepdim=True)
    graph.edge_attr = torch.exp(-(((distance - centres) / 0.5) ** 2))
print(f"{len(graphs)} graphs in {time.perf_counter() - started:.0f} s; the first: {graphs[0]}")

# %% [markdown]
# ## The network
#
# Two convolutions between a map to fewer channels and the mean over sites. Any other `Module` that
# takes site vectors and edges will do.


# %%
class Network(nn.Module):
    def __init__(self, n_in: int, width: int = 64) -> None:
        super().__init__()
        self.enter = nn.Sequential(nn.Dropout(0.2), nn.Linear(n_in, width), nn.SiLU())
        self.convolutions = nn.ModuleList(
            CGConv(width, dim=len(centres), aggr="mean", batch_norm=True) for _ in range(2)
        )
        self.leave = nn.Linear(width, 1)

    def forward(self, x: torch.Tensor, batch) -> torch.Tensor:
        sites = self.enter(x)
        for convolution in self.convolutions:
            sites = convolution(sites, batch.edge_index, batch.edge_attr)
        return self.leave(global_mean_pool(sites, batch.batch)).squeeze(1)


# %% [markdown]
# ## Train
#
# PyG's `DataLoader` joins graphs into batches. Targets are learned around their mean.

# %%
shift = float(df["log_k"].iloc[train].mean())


def predict(answer, members) -> np.ndarray:
    with torch.no_grad():
        batches = DataLoader([graphs[k] for k in members], batch_size=60)
        return np.concatenate([answer(batch).numpy() + shift for batch in batches])


def error(answer, members) -> float:
    return float(np.abs(predict(answer, members) - df["log_k"].iloc[members]).mean())


def learn(answer, parameters: list, rate: float | list[float], epochs: int) -> None:
    optimizer = torch.optim.AdamW(parameters, weight_decay=0.01)
    loader = DataLoader([graphs[k] for k in train], batch_size=32, shuffle=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, rate, epochs=epochs, steps_per_epoch=len(loader)
    )
    for _ in range(epochs):
        for batch in loader:
            optimizer.zero_grad()
            nn.functional.l1_loss(answer(batch), batch.y - shift).backward()
            optimizer.step()
            schedule.step()


torch.set_num_threads(1)  # so small a network is quickest on one core
torch.manual_seed(0)
network = Network(graphs[0].num_node_features)


def on_embeddings(batch):
    return network(batch.x, batch)


begun = time.perf_counter()
learn(on_embeddings, list(network.parameters()), 5e-3, epochs=60)
network.eval()
seconds = time.perf_counter() - begun
found = {"network on embeddings": (error(on_embeddings, train), error(on_embeddings, test))}
print(f"trained in {seconds:.0f} s")

# %% [markdown]
# ## Let the encoder learn on
#
# `UnateEncoderLayer` is the encoder as a layer: its answer is `x`, with gradients. The network that
# was trained above goes on with it, at a fifth of the learning rate for the encoder.

# %%
encoder = UnateEncoderLayer()


def with_encoder(batch):
    return network(encoder(batch), batch)


begun = time.perf_counter()
network.train()
parts = [{"params": network.parameters()}, {"params": encoder.parameters()}]
learn(with_encoder, parts, [1e-3, 2e-4], epochs=8)
network.eval()
encoder.eval()
seconds = time.perf_counter() - begun
found["and the encoder with it"] = error(with_encoder, train), error(with_encoder, test)
print(f"trained on in {seconds:.0f} s")

# %% [markdown]
# ## Is it worth it?
#
# The least that it has to beat is a ridge regression on the pooled columns.

# %%
columns = np.array(UnateFeaturizer().transform(df["structure"]))
ridge = make_pipeline(StandardScaler(), RidgeCV(np.logspace(0, 5, 21)))
ridge.fit(columns[train], df["log_k"].iloc[train])
errors = np.abs(ridge.predict(columns) - df["log_k"]).to_numpy()
found["ridge on pooled columns"] = errors[train].mean(), errors[test].mean()
dummy = np.abs(df["log_k"] - shift).to_numpy()
found["always the mean"] = dummy[train].mean(), dummy[test].mean()
print(f"{'mean absolute error of log10(K / GPa)':40s}train   test")
for name, (of_train, of_test) in found.items():
    print(f"{name:40s}{of_train:.3f}   {of_test:.3f}")
print(f"{time.perf_counter() - started:.0f} s in all")

# %% [markdown]
# With so few crystals a ridge does as well; on one split, the three cannot be told apart. A network
# of your own is for what pooled columns cannot have: an answer for each site, or other inputs
# beside the embeddings.
