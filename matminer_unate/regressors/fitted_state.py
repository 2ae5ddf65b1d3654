"""What a fit of UnateRegressor leaves, and what the estimator says of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from matminer_unate.regressors.target_models import FittedTarget, Variants
from matminer_unate.regressors.training_rows import BlockLayout, Blocks
from matminer_unate.transforms import TRANSFORMS

FOREST_PARTS = ("trees with its prediction", "trees on its residual")
PART_NAMES = (
    *(f"kernel ridge, {name}" for name in TRANSFORMS),
    *FOREST_PARTS,
    *(f"{part}, transformed" for part in FOREST_PARTS),
    "fine-tuned network",
)


Target = TypeVar("Target", bound=Variants[Any])


@dataclass(frozen=True)
class FittedState(Generic[Target]):
    """All that ``fit`` learns: what is saved, loaded and predicted with.

    Attributes
    ----------
    targets : list of Variants
    target_names : list of str or None
    layout : BlockLayout
    feature_names : (n_columns,) array of str
    n_rows : int
        Training rows used.
    seed : int
    weights_sha256 : list of str
        Checksums of the weights that the learned columns are from.
    """

    targets: list[Target]
    target_names: list[str] | None
    layout: BlockLayout
    feature_names: NDArray[Any]
    n_rows: int
    seed: int
    weights_sha256: list[str]

    @property
    def labels(self) -> list[Any]:
        """Names of the targets, or their numbers."""
        return self.target_names or list(range(len(self.targets)))

    def of_targets(self, of: Callable[[Target], Any]) -> Any:
        """One value, or an array whose last axis is the targets."""
        found = [of(target) for target in self.targets]
        return np.stack(found, axis=-1) if len(found) > 1 else found[0]

    def importances(self) -> NDArray[np.float64]:
        """Of every column, the mean over the targets; (n_columns,)."""
        return np.asarray(np.mean([target.importances for target in self.targets], axis=0))


class FittedAttributes(Generic[Target]):
    """Attributes of a fitted estimator, as one value or as one a target."""

    fitted_: FittedState[Target]

    def importances(self) -> pd.Series | pd.DataFrame:
        """Importance of every column by name, the largest first; they sum to 1.

        Gain of the trees, and squared sensitivity of the kernel ridge prediction, in their shares
        of the blend, of the model with all columns. Columns that say the same share their
        importance, and how they do hangs on the rows: with 240 of 300 moduli, another choice of
        rows moved a third of it from one block of columns to others. With several targets, a
        DataFrame with a column for each, ordered by their mean.
        """
        state = self._state
        mean = pd.Series(state.importances(), state.feature_names, name="importance")
        mean = mean.sort_values(ascending=False, kind="stable")
        if len(state.targets) == 1:
            return mean
        values = state.of_targets(lambda target: target.importances)
        return pd.DataFrame(values, state.feature_names, state.labels).loc[mean.index]

    @property
    def feature_importances_(self) -> NDArray[np.float64]:
        """Importance of every column, (n_columns,)."""
        return self._state.importances()

    @property
    def held_out_predictions_(self) -> NDArray[np.float64]:
        """Of the training rows by models that have not seen their groups."""
        return np.asarray(self._state.of_targets(lambda target: target.held_out))

    @property
    def held_out_error_(self) -> Any:
        """Error of the held-out predictions."""
        return self._state.of_targets(lambda target: target.held_out_error)

    @property
    def held_out_error_without_(self) -> dict[str, Any]:
        """The same of the models that do without a block of columns."""

        def error_without(blocks: Blocks) -> Callable[[Target], float]:
            return lambda target: float(target.model_for(blocks).held_out_error)

        return {
            ", ".join(sorted(blocks)): self._state.of_targets(error_without(blocks))
            for blocks in self._state.layout.variants()
        }

    @property
    def feature_names_(self) -> NDArray[Any]:
        return self._state.feature_names

    @property
    def n_rows_(self) -> int:
        """Training rows used."""
        return self._state.n_rows

    @property
    def seed_(self) -> int:
        return self._state.seed

    @property
    def _state(self) -> FittedState[Target]:
        check_is_fitted(self, "fitted_")
        return self.fitted_


class RegressorAttributes(FittedAttributes[FittedTarget]):
    """And those of a regressor."""

    @property
    def blend_(self) -> pd.Series | pd.DataFrame:
        """Shares of the parts in the prediction."""
        found = pd.DataFrame(0.0, list(PART_NAMES), self._state.labels)
        for label, target in zip(self._state.labels, self._state.targets, strict=True):
            blend = target.models[0].blend
            names = [f"kernel ridge, {transform.name}" for transform in blend.transforms]
            trees = PART_NAMES[len(TRANSFORMS) :][: 2 * len(blend.forests)]
            parts = [*names, *trees, PART_NAMES[-1]][: len(blend.shares)]
            found.loc[parts, label] = blend.shares
        return found if found.shape[1] > 1 else found.iloc[:, 0].rename("share")

    @property
    def transforms_(self) -> pd.Series | pd.DataFrame:
        """Share of the folds that chose each transformation of the target."""
        found = pd.DataFrame(0.0, list(TRANSFORMS), self._state.labels)
        for label, target in zip(self._state.labels, self._state.targets, strict=True):
            blend = target.models[0].blend
            for transform, share in zip(blend.transforms, blend.output_shares(), strict=True):
                found.loc[transform.name, label] = share
        return found if found.shape[1] > 1 else found.iloc[:, 0].rename("share")

    @property
    def minimum_(self) -> Any:
        """Where predictions are cut off."""
        return self._state.of_targets(lambda target: target.minimum)

    @property
    def interval_minimum_(self) -> Any:
        """Where the ends of intervals are cut off."""
        return self._state.of_targets(lambda target: target.interval_minimum)

    @property
    def target_names_(self) -> list[str] | None:
        return self._state.target_names

    @property
    def target_labels_(self) -> list[Any]:
        """Names of the targets, or their numbers."""
        return self._state.labels
