"""Crystals from text, files, tables and databases, and tables of results to disk."""
