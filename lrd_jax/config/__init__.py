"""The options of a run, and the TOML files that hold them."""
