"""Vectors of sites, computed before pretraining and regressed on in it."""
