"""A prediction → what each site of the crystal contributes to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from matminer_unate.errors import InputError
from matminer_unate.explanation.site_columns import SiteColumns, recipe_columns, unate_columns
from matminer_unate.featurizers.unate import UnateFeaturizer

N_STEPS = 50
"""On the way from the reference to the crystal."""

AT_ONCE = 2_000
"""Rows of columns that a model is asked for at once."""

Values = NDArray[np.float64]


@dataclass(frozen=True)
class SiteContributions:
    """A prediction, taken apart: ``base + sites.sum() + rest`` is ``prediction``.

    Attributes
    ----------
    structure
        As it was given. Of a disordered one, where the model takes
        :func:`~matminer_unate.ordered_structure` in its place, that.
    sites : (n_sites,)
        What each site contributes, in the unit of the target and the order of the structure.
    rest : float
        What is of no site: the contribution of all columns that are not means over the sites.
    base : float
        Prediction for the reference.
    prediction : float
    """

    structure: Any
    sites: Values
    rest: float
    base: float
    prediction: float


def site_contributions(
    model: Any,
    structure: Any,
    reference: Any = None,
    featurizer: UnateFeaturizer | None = None,
    n_steps: int = N_STEPS,
) -> SiteContributions:
    r"""What each site contributes to the prediction of a model.

    Columns that are means over the sites, :math:`x = \frac{1}{n} \sum_i v_i`, are a sum of what the
    sites bring. The way from a reference :math:`m` to the crystal leads through
    :math:`m + t (x - m)`; on it, site :math:`i` brings :math:`t (v_i - m) / n`, and what the
    prediction changes by, step for step, as these are added, is what the site contributes. These
    are the values of Aumann and Shapley (1974), known for networks as integrated gradients:
    :math:`\frac{1}{n} (v_i - m) \cdot \int_0^1 \nabla f(m + t (x - m))\, \mathrm{d}t`. All other
    columns go the same way, as one more contributor, the rest.

    Parameters
    ----------
    model : estimator
        A pipeline that begins with a :class:`~matminer_unate.UnateFeaturizer`; any fitted regressor
        on the columns of one; or a :class:`~matminer_unate.UnateRegressor` with one target and
        without a network.
    structure : structure
    reference : list, Series or array of structures; or (n_rows, n_columns) array or DataFrame
        Training structures, or their columns; their mean is the reference. Of a ``UnateRegressor``
        it is that of its own training rows.
    featurizer : UnateFeaturizer, optional
        What has made the columns, where the model is no pipeline. With ``"mean"`` among its
        poolings.
    n_steps : int
        From the reference to the crystal.

    Returns
    -------
    SiteContributions

    Raises
    ------
    InputError
        The model, reference and featurizer do not go together, there are no means over sites, or
        the structure is disordered and its sites are averaged.
    StructureError
        The structure is unusable.

    Notes
    -----
    * Whatever the model is, base, contributions and rest sum to the prediction, up to rounding.
    * For linear models, each contribution is exact: :math:`w \cdot (v_i - m) / n`, with weights w
      in the units of the columns. For smooth ones, as those with kernels, they converge with the
      square of the number of steps; for trees, whose predictions jump, only with the number.
    * They are the same for every cell of the crystal, but for the factor of the sites: in a
      supercell twice as large, each contributes half. Equal sites contribute equally.
    * To leave out one site after another (occlusion: Zeiler and Fergus, ECCV 2014,
      arXiv:1311.2901) answers another question, and its answers do not sum to the prediction.
    * A contribution is not an effect: it tells how the model comes to its prediction, by columns
      in which the surroundings of a site speak as well as its element. Of a ``UnateRegressor``,
      the means tell part and the rest the other; where the rest is large, sites explain little.

    References
    ----------
    R. J. Aumann and L. S. Shapley, Values of Non-Atomic Games (Princeton University Press, 1974).
    M. Sundararajan, A. Taly, Q. Yan, Axiomatic attribution for deep networks, ICML 2017,
    arXiv:1703.01365.

    Examples
    --------
    >>> from sklearn.linear_model import RidgeCV
    >>> from sklearn.pipeline import make_pipeline
    >>> from matminer_unate import UnateFeaturizer, site_contributions
    >>> from matminer_unate.datasets import load_semiconductors
    >>> df = load_semiconductors().head(40)
    >>> model = make_pipeline(UnateFeaturizer(pooling="mean"), RidgeCV())
    >>> model = model.fit(df["structure"], df["gap_ev"])
    >>> found = site_contributions(model, df["structure"][0], reference=df["structure"])
    """
    if not isinstance(n_steps, int) or n_steps < 1:
        raise InputError(f"n_steps is a whole number above 0, got {n_steps!r}")
    columns, predict = _ready(model, structure, reference, featurizer)
    players, member, counts = columns.players()
    nodes, found = along_the_diagonal(predict, columns.reference, players, n_steps)
    return SiteContributions(
        columns.structure, (found[:-1] / counts)[member], float(found[-1]), nodes[0], nodes[1]
    )


def along_the_diagonal(
    predict: Callable[[Values], Values], start: Values, steps: Values, n_steps: int
) -> tuple[tuple[float, float], Values]:
    """What each of several contributors changes a prediction by, on the way from start to end.

    In each of ``n_steps``, every contributor goes that part of its own way, one after another; in
    the order given and, once more, in the reverse one, of which the mean is taken.

    Parameters
    ----------
    predict : callable
        (n, n_columns) → (n,)
    start : (n_columns,)
    steps : (n_contributors, n_columns)
        The whole way of each.
    n_steps : int

    Returns
    -------
    ends : (float, float)
        Predictions at the start and at the end.
    changes : (n_contributors,)
        They sum to the difference of the ends.
    """
    n, whole = len(steps), steps.sum(axis=0)
    shares = np.arange(n_steps + 1)[:, None] / n_steps
    at_nodes = _in_parts(predict, start + shares * whole)
    changes = np.zeros(n)
    for order in (np.arange(n), np.arange(n)[::-1]):
        within = np.cumsum(steps[order], axis=0)[:-1] / n_steps
        for k in range(n_steps):
            between = _in_parts(predict, start + shares[k] * whole + within)
            path = np.concatenate([at_nodes[[k]], between, at_nodes[[k + 1]]])
            changes[order] += np.diff(path) / 2
    return (float(at_nodes[0]), float(at_nodes[-1])), changes


def _in_parts(predict: Callable[[Values], Values], rows: Values) -> Values:
    parts = [predict(rows[k : k + AT_ONCE]) for k in range(0, len(rows), AT_ONCE)]
    return np.concatenate([np.empty(0), *parts])


def _ready(
    model: Any, structure: Any, reference: Any, featurizer: UnateFeaturizer | None
) -> tuple[SiteColumns, Callable[[Values], Values]]:
    """The columns of the structure and its sites, and what predicts from columns."""
    from sklearn.pipeline import Pipeline

    from matminer_unate.finetuning.fine_tune_regressor import UnateFineTuneRegressor
    from matminer_unate.regressors.unate_classifier import UnateClassifier
    from matminer_unate.regressors.unate_regressor import UnateRegressor

    if isinstance(model, UnateRegressor):
        return recipe_columns(model, structure)
    if isinstance(model, Pipeline) and isinstance(model[0], UnateFeaturizer):
        featurizer, model = model[0], model[1:]
    if isinstance(model, UnateClassifier | UnateFineTuneRegressor):
        raise InputError(
            f"there are no site contributions of a {type(model).__name__}; fit a UnateRegressor"
        )
    if featurizer is None:
        raise InputError(
            "site contributions need the featurizer that has made the model's columns: pass "
            "featurizer=, or a pipeline that begins with a UnateFeaturizer"
        )
    names = featurizer.feature_labels()

    def predict(rows: Values) -> Values:
        given = pd.DataFrame(rows, columns=names) if hasattr(model, "feature_names_in_") else rows
        found = np.asarray(model.predict(given), dtype=np.float64)
        if found.shape != (len(rows),):
            raise InputError(f"the model predicts {found.shape[1:]} values a row, it must be one")
        return found

    return unate_columns(featurizer, structure, reference), predict
