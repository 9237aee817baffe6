"""The error for texts that got no embedding while others did: which items, which texts, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lrd_jax.errors import UserError

REASONS_SHOWN, TEXTS_SHOWN, ITEMS_SHOWN = 3, 5, 50
LETTERS_SHOWN = 60

_REMEDY = (
    "The other texts are kept. Change these in item_text.tsv, or lower --max-tokens if they are too long; the same"
    " command then asks for what is missing"
)


class TextsRefused(UserError):
    """Some of the texts that an encoder was given have no embedding.

    Args:
      texts: what was given.
      reasons: why, by the place of the text among them.
      items: the item of each text; None: not known.
    """

    def __init__(self, texts: Sequence[str], reasons: Mapping[int, str], items: Sequence[int] | None = None) -> None:
        """Compose the message: the most frequent reasons, each with its first texts."""
        self._texts, self._reasons = texts, reasons
        places: dict[str, list[int]] = {}
        for place in sorted(reasons):
            places.setdefault(reasons[place], []).append(place)
        frequent = sorted(places, key=lambda reason: -len(places[reason]))
        parts = [f"{reason} ({_listed(texts, places[reason], items)})" for reason in frequent[:REASONS_SHOWN]]
        if len(frequent) > REASONS_SHOWN:
            parts.append(f"and {len(frequent) - REASONS_SHOWN:,} other reasons")
        super().__init__(
            f"{len(reasons):,} of {len(texts):,} texts got no embedding: {'; '.join(parts)}", remedy=_REMEDY
        )

    def of_items(self, items: Sequence[int]) -> TextsRefused:
        """The same with the items' ids.

        Args:
          items: the id of each text's item.
        """
        return TextsRefused(self._texts, self._reasons, items)


def _listed(texts: Sequence[str], places: Sequence[int], items: Sequence[int] | None) -> str:
    """ "2 times: item 7 'Red pen', item 9 'Blue pen'"; of texts without items, the first few."""

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
