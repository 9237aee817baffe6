"""The Python API; `import lrd_jax` offers all of it, imported when first used."""
