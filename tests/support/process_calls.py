"""A program for tests/test_processes.py: what users call in worker processes, one after another.

    python tests/process_calls.py FOLDER BEFORE WAY

FOLDER holds crystals, saved models and the rows they give. The name of each call is printed before
it is made, and after a minute in it the program ends and says where it was.
"""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin

A_MINUTE = 60.0

Rows = np.ndarray
Task = Callable[[Any], Any]


# -- what runs in a worker, one crystal a call ---------------------------------------------------


def featurize(folder: Path, structure: Any) -> Any:
    from matminer_unate import UnateFeaturizer

    return UnateFeaturizer().featurize(structure)


def describe(folder: Path, structure: Any) -> Any:
    from matminer_unate import SiteDescriptorStats

    return SiteDescriptorStats().featurize(structure)


def tight_binding(folder: Path, structure: Any) -> Any:
    from matminer_unate import TightBindingStats

    return TightBindingStats().featurize(structure)


def load_and_predict(folder: Path, structure: Any) -> Any:
    from matminer_unate import UnateRegressor

    return UnateRegressor.load(folder / "regressor").predict([structure])


def load_and_predict_fine_tuned(folder: Path, structure: Any) -> Any:
    from matminer_unate import UnateFineTuneRegressor

    model = UnateFineTuneRegressor.load(folder / "fine_tuned").set_params(progress=False)
    return model.predict([structure])


TASKS = {
    "featurize": featurize,
    "site descriptors": describe,
    "tight binding": tight_binding,
    "predict": load_and_predict,
    "predict fine-tuned": load_and_predict_fine_tuned,
}


class Bound:
    """A task with its folder, which every kind of worker can be sent."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.folder = name, folder

    def __call__(self, structure: Any) -> Any:
        return np.ravel(TASKS[self.name](self.folder, structure))


class Predict:
    """A model that was loaded here, and is unpickled in the worker."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def __call__(self, structure: Any) -> Any:
        return np.ravel(self.model.predict([structure]))


# -- ways to run it -------------------------------------------------------------------------------


def in_forks(task: Task, crystals: Sequence[Any]) -> Any:
    with multiprocessing.get_context("fork").Pool(2) as pool:
        return pool.map(task, crystals)


def in_a_bare_fork(task: Task, crystals: Sequence[Any]) -> Any:
    """One child that inherits everything; nothing is pickled but the rows."""
    receiver, sender = multiprocessing.Pipe(duplex=False)
    child = os.fork()
    if child == 0:
        sender.send([task(c) for c in crystals])
        os._exit(0)
    sender.close()
    try:
        return receiver.recv()
    except EOFError:
        raise RuntimeError(f"the child ended with {os.waitpid(child, 0)[1]}") from None


def in_spawned(task: Task, crystals: Sequence[Any]) -> Any:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.map(task, crystals)


def in_threads(task: Task, crystals: Sequence[Any]) -> Any:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(task, crystals))


def in_loky(task: Task, crystals: Sequence[Any]) -> Any:
    import joblib

    return joblib.Parallel(n_jobs=2)(joblib.delayed(task)(c) for c in crystals)


def in_data_loader(task: Task, crystals: Sequence[Any]) -> Any:
    from torch.utils.data import DataLoader

    class Dataset:
        def __len__(self) -> int:
            return len(crystals)

        def __getitem__(self, k: int) -> Any:
            return task(crystals[k])

    return list(DataLoader(Dataset(), batch_size=None, num_workers=2))


def in_dask(scheduler: str) -> Callable[..., Any]:
    def run(task: Task, crystals: Sequence[Any]) -> Any:
        import dask

        delayed = [dask.delayed(task)(c, pure=False) for c in crystals]
        return dask.compute(*delayed, scheduler=scheduler, num_workers=2)

    return run


def in_dask_cluster(task: Task, crystals: Sequence[Any]) -> Any:
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=1, threads_per_worker=2, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        return client.gather(client.map(task, crystals, pure=False))


WAYS: dict[str, Callable[..., Any]] = {
    "forks": in_forks,
    "bare_fork": in_a_bare_fork,
    "spawned": in_spawned,
    "threads": in_threads,
    "loky": in_loky,
    "data_loader": in_data_loader,
    "dask_threads": in_dask("threads"),
    "dask_processes": in_dask("processes"),
    "dask_cluster": in_dask_cluster,
}


# -- matminer's own ways ---------------------------------------------------------------------------


