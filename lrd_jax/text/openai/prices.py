"""Prices of a model's tokens, from prices.toml in this folder and files of the same format."""

from __future__ import annotations

import dataclasses
import datetime
import importlib.resources
import tomllib
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lrd_jax.errors import UserError


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)
    usd_per_million_tokens: float = Field(ge=0)
    batch_usd_per_million_tokens: float | None = Field(None, ge=0)


class _PriceList(BaseModel):
    model_config = ConfigDict(extra="forbid")
    date: datetime.date
    source: str
    models: dict[str, _Entry]


@dataclasses.dataclass(frozen=True)
class Price:
    """The price of a million tokens of a model.

    Attributes:
      usd: US dollars; None: unknown.
      date: date of the source, ISO 8601.
      source: source of the price.
    """

    usd: float | None = None
    date: str = ""
    source: str = ""

    def cost(self, tokens: int) -> float | None:
        """US dollars for this many tokens; None: unknown."""
        return None if self.usd is None else self.usd * tokens / 1e6

    def told(self, tokens: int) -> str:
        """The cost as text: "$0.0123", or "unknown"."""
        cost = self.cost(tokens)
        return "unknown" if cost is None else f"${cost:,.4f}"


def find_price(model: str, *, batch: bool, own_address: bool, file: Path | None = None) -> Price:
    """The price of a model.

    Args:
      model: name of the model.
      batch: whether it is for the Batch API.
      own_address: whether the server is OpenAI's; the prices in the package apply only there.
      file: the user's price list, which takes precedence over the package's.

    Raises:
      UserError: the file cannot be read or is not a price list.
    """
    texts: list[tuple[str, Path | None]] = []
    if file is not None:
        try:
            texts.append((file.read_text(encoding="utf-8"), file))
        except (OSError, UnicodeDecodeError) as error:
            raise UserError("cannot read the prices", file=file, field="--prices", remedy=_REMEDY) from error
    if own_address:
        texts.append(
            (importlib.resources.files("lrd_jax.text.openai").joinpath("prices.toml").read_text("utf-8"), None)
        )
    for text, path in texts:
        prices = _parse(text, path)
        entry = prices.models.get(model)
        usd = None if entry is None else entry.batch_usd_per_million_tokens if batch else entry.usd_per_million_tokens
        if usd is not None:
            return Price(usd, prices.date.isoformat(), prices.source)
    return Price()


_REMEDY = (
    "Give date, source and, for each model, a table [models.NAME] with usd_per_million_tokens and, for the Batch API,"
    " batch_usd_per_million_tokens"
)


def _parse(text: str, file: Path | None) -> _PriceList:
    try:
        return _PriceList.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"does not parse as TOML ({error})", file=file, remedy=_REMEDY) from error
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        raise UserError(first["msg"], file=file, field=field, remedy=_REMEDY) from error
