"""``score`` of estimators on structures: of the rows that have a prediction and are known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from matminer_unate.errors import InputError
from matminer_unate.targets import labels_of, read_labels, read_row_weights, read_true_values


class RegressorScore:
    """Comes before scikit-learn's ``RegressorMixin``, whose score takes no NaN."""

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """R² of the predictions, 1 − SS_residual/SS_total.

        Of several targets, the mean over those of which two rows count.

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

        true = read_true_values(y, len(X), labels_of(X))
        counts = _counts(X, sample_weight)
        predictions: Any = self.predict(X)  # type: ignore[attr-defined]
        predictions = predictions[:, None] if predictions.ndim == 1 else predictions
        if true.shape != predictions.shape:
            n, given = predictions.shape[1], true.shape[1]
            raise InputError(f"the model predicts {n} target(s) a row, y has {given}")
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
            Lengths or orders of rows differ, a label is missing or of another kind than those of
            the fit, or no row counts.
        """
        labels = read_labels(y, len(X), labels_of(X))
        counts = _counts(X, sample_weight)
        predictions: Any = self.predict(X)  # type: ignore[attr-defined]
        known = pd.notna(predictions) & (counts > 0)
        if not known.any():
            raise InputError("no row has a prediction")
        predicted = predictions[known].tolist()
        true = labels[known].tolist()
        of_strings = isinstance(predicted[0], str)
        odd = next((label for label in true if isinstance(label, str) != of_strings), None)
        if odd is not None:
            raise InputError(
                f"the model's classes are such as {predicted[0]!r}, and y has {odd!r}; give labels "
                "of that kind"
            )
        right = [a == b for a, b in zip(predicted, true, strict=True)]
        return float(np.average(right, weights=counts[known]))


def _counts(X: Any, sample_weight: Any) -> NDArray[np.float64]:
    """What each row counts, (n_rows,)."""
    weights = read_row_weights(sample_weight, len(X), labels_of(X))
    return np.ones(len(X)) if weights is None else weights
