"""matminer featurizers: rows of a DataFrame in, columns out."""
