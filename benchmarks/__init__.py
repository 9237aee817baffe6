"""Benchmarks: one runnable module per question, `python -m benchmarks.NAME`; see README.md beside this file."""
