"""A run as a folder that scores without this package: `python -m lrd_jax.export RUN --out DIR`."""

from __future__ import annotations

if __name__ == "__main__":
    from lrd_jax.command_line.begin import begin

    begin()

import dataclasses
import inspect
import sys
from pathlib import Path
from typing import Annotated

import tyro

from lrd_jax.command_line.parse import run_command
from lrd_jax.errors import quoted


@dataclasses.dataclass(frozen=True)
class ExportFlags:
    """Write the best epoch of a run as a folder that scores and recommends with jax, numpy and flatbuffers alone:
    StableHLO programs for CPU, CUDA and TPU, weights, ids, and load.py, which reads them. Folders of sequence models
    hold the items' vectors too, for vector databases."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Run folder of `train`."""
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")]
    """The folder; a new or an empty one."""
    with_histories: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Write the users' interactions too, so that an id is enough to recommend; else the caller gives histories."""
    data: Annotated[Path | None, tyro.conf.arg(name="data.path", metavar="FOLDER")] = None
    """Where the dataset of the run is now, for one that was moved or renamed. None: where it was in training."""


def main() -> None:
    """Parse the command line and export; jax is imported only after that, so that --help answers at once."""
    flags = tyro.cli(
        ExportFlags,
        prog="python -m lrd_jax.export",
        args=sys.argv[1:],
        description=inspect.getdoc(ExportFlags),
    )
    from lrd_jax.command_line.jax_setup import set_up_jax

    set_up_jax(1)
    export(flags)


def export(flags: ExportFlags) -> None:
    """Exports the run, then prints the files and how to load them.

    Raises:
      UserError: no run in the folder, changed data, or a folder that cannot be written.
    """
    from lrd_jax.api.run import load_run
    from lrd_jax.export.write import check_can_write, export_run
    from lrd_jax.terminal.lines import say

    check_can_write(flags.out)
    run = load_run(flags.run, data=flags.data)
    manifest = export_run(run, flags.out, with_histories=flags.with_histories)
    sizes = {name: about["bytes"] for name, about in manifest["files"].items()}
    sizes["manifest.json"] = (flags.out / "manifest.json").stat().st_size
    width = max(map(len, sizes))
    for name, size in sorted(sizes.items()):
        say(f"  {name:{width}}  {size:>13,} bytes")
    say(f"{manifest['model']}, epoch {manifest['epoch']}, for {', '.join(manifest['platforms'])}: {quoted(flags.out)}")
    say(f"To load it, in {quoted(flags.out)} or with it on sys.path, where jax, numpy and flatbuffers are installed:")
    how = "users=[USER]" if flags.with_histories else "histories=[[ITEM, ITEM]]"
    say(f"  from load import Exported; Exported.load({str(flags.out.absolute())!r}).recommend({how})")


if __name__ == "__main__":
    run_command(main)
