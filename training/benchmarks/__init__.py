"""What columns, networks and embeddings are worth on labelled crystals."""
