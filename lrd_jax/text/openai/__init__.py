"""Embeddings from OpenAI's API or any compatible server."""
