"""Embeds item texts with frozen language models."""
