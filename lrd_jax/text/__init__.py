"""Item texts into the frozen vectors of a language model."""
