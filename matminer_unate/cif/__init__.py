"""CIF (IUCr, version 1.1) → crystal: tokens, sites, symmetry operations, and what is doubtful."""
