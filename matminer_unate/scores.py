"""``score`` of estimators on structures: of the rows that have a prediction and are known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from matminer_unate.errors import InputError
from matminer_unate.targets import check_order, labels_of, read_row_weights, read_true_values


class RegressorScore:
    """Comes before scikit-learn's ``RegressorMixin``, whose score takes no NaN."""

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """R² of the predictions, 1 − SS_residual/SS_total; the mean over several targets.

        Parameters
        ----------
        X : as for ``predict``
            With ``on_error="nan"``, rows without a prediction are left out, of which ``predict``
            warns.
        y : (n_rows,), or (n_rows, n_targets)
            Of several targets, NaN is one that is not known.
        sample_weight : (n_rows,), optional

        Raises
        ------
        InputError
            Lengths or orders of rows differ, a target is not finite, or no target has two rows
            that count.
        """
        from sklearn.metrics import r2_score

        predictions: Any = self.predict(X)  # type: ignore[attr-defined]
        predictions = predictions.reshape(len(predictions), -1)
        index = labels_of(X)
        true = read_true_values(y, len(predictions), index)
        if true.shape != predictions.shape:
            n, given = predictions.shape[1], true.shape[1]
            raise InputError(f"the model predicts {n} target(s) a row, y has {given}")
        weights = read_row_weights(sample_weight, len(true), index)
        counts = np.ones(len(true)) if weights is None else weights
        found = []
        for own, theirs in zip(true.T, predictions.T, strict=True):
            known = np.isfinite(own) & np.isfinite(theirs) & (counts > 0)
            if known.sum() > 1:
                found.append(r2_score(own[known], theirs[known], sample_weight=counts[known]))
        if not found:
            raise InputError("R² needs at least two rows with a target and a prediction")
        return float(np.mean(found))


class ClassifierScore:
    """Comes before scikit-learn's ``ClassifierMixin``, whose score takes no NaN."""

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Share of the rows whose most probable class is theirs.

        Parameters
        ----------
        X : as for ``predict``
            With ``on_error="nan"``, rows without a prediction are left out, of which ``predict``
            warns.
        y : (n_rows,)
            Labels.
        sample_weight : (n_rows,), optional

        Raises
        ------
        InputError
            Lengths or orders of rows differ, a label is missing, or no row counts.
        """
        predictions: Any = self.predict(X)  # type: ignore[attr-defined]
        index, labels = labels_of(X), pd.Series(np.ravel(y), dtype=object)
        if len(labels) != len(predictions):
            raise InputError(
                f"{len(predictions)} structures need as many labels, got {len(labels)}"
            )
        check_order(y, index, "y")
        if labels.isna().any():
            raise InputError(f"{labels.isna().sum()} labels are missing; drop these rows")
        weights = read_row_weights(sample_weight, len(labels), index)
        counts = np.ones(len(labels)) if weights is None else weights
        known = pd.notna(predictions) & (counts > 0)
        if not known.any():
            raise InputError("no row has a prediction")
        right = np.array([a == b for a, b in zip(predictions, labels, strict=True)], dtype=bool)
        return float(np.average(right[known], weights=counts[known]))
