"""Makes dataset folders from raw data, `python -m lrd_jax.prepare`; `plugins.SOURCES` lists the sources."""
