"""Embed the texts of a dataset's items: `python -m lrd_jax.embed DATASET --encoder wordllama`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro
from pydantic import ValidationError

from lrd_jax.cli import plain_sections, run_command
from lrd_jax.config import Config, EncoderConfig
from lrd_jax.config_errors import explain
from lrd_jax.errors import UserError

ML_100K = "ml-100k"


@dataclasses.dataclass(frozen=True)
class EmbedFlags:
    """Embed the texts of a dataset's items with a language model, for the LRD models.

    Writes text_ENCODER-MODEL.npy and .json into the dataset folder, or into the cache if that is read-only. Of the
    encoder file it writes nothing: it checks the file, which training reads as it is.
    """

    dataset: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="DATASET")]
    """Dataset folder, or ml-100k for MovieLens-100k (prepared first if need be)."""
    encoder: tyro.conf.OmitArgPrefixes[EncoderConfig] = EncoderConfig()
    """The language model."""
    force: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Embed anew even if there are embeddings already."""


def parse_flags(argv: Sequence[str] | None = None) -> EmbedFlags:
    """Read the command line of `embed`; that of the process by default.

    Raises:
      UserError: an option is out of range, or is not one of the encoder's.
      SystemExit: after --help (0), or after tyro has explained a misspelt or malformed argument on stderr (2).
    """
    flags = tyro.cli(EmbedFlags, prog="python -m lrd_jax.embed", args=argv, registry=plain_sections())
    try:
        text = Config.model_validate({"text": flags.encoder}).text
    except ValidationError as error:
        key, problem, remedy = explain(error)
        raise UserError(problem, field=f"--{key.partition('.')[2]}", remedy=remedy) from error
    return dataclasses.replace(flags, encoder=text)


def embed_dataset(folder: Path, encoder_config: EncoderConfig, *, force: bool = False) -> tuple[Path, bool]:
    """Make the embeddings of a dataset's items, or check those that are there.

    Args:
      folder: the dataset folder.
      encoder_config: which encoder and how wide.
      force: replace what is there.

    Returns:
      The array's path, and whether it was written now; of the encoder file, the file.

    Raises:
      UserError: the dataset cannot be read, the encoder cannot be had, or, without `force`, what is there does not fit.
    """
    from lrd_jax.data.rechorus import read_corpus, read_texts
    from lrd_jax.text.encoders import build_encoder
    from lrd_jax.text.file import read_file
    from lrd_jax.text.naming import embeddings_path
    from lrd_jax.text.store import embed_texts, load_embeddings, write_embeddings

    num_items = read_corpus(folder).num_items
    if encoder_config.encoder == "file":
        read_file(encoder_config, num_items)
        return encoder_config.file, False
    texts = read_texts(folder, num_items)
    path = embeddings_path(folder, texts, encoder_config)
    if path.exists() and not force:
        load_embeddings(folder, texts, encoder_config)
        return path, False
    encoder = build_encoder(encoder_config)
    return write_embeddings(folder, texts, embed_texts(texts, encoder), encoder, encoder_config), True


def main() -> None:
    """Parse the command line, embed, say what was written."""
    flags = parse_flags()
    folder = Path(flags.dataset)
    if flags.dataset == ML_100K and not folder.is_dir():
        from lrd_jax.data.movielens import ensure_ml_100k

        folder = Path(ensure_ml_100k())
    path, written = embed_dataset(folder, flags.encoder, force=flags.force)
    if written:
        print(path, path.with_suffix(".json"), sep="\n")
    elif flags.encoder.encoder == "file":
        print(f"{path} fits the items: train with --text.encoder file --text.file {path}")
    else:
        print(f"{path} fits the texts already (--force embeds anew)")


if __name__ == "__main__":
    run_command(main)
