"""Training: setup from a configuration, one epoch on the device, and the loop over epochs."""
