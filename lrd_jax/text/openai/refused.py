"""The error for texts without an embedding, when other texts have one: which items, which texts, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lrd_jax.errors import UserError

REASONS_SHOWN, TEXTS_SHOWN, ITEMS_SHOWN = 3, 5, 50
LETTERS_SHOWN = 60

_REMEDY = (
    "The other embeddings are stored. Change these texts in item_text.tsv, or lower --max-tokens if they are too long;"
    " then run the same command for the missing ones"
)


class TextsRefused(UserError):
    """Some of an encoder's input texts have no embedding.

    Args:
      texts: all input texts.
      reasons: the reasons, by the position of the text.
      items: the item of each text; None: not known.
    """

    def __init__(self, texts: Sequence[str], reasons: Mapping[int, str], items: Sequence[int] | None = None) -> None:
        """Composes the message: the most frequent reasons, each with its first texts."""
        self._texts, self._reasons = texts, reasons
        places: dict[str, list[int]] = {}
        for place in sorted(reasons):
            places.setdefault(reasons[place], []).append(place)
        frequent = sorted(places, key=lambda reason: -len(places[reason]))
        parts = [f"{reason} ({_listed(texts, places[reason], items)})" for reason in frequent[:REASONS_SHOWN]]
        if len(frequent) > REASONS_SHOWN:
            parts.append(f"and {len(frequent) - REASONS_SHOWN:,} other reasons")
        super().__init__(
            f"{len(reasons):,} of {len(texts):,} texts have no embedding: {'; '.join(parts)}", remedy=_REMEDY
        )

    def of_items(self, items: Sequence[int]) -> TextsRefused:
        """The same error with the items' ids.

        Args:
          items: the item id of each text.
        """
        return TextsRefused(self._texts, self._reasons, items)


def _listed(texts: Sequence[str], places: Sequence[int], items: Sequence[int] | None) -> str:
    """ "2 times: item 7 'Red pen', item 9 'Blue pen'"; if items are unknown, the first texts."""

    def name(place: int) -> str:
        text = texts[place]
        shown = repr(text if len(text) <= LETTERS_SHOWN else text[:LETTERS_SHOWN] + "...")
        return shown if items is None else f"item {items[place]} {shown}"

    names = [name(place) for place in places[:TEXTS_SHOWN]]
    if items is not None:
        names += [f"item {items[place]}" for place in places[TEXTS_SHOWN:ITEMS_SHOWN]]
    if len(places) > len(names):
        names.append(f"and {len(places) - len(names):,} more")
    times = f"{len(places):,} times: " if len(places) > 1 else ""
    return times + ", ".join(names)
