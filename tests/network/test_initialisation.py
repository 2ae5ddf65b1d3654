"""Random numbers: the package has its own, and leaves those of the process alone."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
import pytest
import torch
from fine_tuning_cases import make, structures, volumes
from tiny_encoder import TINY

from benchmarks.networks.property_cartnet import PropertyCartNet
from matminer_unate import UnateFineTuneRegressor
from matminer_unate.finetuning import members as finetune_training
from matminer_unate.finetuning.networks import PropertyEncoder
from matminer_unate.network.cartnet import CartNet
from matminer_unate.network.config import EncoderConfig
from matminer_unate.network.encoder import SiteEncoder
from matminer_unate.network.initialisation import DrawFrom, WithoutDrawing
from matminer_unate.network.weights import load_encoder

KNOWN = np.ones(119, bool)

NETWORKS = [
    lambda: SiteEncoder(TINY),
    lambda: SiteEncoder(EncoderConfig(n_properties=3, predicted=("a",), crystal_predicted=("b",))),
    lambda: CartNet(EncoderConfig(geometry="cartesian", width=8)),
    lambda: PropertyCartNet(TINY, "both", 12, bottleneck=4),
    lambda: PropertyEncoder(SiteEncoder(TINY), KNOWN, n_given=5, n_targets=2),
]


def states() -> list[Any]:
    """Of the three generators of the process."""
    of_numpy = str(np.random.get_state())  # noqa: NPY002 - the one that is not to be used
    return [torch.random.get_rng_state().tolist(), of_numpy, random.getstate()]


@pytest.mark.parametrize("build", NETWORKS)
def test_networks_start_as_torch_would_start_them_and_leave_its_state(build: Any) -> None:
    torch.manual_seed(3)
    expected = build().state_dict()
    before = states()
    with DrawFrom(torch.Generator().manual_seed(3)):
        found = build().state_dict()
    assert states() == before
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


@pytest.mark.parametrize("build", NETWORKS)
def test_a_network_to_load_weights_into_draws_nothing(build: Any) -> None:
    full, before = build(), states()
    with WithoutDrawing():
        empty = build()
    assert states() == before
    empty.load_state_dict(full.state_dict())
    for one, other in zip(empty.buffers(), full.buffers(), strict=True):
        assert torch.equal(one, other)


def test_loading_fitting_and_predicting_leave_the_random_state_of_the_process(
    tiny_weights: Path, tmp_path: Path
) -> None:
    X, y = structures(12), volumes(structures(12))
    before = states()
    load_encoder(tiny_weights)
    model = make(tiny_weights, n_members=2).fit(X, y)
    model.predict(X)
    model.save(tmp_path)
    UnateFineTuneRegressor.load(tmp_path, "cpu").predict(X)
    make(tiny_weights, random_state=None).fit(X, y)
    assert states() == before


def test_two_fits_in_two_threads_are_two_fits_in_turn(
    tiny_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    X, y = structures(12), volumes(structures(12))
    monkeypatch.setattr(finetune_training, "count_workers", lambda device: 2)
    expected = make(tiny_weights, n_members=2).fit(X, y).predict(X)
    together = Barrier(3)

    def fit(k: int) -> np.ndarray:
        together.wait()
        if k == 2:  # somebody else's networks
            for _ in range(100):
                SiteEncoder(TINY)
            return expected
        return make(tiny_weights, n_members=2).fit(X, y).predict(X)

    with ThreadPoolExecutor(3) as threads:
        for found in threads.map(fit, range(3)):
            np.testing.assert_array_equal(found, expected)
