"""Tables in terminals of every width."""

import io

import pytest
from rich.console import Console
from rich.table import Table

from lrd_jax.terminal.tables import fit

FIGURES = ["HR@5", "NDCG@5", "HR@10", "NDCG@10"]


def table() -> Table:
    made = Table(title="ml-100k: test, given candidates")
    for name in ("run", "model"):
        made.add_column(name)
    for name in FIGURES:
        made.add_column(name, justify="right")
    made.add_row("runs/ml-100k-kda_lrd-seed0", "kda_lrd", "0.1234", "0.2345", "0.3456", "0.4567", end_section=True)
    made.add_row("runs/ml-100k-kda_lrd-seed1", "kda_lrd", "0.5678", "0.6789", "0.7891", "0.8912")
    return made


def shown(width: int) -> tuple[list[str], list[str]]:
    """The lines of the table below its title, and the columns that were left out."""
    fitting, left_out = fit(table(), width)
    screen = io.StringIO()
    Console(file=screen, width=width).print(fitting)
    lines = screen.getvalue().splitlines()
    return lines[next(n for n, line in enumerate(lines) if line.startswith("┏")) :], left_out


@pytest.mark.parametrize("width", range(30, 90))
def test_a_line_per_row_and_whole_figures(width):
    lines, left_out = shown(width)
    assert len(lines) == 7 and all(len(line) <= width for line in lines)
    kept = [name for name in FIGURES if name not in left_out]
    assert kept == FIGURES[: len(kept)] and kept
    for line, values in ((lines[3], "0.1234 0.2345 0.3456 0.4567"), (lines[5], "0.5678 0.6789 0.7891 0.8912")):
        assert [word for word in line.split() if word.startswith("0.")] == values.split()[: len(kept)]


def test_what_has_room_is_whole():
    lines, left_out = shown(100)
    assert not left_out and "runs/ml-100k-kda_lrd-seed0" in lines[3]


def test_a_path_keeps_its_end():
    lines, left_out = shown(64)
    assert "│ …da_lrd-seed0 │ kda_lrd" in lines[3] and "│ …da_lrd-seed1 │ kda_lrd" in lines[5]


def test_control_characters_are_shown():
    made = Table(title="\x1bred")
    made.add_column("name\x07")
    made.add_row("a\x1bb")
    screen = io.StringIO()
    Console(file=screen, width=80).print(fit(made, 80)[0])
    assert "\x1b" not in screen.getvalue() and "\x07" not in screen.getvalue()
    assert "a\\x1bb" in screen.getvalue() and "\\x1bred" in screen.getvalue()
