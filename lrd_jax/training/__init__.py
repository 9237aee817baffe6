"""Training: one epoch on the device, the loop around it, and what a configuration becomes before it."""
