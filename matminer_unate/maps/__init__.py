"""Crystals on a plane, by their embeddings: an interactive page of one file."""
