"""Tests of lrd_jax.text and lrd_jax.embed."""
