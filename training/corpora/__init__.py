"""Structures to pretrain on: reading, deduplicating, clean batches and their targets."""
