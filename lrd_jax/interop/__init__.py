"""Weights and numbers of the published PyTorch code: `python -m lrd_jax.interop`."""
