"""Fitted models of several targets → what UnateRegressor says of its fit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from matminer_unate.regressors.target_models import BlockLayout, Blocks, FittedTarget

PART_NAMES = ("kernel ridge", "trees with its prediction", "trees on its residual")


class TargetAttributes:
    """Fitted attributes, as one value or as one a target."""

    targets_: list[FittedTarget]
    target_names_: list[str] | None
    feature_names_: NDArray[Any]
    layout_: BlockLayout

    def importances(self) -> pd.Series | pd.DataFrame:
        """Importance of every column by name, the largest first; they sum to 1.

        Gain of the trees, and squared sensitivity of the kernel ridge prediction, in their shares
        of the blend, of the model with all columns. Columns that say the same share their
        importance. With several targets, a DataFrame with a column for each, ordered by their mean.
        """
        check_is_fitted(self, "targets_")
        mean = pd.Series(self.feature_importances_, self.feature_names_, name="importance")
        mean = mean.sort_values(ascending=False, kind="stable")
        if not self._several:
            return mean
        values = np.column_stack([t.importances for t in self.targets_])
        frame = pd.DataFrame(values, self.feature_names_, self.target_labels_)
        return frame.loc[mean.index]

    @property
    def feature_importances_(self) -> NDArray[np.float64]:
        """Importance of every column, (n_columns,)."""
        check_is_fitted(self, "targets_")
        found = np.mean([target.importances for target in self.targets_], axis=0)
        return np.asarray(found)

    @property
    def blend_(self) -> pd.Series | pd.DataFrame:
        """Shares of the parts in the prediction."""
        check_is_fitted(self, "targets_")
        shares = [target.models[0].blend.shares for target in self.targets_]
        if not self._several:
            return pd.Series(shares[0], list(PART_NAMES), name="share")
        return pd.DataFrame(np.column_stack(shares), list(PART_NAMES), self.target_labels_)

    @property
    def held_out_predictions_(self) -> NDArray[np.float64]:
        """Of the training rows by models that have not seen their formulas."""
        return np.asarray(self._of_targets(lambda target: target.held_out))

    @property
    def held_out_error_(self) -> Any:
        """Mean absolute error of the held-out predictions."""
        return self._of_targets(lambda target: target.held_out_error)

    @property
    def held_out_error_without_(self) -> dict[str, Any]:
        """The same of the models that do without a block of columns."""
        check_is_fitted(self, "targets_")

        def error_without(blocks: Blocks) -> Callable[[FittedTarget], float]:
            return lambda target: target.model_for(blocks).held_out_error

        return {
            ", ".join(sorted(blocks)): self._of_targets(error_without(blocks))
            for blocks in self.layout_.variants()
        }

    @property
    def minimum_(self) -> Any:
        """Where predictions are cut off."""
        return self._of_targets(lambda target: target.minimum)

    @property
    def interval_minimum_(self) -> Any:
        """Where the ends of intervals are cut off."""
        return self._of_targets(lambda target: target.interval_minimum)

    @property
    def _several(self) -> bool:
        return len(self.targets_) > 1

    def _of_targets(self, of: Callable[[FittedTarget], Any]) -> Any:
        """One value, or an array whose last axis is the targets."""
        check_is_fitted(self, "targets_")
        found = [of(target) for target in self.targets_]
        return np.stack(found, axis=-1) if self._several else found[0]

    @property
    def target_labels_(self) -> list[Any]:
        """Names of the targets, or their numbers."""
        check_is_fitted(self, "targets_")
        return self.target_names_ or list(range(len(self.targets_)))
