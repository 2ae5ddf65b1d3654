"""Pretraining: settings, data, targets, the training step, checkpoints, export."""
