"""Reasons of a batch, as answers hold them."""

from __future__ import annotations

from typing import Any

import polars as pl

from lrd_jax.serve.catalogue import Catalogue


def explanations(frame: pl.DataFrame, catalogue: Catalogue) -> dict[tuple[int, int], dict[str, Any]]:
    """By (row, candidate), in own ids: why the candidate has its score.

    Args:
      frame: of `Reasons.explain`. A candidate that a row has twice is explained once.
      catalogue: names the items.
    """
    found: dict[tuple[int, int], dict[str, Any]] = {}
    once = frame.unique(["row", "candidate", "place", "relation"], keep="first", maintain_order=True)
    columns = ("row", "candidate", "score", "baseline", "item", "place", "relation", "contribution")
    reasons: dict[tuple[int, int, int], dict[str, Any]] = {}
    for row, candidate, score, baseline, item, place, relation, contribution in once.select(columns).iter_rows():
        pair = (row, candidate)
        if pair not in found:
            found[pair] = {**catalogue.named(candidate), "score": score, "baseline": baseline, "reasons": []}
        if (*pair, place) not in reasons:
            reasons[*pair, place] = reason = {
                **catalogue.named(item),
                "place": place,
                "contribution": 0.0,
                "relations": {},
            }
            found[pair]["reasons"].append(reason)
        reason = reasons[*pair, place]
        reason["contribution"] += contribution
        if relation is not None:
            reason["relations"][relation] = contribution
    for explanation in found.values():
        explanation["reasons"].sort(key=lambda reason: reason["place"])
    return found
