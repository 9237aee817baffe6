"""Evaluating finished runs by a protocol: `python -m lrd_jax.evaluate`."""
