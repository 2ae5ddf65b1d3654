"""Crystals as arrays: checked, reduced, with neighbours, as graphs and batches of graphs."""
