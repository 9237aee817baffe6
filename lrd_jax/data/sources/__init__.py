"""Reads the raw data of each source into a `RawDataset`."""
