"""Parameters of estimators, checked against what their class declares."""

from __future__ import annotations

from typing import Any

from sklearn.utils._param_validation import InvalidParameterError, validate_parameter_constraints

from matminer_unate.errors import InputError


def check_parameters(estimator: Any) -> None:
    """Check all parameters of an estimator, before any work is done.

    Its class declares them as ``_parameter_constraints``, in the words of scikit-learn:
    ``{"n_folds": [Interval(Integral, 3, None, closed="left")], "device": [str], …}``.

    Raises
    ------
    InputError
        A parameter has a value or type that is not declared.
    """
    try:
        validate_parameter_constraints(
            estimator._parameter_constraints,
            estimator.get_params(deep=False),
            caller_name=type(estimator).__name__,
        )
    except InvalidParameterError as e:
        raise InputError(str(e)) from None
