"""The command that recommends with a trained run."""
