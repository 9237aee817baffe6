"""Benchmarks: one runnable module per question."""
