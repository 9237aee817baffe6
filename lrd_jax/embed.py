"""Embed the texts of a dataset's items: `python -m lrd_jax.embed DATASET --encoder wordllama`."""

from __future__ import annotations

if __name__ == "__main__":
    from lrd_jax.command_line.begin import begin

    begin()

import dataclasses
import functools
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import tyro
from pydantic import ValidationError

from lrd_jax.command_line.parse import plain_sections, run_command
from lrd_jax.config.messages import explain
from lrd_jax.config.schema import EncoderConfig, Section
from lrd_jax.errors import UnderWay, UserError, quoted
from lrd_jax.text.options import BatchOptions, RequestOptions, ServerOptions

if TYPE_CHECKING:
    from lrd_jax.text.base import Encoder
    from lrd_jax.text.openai.embeddings import OpenAIEncoder

ML_100K = "ml-100k"


@dataclasses.dataclass(frozen=True)
class EmbedFlags:
    """Embed the texts of a dataset's items with a language model, for the LRD models.

    Writes text_ENCODER-MODEL.npy and .json into the dataset folder, or into the cache if the folder is read-only. With
    --encoder file it writes nothing: it only checks the file, which training reads directly.
    """

    dataset: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="DATASET")]
    """Dataset folder, or ml-100k for MovieLens-100k (prepared first if necessary)."""
    encoder: tyro.conf.OmitArgPrefixes[EncoderConfig] = EncoderConfig()
    """The language model."""
    force: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Embed again even if there are embeddings already. With openai and openai-batch, this requests and pays for all
    texts again and replaces the cached vectors; but if texts have changed since, only missing vectors are requested."""
    dry_run: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print items, tokens, requests and price for openai or openai-batch. Sends no request, writes nothing, needs no
    API key."""
    server: tyro.conf.OmitArgPrefixes[ServerOptions] = ServerOptions()
    requests: tyro.conf.OmitArgPrefixes[RequestOptions] = RequestOptions()
    batches: tyro.conf.OmitArgPrefixes[BatchOptions] = BatchOptions()

    def check(self) -> None:
        """Rejects options that the encoder does not use.

        Raises:
          UserError: an option is not used by the encoder.
        """
        groups = {"server": ("openai", "openai-batch"), "requests": ("openai",), "batches": ("openai-batch",)}
        for group, encoders in groups.items():
            section = getattr(self, group)
            given = [
                name for name in type(section).model_fields if getattr(section, name) != getattr(type(section)(), name)
            ]
            if given and self.encoder.encoder not in encoders:
                raise UserError(
                    f"the encoder {self.encoder.encoder} does not use it",
                    field="--" + given[0].replace("_", "-"),
                    remedy=f"Leave it out, or choose --encoder {' or '.join(encoders)}",
                )
        if self.dry_run and self.encoder.encoder not in groups["server"]:
            raise UserError(
                f"the encoder {self.encoder.encoder} runs on this machine and has no price",
                field="--dry-run",
                remedy="Leave it out",
            )


class _Options(Section):
    """The groups of options that are validated, under the names that messages use."""

    text: EncoderConfig
    server: ServerOptions
    requests: RequestOptions
    batches: BatchOptions


def parse_flags(argv: Sequence[str] | None = None) -> EmbedFlags:
    """Reads the command line of `embed`; by default, that of the process.

    Raises:
      UserError: an option is out of range, or not used by the encoder.
      SystemExit: after --help (0), or after tyro has explained a misspelt or malformed argument on stderr (2).
    """
    flags = tyro.cli(EmbedFlags, prog="python -m lrd_jax.embed", args=argv, registry=plain_sections())
    try:
        options = _Options.model_validate(
            {"text": flags.encoder, "server": flags.server, "requests": flags.requests, "batches": flags.batches}
        )
    except ValidationError as error:
        key, problem, remedy = explain(error, _Options)
        option = "--" + key.partition(".")[2].replace("_", "-")
        raise UserError(problem, field=option, remedy=remedy) from error
    flags = dataclasses.replace(
        flags, encoder=options.text, server=options.server, requests=options.requests, batches=options.batches
    )
    flags.check()
    return flags


