"""RecBole's atomic files: NAME.inter, and where they are there NAME.item, NAME.kg and NAME.link.

Tab-separated, the header telling each field's type, such as `item_id:token`: token is one value, token_seq several
with blanks between them, float and float_seq numbers (https://recbole.io/docs/user_guide/data/atomic_files.html).

Columns of .item:
- token is an attribute where an item's value is shared: fewer than half as many values as items, and two or more. Else,
  as a title is, it is text.
- token_seq is an attribute by the same rule, each word a value, where in addition no word stands twice in one cell and
  cells hold three words or fewer on the median ("Animation Comedy"); else it is text.
- float and float_seq are left out. All token and token_seq columns are text as well, so that templates can use them.

The knowledge graph (.kg, its entities linked to items by .link) is turned into item-item relations:
- edges of a relation whose head is an item and whose tail is none make an attribute, its value the tail: items with the
  same tail are related through it, at the cost of one value per edge instead of a pair per two edges. Edges whose tail
  belongs to one item alone relate nothing and are left out.
- edges of a relation between two items make an item-item relation. A relation that has edges of both kinds ("sequel",
  where some sequels are items and some are not) becomes the kind with more.
- edges that lead from other entities to items mirror those ("film.producer.film") and are left out.
The attributes and relations with the most edges are taken, `max_relations` of them, or those that are named. Freebase
calls a relation film.film.directed_by; here it is called by the last part, directed_by, where no other relation of the
graph ends so, else by all of them, film_film_directed_by; other characters than letters, digits and _ become _.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from lrd_jax.data.item_tables import RESERVED
from lrd_jax.data.raw import RawDataset
from lrd_jax.data.sources.recbole_files import AtomicFile, read_atomic
from lrd_jax.data.sources.source_ids import refuse_strangers
from lrd_jax.data.sources.times import Unit
from lrd_jax.errors import UserError
from lrd_jax.files import is_there

MAX_RELATIONS = 8
_MEDIAN_WORDS = 3


def read_recbole(
    folder: Path,
    *,
    attributes: Sequence[str] | None = None,
    relations: Sequence[str] | None = None,
    max_relations: int = MAX_RELATIONS,
    time_unit: Unit | None = None,
    time_format: str | None = None,
) -> RawDataset:
    """Read a folder of atomic files.

    Args:
      folder: which; holds exactly one .inter file.
      attributes: columns of .item to take as attributes. None: by the rule above.
      relations: relations of the graph to take, by their ids in .kg. None: the `max_relations` with the most edges.
      max_relations: how many at most where none are named; 0 for none.
      time_unit, time_format: of the times, as `parse_times` takes them.

    Raises:
      UserError: no or several .inter files, a missing field, a cell of the wrong type, or a name that does not exist.
    """
    folder = Path(folder)
    name = _name(folder)
    paths = {kind: folder / f"{name}.{kind}" for kind in ("inter", "item", "kg", "link")}
    files = {kind: read_atomic(path) for kind, path in paths.items() if is_there(path)}
    inter = files["inter"]
    times = inter.times("timestamp", time_unit, time_format)
    interactions = pl.DataFrame({"user": inter.tokens("user_id"), "item": inter.tokens("item_id"), "time": times})
    for kind in [kind for kind in ("item", "link") if kind in files]:
        remedy = "Put files of the same items into one folder"
        refuse_strangers(
            interactions["item"].unique(maintain_order=True),
            files[kind].tokens("item_id"),
            files[kind].path,
            "item_id",
            remedy,
        )
    items, found, text = _item_columns(files.get("item"), interactions["item"], attributes)
    origin: dict[str, Any] = {"source": f"atomic files of RecBole, {name}"}
    origin |= {"files": {file.path.name: file.sha256 for file in files.values()}}
    related: dict[str, pl.DataFrame] = {}
    if "kg" in files and "link" in files:
        graph = _graph(files["kg"], files["link"])
        chosen = _choose(graph, files["kg"].path, relations, max_relations)
        named = _names(files["kg"].tokens("relation_id").unique().sort().to_list(), set(found))
        origin["graph_relations"] = {}
        for group, relation in chosen:
            name_here = named[relation]
            (found if group == "attribute" else related)[name_here] = graph[group, relation]
            origin["graph_relations"][("i_" if group == "attribute" else "r_") + name_here] = relation
        origin["graph_relations_left_out"] = [key[1] for key in graph if key not in chosen]
    elif relations:
        raise UserError(f"it holds no {name}.kg and {name}.link", file=folder, field="--relations")
    template = " ".join(f"{{{column}}}" for column in text)
    return RawDataset(name, interactions, items, found, related, template, origin)


def _name(folder: Path) -> str:
    """The name that a folder's files have in common."""
    if not folder.is_dir():
        raise UserError("it is no folder", file=folder, remedy="Name a folder of RecBole's atomic files")
    names = sorted(path.stem for path in folder.glob("*.inter"))
    if len(names) != 1:
        problem = f"it holds {len(names)} .inter files, not one" + (f" ({', '.join(names)})" if names else "")
        remedy = "Name a folder of RecBole's atomic files, one dataset to a folder"
        raise UserError(problem, file=folder, remedy=remedy)
    return names[0]


