"""Raw data -> a dataset folder, `python -m lrd_jax.prepare`: a file for each source, which `plugins.SOURCES` lists."""
