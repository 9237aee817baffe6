"""Trained runs as folders that score and recommend without this package: StableHLO programs, weights, a manifest."""
