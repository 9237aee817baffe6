"""Ranking targets among candidates: protocols, metrics and the compiled evaluation."""
