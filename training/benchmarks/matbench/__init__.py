"""Official MatBench tasks: their rows and folds, columns kept, models, results and their files."""
