"""Raw data of every source -> `RawDataset`."""
