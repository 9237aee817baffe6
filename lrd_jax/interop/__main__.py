"""Import, export and compare weights and results of the published PyTorch code.

python -m lrd_jax.interop import STATE --model kda_lrd --data DIR --out RUN --assume-published --check SCORES.npz
python -m lrd_jax.interop export RUN --out state.npz
python -m lrd_jax.interop parity FILE.npz [FILE.npz ...]

Sizes follow from the weights. Some options that affect ranks do not, and `import` requires them:

model                      option                       published
rcf, kda, rcf_lrd, kda_lrd --model.num-layers           5 (passes; --num_layers of the published code, 1 by default)
                           --model.num-heads            4 (--num_heads, 1 by default)
                           --model.pooling              mean (--pooling average; attention is visible in the weights)
                           --model.include-value        yes (--include_val 1)
                           --data.history-length        20 (--history_max)
gru4rec                    --data.history-length        20
sasrec, tisasrec           --model.num-heads            1 in ReChorus's scripts, 4 by default (--num_heads)
tisasrec                   --model.longest-time-unit    65535 in the paper's code, None in ReChorus
caser                      none

Wrong values, such as two heads instead of four, still fit the weights but give other ranks. Use --check to detect them.
Its file (.npz) contains results of the published code for rows of test.csv, in any order: user_id and item_id (the
target) [N], scores [N, 1 + n] of the target and then of the row's neg_items, and rank [N] of the target. If the scores
differ, the exit code is 2 and nothing is imported.
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
    """State dict of the published code or of ReChorus, with its original parameter names: .npz, .safetensors or, if
    torch is installed, .pt and .pth (read with weights_only=True)."""
    config: Path | None = None
    """TOML file with options that differ from the defaults; options on the command line override it."""
    assume_published: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Use the published values for required options that are not given."""
    check: Path | None = None
    """File with scores and ranks (.npz: user_id, item_id, scores, rank) of the published code for rows of test.csv. If
    the imported model's scores differ, nothing is imported."""


def import_state(argv: list[str]) -> None:
    """Make a run folder from a state dict of the published code, for evaluation and fine-tuning.

    Widths and numbers of relations, filters etc. follow from the weights. Heads, passes, pooling, include_value,
    history length and TiSASRec's unit of time do not: give them as options or in a --config, or use --assume-published.
    --check tests whether they are right.
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
    from lrd_jax.terminal.lines import results_table, say
    from lrd_jax.terminal.tables import print_table

    set_up_jax(config.run.cpu_devices)
    with _by_own_names():
        results = make_run(flags.state, config, assume_published=flags.assume_published, check=flags.check)
    title = f"{config.model.name} of {flags.state.name} on {config.dataset_name}"
    print_table(results_table(results["dev"], results["test"], title=escape(title)))
    say(f"run folder: {quoted(config.run_folder.absolute())}")


def export(run: tyro.conf.Positional[Path], /, *, out: Path) -> None:
    """Write a run's best weights as a state dict for the published code.

    Names, layouts and aliases are the published ones; item biases have the extra row of the paper's code.

    Args:
      run: The run folder.
      out: The file: .npz, .safetensors or, if torch is installed, .pt.
    """
    from lrd_jax.command_line.jax_setup import set_up_jax
    from lrd_jax.interop.export_weights import export_run
    from lrd_jax.interop.infer_sizes import as_words
    from lrd_jax.terminal.lines import say

    set_up_jax(None)
    untold = export_run(run, out)
    say(f"state dict: {quoted(out.absolute())}")
    if untold:
        say(f"options that do not follow from its shapes: {as_words(untold)}")


@contextlib.contextmanager
def _by_own_names() -> Iterator[None]:
    """Renames options in messages to the names of this command: run.workdir is --out here."""

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
    """Compare the contents of golden files with this package's results, quantity by quantity.

    The exit code is 1 if a value differs by more than 1e-5, or a gradient by more than 1e-4 relative to its largest
    entry (or to 2e-3 if that is larger, because the files are float32); 2 if a file cannot be read.

    Args:
      files: Golden files (.npz: param/*, batch/*, hyper/*, out/*, grad/*).
    """
    if not files:
        raise UserError("no file is given", remedy=f"{PROGRAM} parity FILE.npz [FILE.npz ...]")
    from lrd_jax.command_line.jax_setup import set_up_jax
    from lrd_jax.interop.parity import compare_file, report, summary
    from lrd_jax.terminal.lines import say

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
    """Parses the command line and runs the sub-command."""
    if sys.argv[1:2] == ["import"]:
        import_state(sys.argv[2:])  # takes every option of a run, so its parser is built differently
    else:
        tyro.extras.subcommand_cli_from_dict({"import": import_state, "export": export, "parity": parity}, prog=PROGRAM)


if __name__ == "__main__":
    run_command(main)
