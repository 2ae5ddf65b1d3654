"""The command ``unate``."""