def matminers(crystals: Sequence[Any]) -> Iterator[tuple[str, Callable[[], Any]]]:
    """matminer forks as many workers as there are cores."""
    import pandas as pd
    from matminer.featurizers.base import MultipleFeaturizer, StackedFeaturizer
    from matminer.featurizers.structure import DensityFeatures

    from matminer_unate import UnateFeaturizer

    frame = pd.DataFrame({"structure": list(crystals)})
    own = UnateFeaturizer().feature_labels()

    def several(by_entries: bool) -> Any:
        both = MultipleFeaturizer([UnateFeaturizer(), DensityFeatures()], by_entries)
        table = both.featurize_dataframe(frame, "structure", pbar=False)
        assert table["density"].gt(0).all()
        return table[own].to_numpy()

    def stacked() -> Any:
        stack = StackedFeaturizer(UnateFeaturizer(), FirstColumn(), name="first")
        return stack.featurize_many(list(crystals), pbar=False)

    yield "featurize MultipleFeaturizer, by entries", lambda: several(True)
    yield "featurize MultipleFeaturizer, by featurizers", lambda: several(False)
    yield "first StackedFeaturizer", stacked


class FirstColumn(RegressorMixin, BaseEstimator):
    """Predicts the first column."""

    def predict(self, X: Any) -> Any:
        return np.asarray(X)[:, 0]


# -- what the process did before -------------------------------------------------------------------


def nothing(folder: Path, crystals: Sequence[Any]) -> None:
    pass


def used(folder: Path, crystals: Sequence[Any]) -> None:
    for name in TASKS:
        for structure in crystals:
            Bound(name, folder)(structure)


def fitted(folder: Path, crystals: Sequence[Any]) -> None:
    fit_models(folder / "again", crystals)


def other_libraries(folder: Path, crystals: Sequence[Any]) -> None:
    """The OpenMP threads of torch, LightGBM and scikit-learn, and those of OpenBLAS."""
    import lightgbm
    import torch
    from sklearn.cluster import KMeans

    X = np.random.default_rng(0).random((4_000, 50))
    lightgbm.train({"num_threads": 2, "verbosity": -1}, lightgbm.Dataset(X, X[:, 0]), 5)
    KMeans(2, n_init=1, random_state=0).fit(X)
    _ = (torch.from_numpy(X) + 1).sum()
    _ = X.T @ X


def other_libraries_without_this_one(folder: Path, crystals: Sequence[Any]) -> None:
    """The child is the first to import the package."""
    other_libraries(folder, crystals)
    assert "matminer_unate.processes" not in sys.modules


BEFORE = {
    "nothing": nothing,
    "used": used,
    "fitted": fitted,
    "others": other_libraries,
    "others_alone": other_libraries_without_this_one,
}


# -- the program ---------------------------------------------------------------------------------


def fit_models(folder: Path, crystals: Sequence[Any]) -> None:
    """Save small models of both kinds, as users have them."""
    from matminer_unate import UnateFineTuneRegressor, UnateRegressor

    rows = [c for c in crystals for _ in range(2)]
    y = np.arange(len(rows), dtype=float)
    quick = {"tight_binding": False, "device": "cpu"}
    UnateRegressor("mp_v3", **quick, n_folds=3).fit(rows, y).save(folder / "regressor")
    tuned = UnateFineTuneRegressor(epochs=1, n_members=1, batch_size=4, progress=False, **quick)
    tuned.fit(rows, y).save(folder / "fine_tuned")


def calls(
    folder: Path, crystals: Sequence[Any], before: str, way: str
) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Names, of which the first words say what rows are expected, and calls."""
    run = WAYS[way]
    for name in TASKS:
        yield name, lambda name=name: run(Bound(name, folder), crystals)
    if before == "others_alone":
        return
    from matminer_unate import UnateFineTuneRegressor, UnateRegressor

    model = UnateRegressor.load(folder / "regressor")
    yield "predict with a model of the parent", lambda: run(Predict(model), crystals)
    tuned = UnateFineTuneRegressor.load(folder / "fine_tuned").set_params(progress=False)
    yield "predict fine-tuned with a model of the parent", lambda: run(Predict(tuned), crystals)
    if way == "bare_fork":
        yield from matminers(crystals)


def expected_rows(expected: Any, call: str) -> Rows:
    if call.startswith("first"):
        return expected["featurize"][:, :1]
    return expected[max((name for name in TASKS if call.startswith(name)), key=len)]


def main() -> None:
    # Python's own, on a fork where there are threads.
    warnings.simplefilter("ignore", DeprecationWarning)
    folder, before, way = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    from pymatgen.core import Structure

    crystals = [Structure.from_file(path) for path in sorted(folder.glob("*.json"))]
    expected = np.load(folder / "expected.npz")
    print(f"before: {before}", flush=True)
    faulthandler.dump_traceback_later(A_MINUTE, exit=True)
    BEFORE[before](folder, crystals)
    for name, call in calls(folder, crystals, before, way):
        print(f"{way}: {name}", flush=True)
        faulthandler.dump_traceback_later(A_MINUTE, exit=True)
        rows = np.array([np.ravel(row) for row in call()])
        np.testing.assert_allclose(rows, expected_rows(expected, name), atol=2e-4, rtol=1e-4)
    faulthandler.cancel_dump_traceback_later()
    print("done", flush=True)


if __name__ == "__main__":
    main()
