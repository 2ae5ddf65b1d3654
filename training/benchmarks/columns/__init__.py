"""Classical regressors on columns."""
