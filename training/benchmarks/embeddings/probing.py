"""Probes of element and site embeddings, and the lookups they are held against."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from functools import lru_cache
from importlib import import_module
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pymatgen.core import Element
from sklearn.manifold import TSNE
from sklearn.preprocessing import StandardScaler

from benchmarks.embeddings.element_means import ElementMeans, element_frame
from benchmarks.embeddings.periodic_table import (
    ELEMENT_CLASSES,
    ELEMENT_PROPERTIES,
    element_class,
    element_property,
    family,
)
from benchmarks.embeddings.probe_scores import (
    CLASSIFIERS,
    Floats,
    Score,
    cross_validate,
    purity,
    repeated_accuracy,
    repeated_scores,
    ridge,
    ridge_on_sites,
)
from benchmarks.embeddings.probed_sites import PROBED_TARGETS, Sites, centred
from corpora.element_tables import MAGPIE, element_table
from matminer_unate.network.weights import WeightsConfig

N_RANDOM_TABLES = 20

FEWEST_FORMULAS = 5
"""For as many folds, and for an interval."""

WITHIN = "variance within elements"

MAGPIE_NAMES = {
    "electronegativity": "Electronegativity",
    "covalent radius": "CovalentRadius",
    "melting point": "MeltingT",
    "group": "Column",
    "period": "Row",
}
"""Targets that Magpie's vectors hold, by their names there."""

Row = dict[str, Any]


def describe(level: str, target: str, representation: str, dimension: int) -> Row:
    """What a row of the result is about."""
    return {
        "level": level,
        "target": target,
        "centred": False,
        "representation": representation,
        "dimension": dimension,
    }


def element_vectors(means: ElementMeans, config: WeightsConfig) -> Floats:
    """The element table as it is exported, (n_elements, d)."""
    return element_frame(means, config).filter(like="z_").to_numpy(np.float64)


@lru_cache(maxsize=1)
def magpie_table() -> Floats:
    """Magpie's 22 properties by atomic number; a second to read."""
    return element_table("magpie")


def magpie_without(target: str, elements: NDArray[np.int64]) -> Floats:
    """Magpie's element vectors, the target left out where it is one of theirs."""
    keep = [name != MAGPIE_NAMES.get(target) for name in MAGPIE]
    return magpie_table()[elements][:, keep]


def random_table(elements: NDArray[np.int64], dimension: int, seed: int) -> Floats:
    """One Gaussian vector an element, (len(elements), dimension)."""
    return np.random.default_rng(seed).standard_normal((119, dimension))[elements]


def element_probes(
    tables: dict[str, Floats], elements: NDArray[np.int64], n_repeats: int
) -> Iterator[Row]:
    """Ridge for properties and classifiers for classes, elements as samples.

    Parameters
    ----------
    tables : dict of str to (n_elements, d)
    elements : (n_elements,)
        Their atomic numbers.
    n_repeats : int
        Of the five folds. The random table is another one in each repeat.
    """
    dimension = next(iter(tables.values())).shape[1]
    for target in (*ELEMENT_PROPERTIES, *ELEMENT_CLASSES[:3]):
        candidates: dict[str, list[Floats]] = {
            **{name: [table] * n_repeats for name, table in tables.items()},
            "magpie": [magpie_without(target, elements)] * n_repeats,
            "random": [random_table(elements, dimension, seed) for seed in range(n_repeats)],
        }
        if target in ELEMENT_PROPERTIES:
            y = np.array([element_property(target, int(z)) for z in elements])
        else:
            y = np.array([element_class(target, int(z)) for z in elements])
        known = np.array([v == v for v in y])
        for name, repeated in candidates.items():
            found: dict[tuple[str, str], Score] = {}
            X = [table[known] for table in repeated]
            if target in ELEMENT_PROPERTIES:
                scores = repeated_scores(y[known], cross_validate(X, y[known], ridge))
                found = {("ridge", metric): score for metric, score in scores.items()}
            else:
                for probe, make in CLASSIFIERS.items():
                    score = repeated_accuracy(y, cross_validate(X, y, make))
                    found[probe, "accuracy"] = score
            for (probe, metric), score in found.items():
                about = describe("element", target, name, X[0].shape[1])
                yield about | {"probe": probe, "metric": metric, "n": known.sum()} | score


