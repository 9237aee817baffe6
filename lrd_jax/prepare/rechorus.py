"""`prepare rechorus`: an existing dataset folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from lrd_jax.errors import quoted
from lrd_jax.prepare.write import show_texts


def rechorus(
    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")],
    items: Path | None = None,
    item_id: str | None = None,
    template: str | None = None,
    show: int = 0,
    force: tyro.conf.FlagCreatePairsOff[bool] = False,
    card: tyro.conf.FlagCreatePairsOff[bool] = False,
) -> None:
    """Check a dataset folder in ReChorus's format and, on request, add texts and a data card in place.

    Args:
      folder: The folder with train.csv, dev.csv and test.csv.
      items: CSV, TSV, Parquet or JSON lines with item data. None: the folder's item_fields.jsonl.
      item_id: Its column with the ids of the source, which items.tsv or NAME.item2index in the folder translates. None:
        item_id, with the folder's ids.
      template: Template of the texts, as in "{title:32} {category} {brand}". None: all columns of --items.
      show: Print this many texts.
      force: Replace existing texts.
      card: Write the data card; it is always written with new texts.
    """
    from lrd_jax.data.sources.rechorus_folder import complete_folder
    from lrd_jax.terminal.lines import say, warn

    done = complete_folder(folder, items=items, item_id=item_id, template=template, force=force, write_card=card)
    corpus = done.corpus
    print(
        f"{corpus.num_users:,} users, {corpus.num_items:,} items, {len(corpus.sequence_items):,} interactions: "
        f"{len(corpus.train_rows):,} train, {len(corpus.dev.rows):,} dev, {len(corpus.test.rows):,} test"
    )
    say(
        f"attributes: {', '.join(corpus.attributes) or 'none'}; relations: {', '.join(corpus.item_relations) or 'none'}"
    )
    if done.texts is None:
        print(done.found)
    else:
        show_texts(done.texts, show)
    say(f"folder: {quoted(folder)}")
    for notice in done.card["warnings"]:
        warn(notice["text"])