def embed_dataset(
    folder: Path,
    encoder_config: EncoderConfig,
    *,
    force: bool = False,
    build: Callable[..., Encoder] | None = None,
    server: str | None = None,
) -> tuple[Path, bool]:
    """Makes the embeddings of a dataset's items, or checks existing ones.

    Args:
      folder: the dataset folder.
      encoder_config: the encoder and its width.
      force: replace existing embeddings.
      build: makes the encoder from the configuration, `force` and `ask_all`; None: `build_encoder`.
      server: base URL of the server that existing embeddings must come from; None: any server.

    Returns:
      The path of the array (for the encoder "file", the file itself), and whether it was written now.

    Raises:
      UserError: the dataset cannot be read, the encoder cannot be used, or, without `force`, the existing embeddings
        do not fit.
    """
    from lrd_jax.data.rechorus import read_corpus, read_texts
    from lrd_jax.text.encoders import build_encoder
    from lrd_jax.text.naming import embeddings_path
    from lrd_jax.text.store import embed_texts, load_embeddings, load_file, texts_changed, write_embeddings

    num_items = read_corpus(folder).num_items
    if encoder_config.encoder == "file":
        load_file(encoder_config, num_items)
        assert encoder_config.file is not None
        return encoder_config.file, False
    texts = read_texts(folder, num_items)
    path = embeddings_path(folder, texts, encoder_config)
    if path.exists() and not force:
        load_embeddings(folder, texts, encoder_config, server=server)
        return path, False
    ask_all = force and not texts_changed(folder, texts, encoder_config)
    encoder = (build or build_encoder)(encoder_config, force=force, ask_all=ask_all)
    path = write_embeddings(folder, texts, embed_texts(texts, encoder), encoder, encoder_config)
    load_embeddings(folder, texts, encoder_config)  # as training does; it warns about vectors of zeros
    return path, True


def print_price(
    folder: Path, encoder_config: EncoderConfig, *, force: bool = False, build: Callable[..., Encoder]
) -> None:
    """Prints what it would cost to embed a dataset with a paid encoder.

    Args:
      folder, encoder_config, force, build: as `embed_dataset`.

    Raises:
      UserError: the dataset or the cache cannot be read.
    """
    from lrd_jax.data.rechorus import read_corpus, read_texts
    from lrd_jax.terminal.tables import print_table
    from lrd_jax.text.openai.dry_run import dry_run
    from lrd_jax.text.store import texts_changed

    texts = read_texts(folder, read_corpus(folder).num_items)
    ask_all = force and not texts_changed(folder, texts, encoder_config)
    encoder = build(encoder_config, force=force, ask_all=ask_all)
    print_table(dry_run(texts[1:], cast("OpenAIEncoder", encoder)))  # since it is a paid one


def main() -> None:
    """Parses the command line, embeds, and reports what was written."""
    flags = parse_flags()
    folder = Path(flags.dataset)
    if flags.dataset == ML_100K and not folder.is_dir():
        from lrd_jax.data.sources.movielens import ensure_ml_100k

        folder = Path(ensure_ml_100k())

    from lrd_jax.text.encoders import PAID, build_encoder

    build = functools.partial(build_encoder, server=flags.server, requests=flags.requests, batches=flags.batches)
    if flags.dry_run:
        print_price(folder, flags.encoder, force=flags.force, build=build)
        return
    from lrd_jax.text.openai.service import resolve_url

    server = None
    if flags.encoder.encoder in PAID:
        server = resolve_url(flags.server.base_url)
    try:
        path, written = embed_dataset(folder, flags.encoder, force=flags.force, build=build, server=server)
    except UnderWay as under_way:
        print(under_way)
        sys.exit(os.EX_TEMPFAIL)  # 75
    if written:
        print(quoted(path), quoted(path.with_suffix(".json")), sep="\n")
    elif flags.encoder.encoder == "file":
        print(f"{quoted(path)} fits the items: train with --text.encoder file --text.file {quoted(path)}")
    else:
        print(f"{quoted(path)} already matches the texts (--force embeds them again)")


if __name__ == "__main__":
    run_command(main)
