"""A structure → its columns, and what each site brings to those that are means over the sites."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from matminer_unate.crystals.checked import CheckedCrystal
from matminer_unate.crystals.ordering import Disorder, ordered_structure
from matminer_unate.errors import InputError
from matminer_unate.featurizers.inputs import entries_of
from matminer_unate.featurizers.pooling import check_pooling
from matminer_unate.featurizers.unate import UnateFeaturizer, prepare
from matminer_unate.network.encoding import encode
from matminer_unate.network.weights import weights_config
from matminer_unate.regressors.unate_regressor import UnateRegressor

SAME_SITE = 1e-3
"""Of 1 plus the value. Sites that differ by less in every column are taken together."""

Values = NDArray[np.float64]


@dataclass(frozen=True)
class SiteColumns:
    """The columns of a crystal, of its sites, and of the reference.

    Attributes
    ----------
    structure : structure
        Whose sites they are: as it was given or, of a disordered one, the ordered one in its place.
    crystal : (n_columns,)
    sites : (n_sites, n_columns)
        NaN in columns that are not means over the sites.
    reference : (n_columns,)
    """

    structure: Any
    crystal: Values
    sites: Values
    reference: Values

    def players(self) -> tuple[Values, NDArray[np.int64], NDArray[np.int64]]:
        """What brings the columns from the reference to the crystal.

        Returns
        -------
        ways : (n_kinds + 1, n_columns)
            Of each kind of sites, and of all that is no mean over sites; they sum to the whole way.
        kind : (n_sites,)
        counts : (n_kinds,)
            Sites of each kind.
        """
        of_sites = np.isfinite(self.sites).all(axis=0)
        sites = np.where(of_sites, self.sites, 0.0)
        kind = _kinds(sites)
        counts = np.bincount(kind)
        ways = np.zeros((len(counts), len(self.crystal)))
        np.add.at(ways, kind, np.where(of_sites, sites - self.reference, 0.0) / len(sites))
        # Rounding of the columns, too, is of no site.
        rest = self.crystal - self.reference - ways.sum(axis=0)
        return np.vstack([ways, rest]), kind, counts


def _kinds(sites: Values) -> NDArray[np.int64]:
    """Number of the kind of each site, (n_sites,): of equal ones it is the same."""
    kind = np.full(len(sites), -1)
    while (left := np.flatnonzero(kind < 0)).size:
        apart = np.abs(sites[left] - sites[left[0]]) / (1 + np.abs(sites[left[0]]))
        kind[left[apart.max(axis=1) < SAME_SITE]] = kind.max() + 1
    return kind


def _of_whole_atoms(structure: Any, disorder: Disorder) -> Any:
    """The structure, or the ordered one that stands for it."""
    if not CheckedCrystal.of(structure, disorder).resolution:
        return structure
    if disorder == "average":
        raise InputError(
            "the sites of this structure are averages, contributions are of whole atoms; take "
            "disorder='ordered' in the featurizer and fit again"
        )
    return ordered_structure(structure)


def unate_columns(featurizer: UnateFeaturizer, structure: Any, reference: Any) -> SiteColumns:
    """Of a featurizer that pools by the mean, among others.

    Parameters
    ----------
    featurizer : UnateFeaturizer
    structure : structure
    reference : structures, or (n_rows, n_columns)

    Raises
    ------
    InputError
        It does not pool by the mean, the reference has other columns or no usable row, or the
        structure is disordered and its sites are averaged.
    """
    pooling, names = check_pooling(featurizer.pooling), featurizer.feature_labels()
    if "mean" not in pooling:
        raise InputError(
            f"pooling={featurizer.pooling!r} has no means over sites, which contributions are of; "
            "fit a model with 'mean' among the poolings"
        )
    given = reference
    if isinstance(given, pd.DataFrame) and given.shape[1] > 1:
        lacking = [name for name in names if name not in given.columns]
        if lacking:
            raise InputError(
                f"the reference has no column {lacking[0]!r}, which the model has; give it the "
                "columns of the fit, or the training structures"
            )
        given = given[names].to_numpy()
    if not (isinstance(given, np.ndarray) and given.ndim == 2 and given.shape[1] > 1):
        if given is None:
            raise InputError("reference= needs the training structures of the model, or columns")
        given = featurizer.transform(entries_of(given))
    if given.shape[1] != len(names):
        raise InputError(f"the reference has {given.shape[1]} columns, the model {len(names)}")
    given = given[np.isfinite(given).all(axis=1)]  # on_error="nan" leaves rows of NaN
    if not len(given):
        raise InputError("no row of the reference is usable; give it the training structures")
    whole = _of_whole_atoms(structure, featurizer.disorder)
    (crystal,) = np.asarray(featurizer.transform([structure]), dtype=np.float64)
    vectors = learned_of_sites(featurizer, whole)
    sites = np.full((len(vectors), len(names)), np.nan)
    start = pooling.index("mean") * vectors.shape[1]
    sites[:, start : start + vectors.shape[1]] = vectors
    return SiteColumns(whole, crystal, sites, np.mean(given, axis=0, dtype=np.float64))


def learned_of_sites(featurizer: UnateFeaturizer, structure: Any) -> NDArray[np.float32]:
    """The site vectors that are pooled into columns, (n_sites, n_components)."""
    weights = featurizer.weights
    graph = prepare(structure, weights_config(weights)).graph
    given = weights, featurizer.device, featurizer.batch_size
    (batch,) = encode([(0, graph)], *given, "columns")
    return batch.sites


def recipe_columns(
    model: UnateRegressor, structure: Any
) -> tuple[SiteColumns, Callable[[Values], Values]]:
    """Of a ``UnateRegressor``: all means over sites among its columns; and what predicts.

    Raises
    ------
    InputError
        It has several targets or a network.
    """
    from matminer_unate.featurizers.unate_sites import UnateSiteFeaturizer
    from matminer_unate.physics.elements import magpie_property
    from matminer_unate.physics.magpie import MAGPIE

    state, recipe = model._state, model._recipe()
    model._check_unchanged()
    if len(state.targets) > 1 or state.targets[0].models[0].network is not None:
        raise InputError(
            "contributions of sites are of one target and of columns alone; fit one target, with "
            "network=False"
        )
    (target,) = state.targets
    whole = _of_whole_atoms(structure, model.disorder)
    table = model.featurize([structure])
    crystal = table.iloc[0, 1:].to_numpy(np.float64)
    lacking = frozenset(state.layout.lacking(crystal[None])[0])
    fitted = target.model_for(lacking)
    kept = state.layout.kept(fitted.without)
    groups = ["physics", "fingerprint"]
    if recipe.tight_binding and not fitted.without:
        groups.append("tight-binding")
    described = UnateSiteFeaturizer(columns=groups).featurize_sites(whole)
    found = {f"{name}_mean": described[name].to_numpy() for name in described.columns[3:]}
    # Not those of a graph, in which species that the weights have not seen are masked.
    numbers = CheckedCrystal.of(whole).atomic_numbers
    found |= {f"MagpieData mean {name}": magpie_property(name)[numbers] for name in MAGPIE}
    for weights in recipe.weights:
        featurizer = recipe._learned(weights)
        vectors, config = learned_of_sites(featurizer, whole), weights_config(weights)
        names = [f"unate_{config.name}_mean_{label}" for label in config.site_labels]
        found |= dict(zip(names, vectors.T, strict=True))
    nothing = np.full(len(numbers), np.nan)
    sites = np.column_stack([found.get(name, nothing) for name in state.feature_names])
    reference = np.zeros(len(kept))
    reference[kept] = fitted.kernel.mean

    def predict(rows: Values) -> Values:
        return fitted.predict(rows, state.layout, target.minimum)[0]

    some = np.where(kept, crystal, 0.0)
    return SiteColumns(whole, some, np.where(kept, sites, np.nan), reference), predict
