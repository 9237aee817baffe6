"""Weights and numbers of the published PyTorch code, in and out.

python -m lrd_jax.interop import STATE --model kda_lrd --data DIR --out RUN --assume-published --check SCORES.npz
python -m lrd_jax.interop export RUN --out state.npz
python -m lrd_jax.interop parity FILE.npz [FILE.npz ...]

Sizes are read off the weights, but some options that ranks depend on leave no trace there, and `import` asks for them:

model                      option                       published
rcf, kda, rcf_lrd, kda_lrd --model.num-layers           5 (passes; --num_layers of the published code, 1 by default)
                           --model.num-heads            4 (--num_heads, 1 by default)
                           --model.pooling              mean (--pooling average; attention is seen in the weights)
                           --model.include-value        yes (--include_val 1)
                           --data.history-length        20 (--history_max)
gru4rec                    --data.history-length        20
sasrec, tisasrec           --model.num-heads            1 in ReChorus's scripts, 4 by default (--num_heads)
tisasrec                   --model.longest-time-unit    65535 in the paper's code, None in ReChorus
caser                      none

Wrong ones are accepted, since the weights fit all the same, and give other ranks: two heads for four that were trained,
for instance. --check finds that out. Its file (.npz) holds what the published code computed for rows of test.csv, in
any order: user_id and item_id (the target) [N], scores [N, 1 + n] of the target and then of the row's neg_items, and
rank [N] of the target. Where the scores differ, the exit code is 2 and nothing is imported.
"""

from __future__ import annotations

if __name__ == "__main__":
    from lrd_jax.command_line.begin import begin

    begin()

import contextlib
import dataclasses
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import tyro

from lrd_jax.command_line.parse import parse_options, run_command
from lrd_jax.errors import UserError, quoted

PROGRAM = "python -m lrd_jax.interop"
_ALIASES = {"model.name": "--model", "data.path": "--data", "run.workdir": "--out"}


@dataclasses.dataclass(frozen=True)
class ImportFlags:
    """Options of `import` besides the configuration of the run."""

    state: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="STATE")]
    """State dict of the published code or of ReChorus, by its own parameter names: .npz, .safetensors or, where torch
    is installed, .pt and .pth, which are read with weights_only=True."""
    config: Path | None = None
    """TOML file of options that differ from the defaults; options on the command line override it."""
    assume_published: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Take the published values of the options that no shape tells and that are not stated."""
    check: Path | None = None
    """File of scores and ranks (.npz: user_id, item_id, scores, rank) that the published code computed for rows of
    test.csv; where the imported model's scores differ, nothing is imported."""


def import_state(argv: list[str]) -> None:
    """Make a run folder of a state dict of the published code, for evaluate and fine-tuning.

    Widths, numbers of relations, filters and the like are read off the weights. Heads, passes, pooling, include_value,
    the history's length and TiSASRec's unit of time, which no shape tells, are stated as options, in a --config, or
    taken with --assume-published; --check finds out whether they were right.
    """
    with _by_own_names():
        config, flags = parse_options(
            argv,
            ImportFlags(state=tyro.MISSING),
            program=f"{PROGRAM} import",
            description=inspect.getdoc(import_state),
            aliases=_ALIASES,
        )
    from rich.markup import escape

    from lrd_jax.command_line.jax_setup import set_up_jax
    from lrd_jax.interop.import_weights import import_state as make_run
    from lrd_jax.runs.tables import print_table
    from lrd_jax.runs.terminal import results_table, say

    set_up_jax(config.run.cpu_devices)
    with _by_own_names():
        results = make_run(flags.state, config, assume_published=flags.assume_published, check=flags.check)
    title = f"{config.model.name} of {flags.state.name} on {config.dataset_name}"
    print_table(results_table(results["dev"], results["test"], title=escape(title)))
    say(f"run folder: {quoted(config.run_folder.absolute())}")


def export(run: tyro.conf.Positional[Path], /, *, out: Path) -> None:
    """Write a run's best weights as a state dict that the published code loads.

    Names, layouts and second names are the published ones; item biases have the row to spare that the paper's code
    gives them.

    Args:
      run: The run folder.
      out: The file: .npz, .safetensors or, where torch is installed, .pt.
    """
    from lrd_jax.command_line.jax_setup import set_up_jax
    from lrd_jax.interop.export_weights import export_run
    from lrd_jax.interop.infer_sizes import as_words
    from lrd_jax.runs.terminal import say

    set_up_jax(None)
    untold = export_run(run, out)
    say(f"state dict: {quoted(out.absolute())}")
    if untold:
        say(f"what its shapes do not tell: {as_words(untold)}")


@contextlib.contextmanager
def _by_own_names() -> Iterator[None]:
    """Messages name an option as this command does: --out is run.workdir elsewhere."""

    def renamed(text: str | None) -> str | None:
        for option, alias in _ALIASES.items():
            text = text and text.replace(f"--{option}", alias).replace(option, alias)
        return text

    try:
        yield
    except UserError as error:
        parts = {"field": renamed(error.field), "remedy": renamed(error.remedy)}
        raise UserError(renamed(error.problem) or "", file=error.file, line=error.line, **parts) from error


def parity(files: tyro.conf.Positional[tuple[Path, ...]]) -> None:
    """Compare what golden files hold with what we compute, quantity by quantity.

    Exit code 1 where a value differs by more than 1e-5, or a gradient by more than 1e-4 relative to its largest entry
    (to 2e-3 where that is smaller, since the files are float32); 2 for a file that cannot be read.

    Args:
      files: Golden files (.npz: param/*, batch/*, hyper/*, out/*, grad/*).
    """
    if not files:
        raise UserError("no file is given", remedy=f"{PROGRAM} parity FILE.npz [FILE.npz ...]")
    from lrd_jax.command_line.jax_setup import set_up_jax
    from lrd_jax.interop.parity import compare_file, report, summary
    from lrd_jax.runs.terminal import say

    set_up_jax(None)
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
        tyro.extras.subcommand_cli_from_dict({"import": import_state, "export": export, "parity": parity}, prog=PROGRAM)


if __name__ == "__main__":
    run_command(main)
