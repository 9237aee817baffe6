"""Exchanges weights with the published PyTorch code and compares results: `python -m lrd_jax.interop`."""
