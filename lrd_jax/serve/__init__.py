"""A trained run behind HTTP: JSON routes, and a page to try it."""
