"""Why a model predicts what it does: which sites, and which columns."""
