"""Shared fixtures."""

from __future__ import annotations

import os

# Workers side by side get their share of the cores, before anything counts these: threads of
# several would wait for each other. With -n 0, threads are those that users have.
if "PYTEST_XDIST_WORKER_COUNT" in os.environ:
    n_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    share = (n_cores or 1) // int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, share)))

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_limits
from tiny_encoder import TINY

from matminer_unate.network.element_vectors import ElementVectors, write_element_vectors
from matminer_unate.network.encoder import SiteEncoder
from matminer_unate.network.weights import save_encoder


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Tests run side by side, and threads of several that share the cores wait for each other."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with threadpool_limits(1):  # of BLAS
        yield
    torch.set_num_threads(n_threads)


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weights folder of a small untrained encoder that knows the elements up to bismuth."""
    folder = tmp_path_factory.mktemp("tiny_weights")
    torch.manual_seed(0)
    counts = dict.fromkeys(range(1, 84), 100)
    save_encoder(folder, "tiny", SiteEncoder(TINY).eval(), counts, {}, "card {sha256}")
    return folder


@pytest.fixture(scope="session")
def other_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Like ``tiny_weights``, with other random numbers and another name."""
    folder = tmp_path_factory.mktemp("other_weights")
    torch.manual_seed(1)
    counts = dict.fromkeys(range(1, 84), 100)
    save_encoder(folder, "other", SiteEncoder(TINY).eval(), counts, {}, "card {sha256}")
    return folder


@pytest.fixture(scope="session")
def weights_with_elements(tiny_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``tiny_weights`` with random vectors of the elements up to bismuth."""
    folder = tmp_path_factory.mktemp("weights_with_elements") / "weights"
    shutil.copytree(tiny_weights, folder)
    known = (np.arange(119) > 0) & (np.arange(119) < 84)
    vectors = np.random.default_rng(0).normal(size=(119, TINY.latent_dim)).astype(np.float32)
    vectors[~known] = np.nan
    found = ElementVectors(vectors, 100 * known.astype(np.int64), known.astype(np.float32))
    write_element_vectors(folder, found)
    return folder
