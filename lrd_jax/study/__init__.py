"""Studies of many runs: `python -m lrd_jax.study`."""