def _item_columns(
    file: AtomicFile | None, known: pl.Series, chosen: Sequence[str] | None
) -> tuple[pl.DataFrame, dict[str, pl.DataFrame], list[str]]:
    """Items with their texts, attributes, and the columns for the template: text first, then what is an attribute."""
    if file is None:
        if chosen:
            raise UserError("there is no .item file", field="--attributes")
        return pl.DataFrame({"item": known.unique(maintain_order=True)}), {}, []
    ids = file.tokens("item_id")
    first = ids.is_first_distinct()
    kinds = {name: kind for name, kind in file.types.items() if name != "item_id" and kind in ("token", "token_seq")}
    for name in chosen or ():
        if name not in kinds:
            remedy = f"Choose among {', '.join(kinds)}" if kinds else "Leave the option out"
            problem = f"there is no token or token_seq column {name!r}"
            raise UserError(problem, file=file.path, field="--attributes", remedy=remedy)
    items, found, texts, taken = {"item": ids.filter(first)}, {}, [], {"item", *RESERVED}
    for column, kind in kinds.items():
        name = _free(_safe(column), taken)
        cells = file.cells[column].filter(first)
        items[name] = cells.set(cells == "", None)
        words = cells.str.split(" ") if kind == "token_seq" else cells.reshape((-1, 1)).cast(pl.List(pl.String))
        values = pl.DataFrame({"item": items["item"], "value": words}).explode("value").filter(pl.col("value") != "")
        if column in chosen if chosen is not None else _is_categorical(values, kind):
            found[name] = values.unique(maintain_order=True)
        else:
            texts.append(name)
    return pl.DataFrame(items), found, [*texts, *found]


def _is_categorical(values: pl.DataFrame, kind: str) -> bool:
    per_item = values.group_by("item").agg(pl.len(), pl.col("value").n_unique().alias("distinct"))
    few = 2 <= values["value"].n_unique() < per_item.height / 2
    if kind == "token":
        return few
    median: Any = per_item["len"].median()
    return few and (per_item["len"] == per_item["distinct"]).all() and bool(median <= _MEDIAN_WORDS)


def _graph(kg: AtomicFile, link: AtomicFile) -> dict[tuple[str, str], pl.DataFrame]:
    """What relates items, by kind ("attribute" or "relation") and id of the relation, most edges first."""
    items = pl.DataFrame({"item": link.tokens("item_id"), "entity": link.tokens("entity_id")})
    items = items.unique(maintain_order=True)
    edges = pl.DataFrame({name: kg.tokens(f"{name}_id") for name in ("head", "relation", "tail")})
    edges = edges.unique(maintain_order=True)
    leaving = edges.join(items, left_on="head", right_on="entity", how="inner", maintain_order="left_right")
    between = leaving.join(
        items.rename({"item": "other"}), left_on="tail", right_on="entity", how="inner", maintain_order="left_right"
    ).filter(pl.col("item") != pl.col("other"))
    values = leaving.join(items, left_on="tail", right_on="entity", how="anti", maintain_order="left")
    values = values.filter(pl.col("item").n_unique().over("relation", "tail") > 1)
    found = {}
    for kind, frame, column in (("relation", between, "other"), ("attribute", values, "tail")):
        for (relation,), rows in frame.group_by("relation", maintain_order=True):
            found[kind, relation] = rows.select(
                "item", pl.col(column).alias("other" if kind == "relation" else "value")
            )
    kinds: dict[str, str] = {}  # of each relation the one with more edges
    for kind, relation in sorted(found, key=lambda key: (-found[key].height, key)):
        kinds.setdefault(relation, kind)
    return {(kind, relation): found[kind, relation] for relation, kind in kinds.items()}


def _names(relations: Sequence[str], taken: set[str]) -> dict[str, str]:
    """What each relation is called here, never as one of `taken`."""
    last = {relation: _safe(re.split(r"[./#:]", relation.rstrip("./#:"))[-1]) for relation in relations}
    uses = Counter(last.values())
    names = {}
    for relation in relations:
        short = last[relation]
        names[relation] = _free(short if uses[short] == 1 and short not in taken else _safe(relation), taken)
    return names


def _safe(name: str) -> str:
    """The name as a column can have it, in any alphabet."""
    return re.sub(r"\W+", "_", name).strip("_") or "unnamed"


def _free(name: str, taken: set[str]) -> str:
    """The name, with _ behind it until it is new, and taken from then on."""
    while name in taken:
        name += "_"
    taken.add(name)
    return name


def _choose(
    graph: dict[tuple[str, str], pl.DataFrame], path: Path, names: Sequence[str] | None, most: int
) -> list[tuple[str, str]]:
    if names is None:
        return list(graph)[:most]
    there = {relation for _, relation in graph}
    for name in names:
        if name not in there:
            remedy = f"Choose among {', '.join(sorted(there))}" if there else "Leave the option out"
            raise UserError(f"no relation {name!r} relates items", file=path, field="--relations", remedy=remedy)
    return [key for key in graph if key[1] in names]
