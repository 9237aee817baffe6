"""Shared by all commands: options, signals and standard streams."""
