"""UnateRegressor: columns of all kinds, kernel ridge and trees, and error bars."""
