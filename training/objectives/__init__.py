"""Pretext tasks, one a file.

Each is a module that returns its loss and what else is worth logging. Tasks of the denoising branch
read one view, ``forward(encoded, batch)``; those of the contrastive branch two,
``forward(first, second, batch)``. Targets always come from the clean batch. Which of them a run has
is decided in ``pretraining.pretrainer.OBJECTIVES``.
"""