def site_probes(sites: dict[str, Floats], sample: Sites) -> Iterator[Row]:
    """Ridge from site vectors to site targets, raw and centred within elements.

    Parameters
    ----------
    sites : dict of str to (n_sites, d)
    sample : Sites
    """
    dimension = next(iter(sites.values())).shape[1]
    for name, vectors in {**sites, **lookups(sample.z, dimension)}.items():
        for target in PROBED_TARGETS:
            known = np.isfinite(sample.targets[target])
            for within in (False, True):
                X, y, use = vectors, sample.targets[target], known
                if within:
                    X, y, use = centred(vectors, y, sample.z, known & ~sample.held_out, known)
                fit, score = use & ~sample.held_out, use & sample.held_out
                if name in ("magpie", "random") and within:
                    continue  # the same vector for every site of an element: nothing is left
                formulas = sample.formula[fit], sample.formula[score]
                if min(len(set(part)) for part in formulas) < FEWEST_FORMULAS:
                    print(f"{name}, {target}: too few formulas; raise --site-crystals", flush=True)
                    continue
                found = ridge_on_sites((X[fit], X[score]), (y[fit], y[score]), formulas)
                for metric, values in found.items():
                    about = describe("site", target, name, vectors.shape[1]) | {"centred": within}
                    yield about | {"probe": "ridge", "metric": metric, "n": score.sum()} | values


def lookups(z: NDArray[np.int64], dimension: int) -> dict[str, Floats]:
    """The controls that know nothing but the element."""
    return {"magpie": magpie_table()[z], "random": random_table(z, dimension, 0)}


def neighbourhoods(
    name: str,
    tables: dict[str, Floats],
    elements: NDArray[np.int64],
    sites: dict[str, Floats],
    sample: Sites,
) -> tuple[list[Row], pd.DataFrame]:
    """Purity of neighbourhoods by chemical class, and maps of the embeddings called ``name``."""
    chosen = sample.few_of_each()
    some = sample.z[chosen]
    dimension = sites[name].shape[1]
    levels = {
        "element": (elements, {**tables, **lookups(elements, dimension)}),
        "site": (some, {k: v[chosen] for k, v in sites.items()} | lookups(some, dimension)),
    }
    rows: list[Row] = []
    maps = []
    for level, (z, vectors) in levels.items():
        for target in ("group", "block", "family"):
            labels = np.array([element_class(target, int(n)) for n in z])
            by_chance = [
                purity(random_table(z, dimension, seed), labels, z)
                for seed in range(N_RANDOM_TABLES)
            ]
            values = {k: {"value": purity(X, labels, z)} for k, X in vectors.items()}
            values["random"] = {"value": float(np.mean(by_chance)), "sd": float(np.std(by_chance))}
            for representation, value in values.items():
                about = describe(level, target, representation, vectors[representation].shape[1])
                about |= {"probe": "5-NN", "metric": "purity", "n": len(z)}
                rows.append(about | value)
        maps += [embedding_map(vectors[name], z, level, method) for method in map_methods()]
    return rows, pd.concat(maps, ignore_index=True)


def map_methods() -> list[str]:
    """Ways to draw a map; UMAP only where it is installed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of its optional parts
            import_module("umap")
    except ImportError:
        print("no UMAP maps: pip install umap-learn")
        return ["t-SNE"]
    return ["t-SNE", "UMAP"]


def embedding_map(X: Floats, z: NDArray[np.int64], level: str, method: str) -> pd.DataFrame:
    """Two coordinates for each vector (n, d), with symbol and family."""
    X = StandardScaler().fit_transform(X)
    # As many neighbours as a chemical family has elements; more where there are many sites.
    n_neighbours = min(10 if level == "element" else 30, (len(X) - 1) // 3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one thread, because the seed is given
        if method == "UMAP":
            options = {"n_neighbors": n_neighbours, "min_dist": 0.3, "random_state": 0}
            maker = import_module("umap").UMAP(**options)
        else:
            maker = TSNE(perplexity=n_neighbours, init="pca", random_state=0)
        x, y = maker.fit_transform(X).T
    return pd.DataFrame(
        {
            "level": level,
            "method": method,
            "symbol": [Element.from_Z(int(n)).symbol for n in z],
            "family": [family(int(n)) for n in z],
            "x": x,
            "y": y,
        }
    )


def is_input(target: str, representation: str, config: WeightsConfig) -> str:
    """Whether a representation was given what it is asked for."""
    n_properties = config.encoder.n_properties
    network = representation in (config.name, "untrained")
    if target in PROBED_TARGETS:
        # The edges hold all distances.
        return "implied" if network and target != "oxidation state" else "no"
    if representation == "magpie":
        return "implied" if target in ELEMENT_CLASSES else "no"
    if not network or target == WITHIN or n_properties == 0:
        return "no"
    if target == "first ionisation energy":
        return "yes" if n_properties > len(MAGPIE) else "no"
    return "yes" if target in MAGPIE_NAMES else "implied"


def is_pretext(target: str, config: WeightsConfig) -> str:
    """Whether pretraining asked for the target, something ``similar``, or neither."""
    losses = config.training.get("config", {}).get("weights", {})
    if target in PROBED_TARGETS:
        if losses.get("physics", 0) <= 0:
            return "no"
        return "yes" if target == "nearest-neighbour distance" else "similar"
    if target == WITHIN:
        return "no"
    if losses.get("properties", 0) > 0:
        return is_input(target, config.name, config).replace("implied", "similar")
    return "similar" if losses.get("node", 0) > 0 else "no"
