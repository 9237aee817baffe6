"""The options that every source of `prepare` shares; imports nothing slow, so that --help is fast."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Literal

from lrd_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class PrepareOptions:
    """How to make a dataset folder from raw data, for any source."""

    out: Path | None = None
    """Dataset folder to write. None: in the cache, named after the dataset and the options that are not default."""
    core: int = 5
    """Remove users and items with fewer interactions than this, repeatedly until none is left. 1: remove nothing."""
    split: Literal["leave-one-out", "temporal"] = "leave-one-out"
    """leave-one-out: each user's last interaction is test, the one before it dev, the rest train. temporal:
    interactions at --test-from or later are test, those from --dev-from up to then dev, earlier ones train."""
    dev_from: str | None = None
    """Date such as 1998-03-01 or 1998-03-01T12:00, in UTC. None: the last ninth before --test-from is dev."""
    test_from: str | None = None
    """Date. None: the last tenth of the interactions is test; with --dev-from, the later half of what follows it."""
    negatives: int = 99
    """Number of negatives per row of dev and test."""
    drop_users_with_too_few_negatives: bool = False
    """Drop and list the users who interacted with so many items that fewer than --negatives are left."""
    seed: int = 0
    """Seed of the negatives."""
    like: Literal["rechorus", "published"] | None = None
    """rechorus: draw negatives as the notebooks of ReChorus and of the paper's authors do, with replacement and in the
    same order (ids, filter and leave-one-out always match theirs). published: also make the relations and texts as in
    the authors' notebook for MovieLens-100k: one attribute per genre, with the names shifted by one."""
    template: str | None = None
    """Template of the item texts: column names in braces, as in "{title:32} {category} {brand}", where :32 cuts after
    32 words. None: the source's default."""
    show: int = 0
    """Print this many item texts."""

    def check(self) -> None:
        """Rejects invalid options.

        Raises:
          UserError: a number is out of range, options exclude each other, or `out` must not be replaced.
        """
        for field, low in (("seed", 0), ("negatives", 1), ("core", 1), ("show", 0)):
            if getattr(self, field) < low:
                problem = f"{getattr(self, field)} is too small"
                raise UserError(problem, field=f"--{field}", remedy=f"Give an integer of at least {low}")
        if self.seed >= 2**32:
            raise UserError("it is too large", field="--seed", remedy="Give an integer below 2^32")
        for field in ("dev_from", "test_from"):
            if self.split != "temporal" and getattr(self, field) is not None:
                field = "--" + field.replace("_", "-")
                raise UserError("leave-one-out has no dates", field=field, remedy="Add --split temporal")
        if self.like is not None and self.split == "temporal":
            remedy = "Leave out one of --like and --split"
            raise UserError("the notebooks use only leave-one-out", field="--like", remedy=remedy)
        if self.out is not None:
            from lrd_jax.data.folder import refuse_foreign

            refuse_foreign(self.out)
