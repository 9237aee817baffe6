"""Weights and numbers of the published PyTorch code.

python -m lrd_jax.interop import STATE --model kda_lrd --data DIR --out RUN
python -m lrd_jax.interop parity FILE.npz [FILE.npz ...]
"""

from __future__ import annotations

if __name__ == "__main__":
    from lrd_jax.process import begin

    begin()

import dataclasses
import inspect
import sys
from pathlib import Path
from typing import Annotated

import tyro

from lrd_jax.cli import parse_options, run_command
from lrd_jax.errors import UserError, quoted

PROGRAM = "python -m lrd_jax.interop"
_ALIASES = {"model.name": "--model", "data.path": "--data", "run.workdir": "--out"}


@dataclasses.dataclass(frozen=True)
class ImportFlags:
    """What `import` is told besides the configuration of the run."""

    state: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="STATE")]
    """State dict of the published code or of ReChorus, by its own parameter names: .npz or .safetensors. A pickle of
    PyTorch (.pt) is not read; where torch is, it becomes one of these by
    state = torch.load("model.pt", map_location="cpu", weights_only=True) and
    numpy.savez("state.npz", **{name: value.numpy() for name, value in state.items()})."""
    config: Path | None = None
    """TOML file of options that differ from the defaults; options on the command line override it."""


def import_state(argv: list[str]) -> None:
    """Make a run folder of a state dict of the published code, for evaluate and fine-tuning.

    Widths, numbers of relations, filters and the like are read off the weights; state heads, passes and pooling, which
    no shape tells, as options or in a --config.
    """
    config, flags = parse_options(
        argv,
        ImportFlags(state=tyro.MISSING),
        program=f"{PROGRAM} import",
        description=inspect.getdoc(import_state),
        aliases=_ALIASES,
    )
    from rich.markup import escape

    from lrd_jax.display import results_table, say
    from lrd_jax.fitting import print_table
    from lrd_jax.imported import import_state as make_run

    results = make_run(flags.state, config)
    title = f"{config.model.name} of {flags.state.name} on {config.dataset_name}"
    print_table(results_table(results["dev"], results["test"], title=escape(title)))
    say(f"run folder: {quoted(config.run_folder.absolute())}")


def parity(files: tyro.conf.Positional[tuple[Path, ...]]) -> None:
    """Compare what golden files hold with what we compute, quantity by quantity.

    Exit code 1 where a value differs by more than 1e-5, or a gradient by more than 1e-4 relative to its largest entry
    (to 2e-3 where that is smaller, since the files are float32); 2 for a file that cannot be read.

    Args:
      files: Golden files (.npz: param/*, batch/*, hyper/*, out/*, grad/*).
    """
    if not files:
        raise UserError("no file is given", remedy=f"{PROGRAM} parity FILE.npz [FILE.npz ...]")
    from lrd_jax.compiled import keep_compiled
    from lrd_jax.data.cache import cache_dir
    from lrd_jax.devices import start_devices
    from lrd_jax.display import say
    from lrd_jax.parity import compare_file, report, summary

    start_devices()
    keep_compiled(cache_dir() / "compiled")
    compared = []
    for path in files:
        compared.append(compare_file(path))
        say(report(path, compared[-1]))
    line, agrees = summary(compared)
    say(line)
    if not agrees:
        sys.exit(1)


def main() -> None:
    """Parse the command line and do what it says."""
    if sys.argv[1:2] == ["import"]:
        import_state(sys.argv[2:])  # takes every option of a run, which tyro has to be told in another way
    else:
        tyro.extras.subcommand_cli_from_dict({"import": import_state, "parity": parity}, prog=PROGRAM)


if __name__ == "__main__":
    run_command(main)
