"""How fast is the encoder in training, and where does the time of a training step go?

    python training/training_speed.py --data mp_mtcgcnn.parquet \\
        --out training/results/training_speed.csv

First the encoder alone, forward and backward on one batch: the one of
``matminer_unate.network.cartnet`` in turn with CartNet as it is published (Solé et al.,
arXiv:2501.18369), which concatenates [x_i; x_j; e_ij] for every edge. Both have the same
dimensions, the same direction features, the same weights and the same number of threads. Then
CartNet as ``training/bandgap.py`` trains it on a property (preset ``cpu``), whole steps with
batching and optimizer, again in turn with the published form. Then whole pretraining steps, part by
part. Times are medians, in microseconds of the process's own CPU time (and of the wall clock, which
other processes on the machine lengthen) for one edge of the batch.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn

from benchmarks.networks.arms import PRESETS
from benchmarks.networks.property_cartnet import PropertyCartNet
from benchmarks.networks.published_cartnet import PlainCartNet, PlainRegressorBackbone
from corpora.batches import CleanBatch, Encoded, View
from corpora.corpus import Corpus
from corpora.crystal import Crystal
from corpora.reading import read_with_report
from corpora.sampling import epoch_batches
from harness.command import run_script, script_parser
from harness.result_tables import write_table
from matminer_unate.crystals.batching import GraphBatch, collate
from matminer_unate.crystals.graph import radius_graph
from matminer_unate.finetuning.fitting import parameter_groups
from matminer_unate.finetuning.networks import Crystals
from matminer_unate.network.cartnet import CartNet
from matminer_unate.network.optimisation import update_average
from pretraining.config import PretrainConfig
from pretraining.optimisation import average_decay, make_optimizer, step_generator
from pretraining.pretrainer import Pretrainer
from pretraining.targets import with_predictions
from pretraining.views import ViewMaker

WARM_UP = 3
"""Rounds and steps before those that count."""


def main() -> None:
    args = parse_arguments()
    torch.set_num_threads(args.threads)
    config = PretrainConfig()
    weights = replace(
        config.weights, tight_binding=0.0, tight_binding_crystal=0.0
    )  # reads a file of targets
    config = replace(config, weights=weights, max_edges=args.max_edges)
    crystals, _ = read_with_report([args.data], config.max_sites, "train", args.crystals)
    table = pd.concat(
        [
            measure_encoders(crystals, config, args.rounds),
            measure_regressors(crystals, args.rounds),
            measure_steps(crystals, config, args.rounds),
        ],
        ignore_index=True,
    )
    print(table.round(3).to_string(index=False))
    note = f"medians over {args.rounds} rounds, {args.threads} thread(s)"
    write_table(table.round(4), args.out, note)


def parse_arguments() -> argparse.Namespace:
    parser = script_parser(__doc__)
    parser.add_argument("--data", required=True, help="parquet file or folder of structures")
    parser.add_argument("--crystals", type=int, default=1000, help="[1000]")
    parser.add_argument("--max-edges", type=int, default=32_000, help="edges of a batch [32000]")
    parser.add_argument("--rounds", type=int, default=20, help="[20]")
    parser.add_argument("--threads", type=int, default=1, help="[1]")
    parser.add_argument("--out", default="training_speed.csv")
    return parser.parse_args()


def graph_batch(crystals: list[Crystal], cutoff: float, max_edges: int) -> GraphBatch:
    """The first crystals that have ``max_edges`` edges together."""
    graphs, n_edges = [], 0
    for c in crystals:
        graph = radius_graph(c.lattice, c.frac_coords, c.atomic_numbers, cutoff)
        n_edges += graph.n_edges
        if n_edges > max_edges:
            break
        graphs.append(graph)
    return collate(graphs)


def measure_encoders(crystals: list[Crystal], config: PretrainConfig, rounds: int) -> pd.DataFrame:
    """The encoder and its published form in turn, on one batch."""
    torch.manual_seed(0)
    ours = CartNet(config.encoder)
    published = "encoder as published, one concatenation"
    networks = {
        f"{published} for each network": PlainCartNet(ours, share_input=False),
        f"{published} for both networks": PlainCartNet(ours),
        "encoder": ours,
    }
    data = graph_batch(crystals, config.encoder.cutoff, config.max_edges)
    training, inference = Clock(), Clock()
    for _ in range(WARM_UP + rounds):
        training.start_round()
        inference.start_round()
        for name, network in networks.items():
            network.zero_grad()
            with training(name):
                sum(state.square().mean() for state in network.train()(data)).backward()
            with inference(name), torch.no_grad():
                network.eval()(data)
    tables = {"forward and backward": training, "inference": inference}
    parts = []
    for name, clock in tables.items():
        table = clock.table(name, len(data.edge_vector))
        table["published_over_this"] = table["cpu_us_per_edge"].max() / table["cpu_us_per_edge"]
        parts.append(table)
    return pd.concat(parts)


def measure_regressors(crystals: list[Crystal], rounds: int) -> pd.DataFrame:
    """Steps of training on a property with CartNet and with its published form in turn."""
    preset = PRESETS["cpu"]
    settings = preset.training
    cutoff = preset.encoder.cutoff
    labelled = Crystals(
        [radius_graph(c.lattice, c.frac_coords, c.atomic_numbers, cutoff) for c in crystals]
    )
    torch.manual_seed(0)
    ours = PropertyCartNet(preset.encoder)
    published = copy.deepcopy(ours)
    published.backbone = PlainRegressorBackbone(ours.backbone)  # type: ignore[assignment]
    networks = {"regressor as published": published, "regressor": ours}
    rates: dict[str, list[float]] = {name: [] for name in networks}
    clock, n_edges = Clock(), []
    rng = np.random.default_rng(0)
    optimizers = {
        name: torch.optim.AdamW(parameter_groups(network, settings), lr=settings.learning_rate)
        for name, network in networks.items()
    }
    averages = {name: copy.deepcopy(network) for name, network in networks.items()}
    for _ in range(WARM_UP + rounds):
        clock.start_round()
        members = rng.choice(len(crystals), settings.batch_size, replace=False)
        n_edges.append(sum(labelled.graphs[k].n_edges for k in members))
        for name, network in networks.items():
            started = now()
            optimizers[name].zero_grad()
            network.train()(labelled.batch(members, torch.device("cpu"))).abs().mean().backward()
            nn.utils.clip_grad_norm_(network.parameters(), settings.clip_norm)
            optimizers[name].step()
            update_average(averages[name], network, 0.99)
            clock.add(name, now() - started)
            rates[name].append(len(members) / (now() - started)[0])
    table = clock.table("training on a property", np.array(n_edges[WARM_UP:]))
    table["published_over_this"] = table["cpu_us_per_edge"].max() / table["cpu_us_per_edge"]
    table["crystals_per_cpu_s"] = [np.median(rates[name][WARM_UP:]) for name in table["part"]]
    return table


def measure_steps(crystals: list[Crystal], config: PretrainConfig, rounds: int) -> pd.DataFrame:
    """Whole pretraining steps, part by part, for an edge of the corrupted views."""
    corpus = Corpus(crystals, config.encoder.cutoff, progress=False)
    config = with_predictions(config, corpus)
    torch.manual_seed(0)
    model = Pretrainer(config, corpus).train()
    average = copy.deepcopy(model.encoder)
    optimizer = make_optimizer(model, config)
    make_views = ViewMaker(config, torch.from_numpy(corpus.element_counts))
    clock, n_edges = Clock(), []
    arrivals: list[NDArray[np.float64]] = []

    def encode(view: View, batch: CleanBatch) -> Encoded:
        with clock("encoder, forward"):
            encoded = Pretrainer.encode(model, view, batch)
        # The objectives were recorded last, so they are all done when the first one arrives.
        encoded.latent.register_hook(lambda _: arrivals.append(now()))
        return encoded

    model.encode = encode  # type: ignore[method-assign]
    for step, members in zip(range(WARM_UP + rounds), endless(corpus, config), strict=False):
        clock.start_round()
        with clock("batching"):
            batch = corpus.batch(members)
        with clock("corruption"):
            views = make_views(batch, step_generator(torch.device("cpu"), step))
        with clock("objectives, forward"):
            losses = model(batch, views, measure=step == 0)
        clock.add("objectives, forward", -clock.rounds[-1]["encoder, forward"])
        optimizer.zero_grad()
        arrivals.clear()
        started = now()
        losses["total"].backward()
        clock.add("objectives, backward", arrivals[0] - started)
        clock.add("encoder, backward", now() - arrivals[0])
        with clock("optimizer and average"):
            nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)
            optimizer.step()
            update_average(average, model.encoder, average_decay(step, config.ema))
        n_edges.append(sum(len(view.edge) for view in views.decode))
    table = clock.table("training step", np.array(n_edges[WARM_UP:]))
    table["share_of_step"] = table["cpu_us_per_edge"] / table["cpu_us_per_edge"].sum()
    return table


def endless(corpus: Corpus, config: PretrainConfig) -> Iterator[NDArray[np.int64]]:
    """Batches of one epoch after another."""
    for epoch in itertools.count():
        rng = np.random.default_rng(epoch)
        yield from epoch_batches(corpus, config.max_edges, rng, config.grouped_share)


def now() -> NDArray[np.float64]:
    """Seconds of the process's CPU time and of the wall clock."""
    return np.array([time.process_time(), time.perf_counter()])


class Clock:
    """Adds up times by name, round by round."""

    def __init__(self) -> None:
        self.rounds: list[dict[str, NDArray[np.float64]]] = []

    def start_round(self) -> None:
        self.rounds.append({})

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        started = now()
        yield
        self.add(name, now() - started)

    def add(self, name: str, seconds: NDArray[np.float64]) -> None:
        self.rounds[-1][name] = self.rounds[-1].get(name, 0.0) + seconds

    def table(self, what: str, n_edges: int | NDArray[np.int64]) -> pd.DataFrame:
        """Medians per edge over the rounds after the warm-up; ``n_edges`` of each or of all."""
        rounds = self.rounds[WARM_UP:]
        rows = []
        for name in rounds[0]:
            seconds = np.array([r[name] for r in rounds])
            cpu, wall = np.median(1e6 * seconds.T / n_edges, axis=1)
            rows.append(
                {"what": what, "part": name, "cpu_us_per_edge": cpu, "wall_us_per_edge": wall}
            )
        return pd.DataFrame(rows)


if __name__ == "__main__":
    run_script(main)
