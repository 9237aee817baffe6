"""Options that every source of `prepare` takes; imports nothing heavy, so that --help is fast."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Literal

from lrd_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class PrepareOptions:
    """How raw data become a dataset folder, whatever its source."""

    out: Path | None = None
    """Dataset folder to write. None: in the cache, under the dataset's name and what differs from the defaults."""
    core: int = 5
    """Interactions that every user and item must keep; those with fewer go, again and again until none has. 1: all
    stay."""
    split: Literal["leave-one-out", "temporal"] = "leave-one-out"
    """leave-one-out: each user's last interaction tests, the one before it is dev. temporal: what happened at
    --test-from or later tests, what happened from --dev-from until then is dev, and what came before trains."""
    dev_from: str | None = None
    """Date such as 1998-03-01 or 1998-03-01T12:00, in UTC. None: a ninth of what precedes --test-from is dev."""
    test_from: str | None = None
    """Date. None: the last tenth of the interactions tests, or with --dev-from the later half from there on."""
    negatives: int = 99
    """Negatives per row of dev and test."""
    drop_users_with_too_few_negatives: bool = False
    """Leave out the users who interacted with so many items that fewer than --negatives are left; they are named."""
    seed: int = 0
    """Seed of the negatives."""
    like: Literal["rechorus", "published"] | None = None
    """rechorus: draw the negatives as the notebooks of ReChorus and of the paper's authors do, with repetitions and in
    their order; ids, filter and leave-one-out are theirs in any case. published: the same, and the relations and texts
    of the authors' notebook for MovieLens-100k: an attribute for each genre, the names shifted by one."""
    template: str | None = None
    """Of the item texts: the dataset's columns in braces, as in "{title:32} {category} {brand}", where :32 cuts at 32
    words. None: the source's own."""
    show: int = 0
    """Print the first so many item texts."""

    def check(self) -> None:
        """Refuse what no dataset can be made with.

        Raises:
          UserError: a number out of range, options that exclude each other, or an `out` that may not be replaced.
        """
        for field, low in (("seed", 0), ("negatives", 1), ("core", 1), ("show", 0)):
            if getattr(self, field) < low:
                problem = f"{getattr(self, field)} is too small"
                raise UserError(problem, field=f"--{field}", remedy=f"Give an integer from {low} up")
        if self.seed >= 2**32:
            raise UserError("it is too large", field="--seed", remedy="Give an integer below 2^32")
        for field in ("dev_from", "test_from"):
            if self.split != "temporal" and getattr(self, field) is not None:
                field = "--" + field.replace("_", "-")
                raise UserError("leave-one-out has no dates", field=field, remedy="Add --split temporal")
        if self.like is not None and self.split == "temporal":
            remedy = "Leave out one of --like and --split"
            raise UserError("the notebooks know only leave-one-out", field="--like", remedy=remedy)
        if self.out is not None:
            from lrd_jax.data.folder import refuse_foreign

            refuse_foreign(self.out)
