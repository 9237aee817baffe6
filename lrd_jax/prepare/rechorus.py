"""`prepare rechorus`: a dataset folder that is there already."""

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
    """A dataset folder in ReChorus's format: checked, and on request completed in place with texts and a data card.

    Args:
      folder: With train.csv, dev.csv and test.csv.
      items: CSV, TSV, Parquet or JSON lines of what is known of the items. None: the folder's item_fields.jsonl.
      item_id: Its column of ids: the source's own, which items.tsv or NAME.item2index in the folder translates. None:
        item_id, the folder's.
      template: Of the texts, as in "{title:32} {category} {brand}". None: all columns of --items.
      show: Print the first so many texts.
      force: Replace texts that are there.
      card: Write the data card; new texts bring it in any case.
    """
    from lrd_jax.data.sources.rechorus_folder import complete_folder
    from lrd_jax.runs.terminal import say, warn

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
