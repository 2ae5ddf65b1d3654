"""What the embeddings know of elements, sites and crystals."""
