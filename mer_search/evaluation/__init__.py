"""Folds, predictions, metrics, statistics and baselines: numpy and scikit-learn alone."""
