"""A configuration on all subjects with fresh seeds: its folds, summary and comparisons, and checks of all figures."""
