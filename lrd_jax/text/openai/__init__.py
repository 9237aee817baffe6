"""Embeddings of OpenAI's API, or of any server that speaks it."""
