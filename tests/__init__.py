"""Tests of lrd_jax, laid out as the package is."""
