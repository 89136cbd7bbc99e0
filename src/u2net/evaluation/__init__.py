"""Data sets, scores of models on them, reports, and checks of training data."""
