"""Sequential recommendation with latent relations from language models, in JAX (SIGIR 2024).

Dimension letters, used in every shape comment and docstring of this package:
B batch, C candidates, H history, R relations (virtual, item-item, attribute, latent, in this order),
A attribute relations, V values an item holds per attribute, K latent relations, D embedding, T text embedding,
F frequencies, I items, U users, E entities (items, then attribute values; id 0 is padding), N rows of any other kind.
"""

__version__ = "0.2.0"
