"""The quality of samples: metrics.py measures arrays, evaluate.py chooses what to measure for a dataset."""
