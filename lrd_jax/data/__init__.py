"""Turns raw files into frozen arrays; independent of the models."""
