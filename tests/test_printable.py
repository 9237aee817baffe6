"""Names that hold escape codes."""

import pytest

from lrd_jax.errors import UserError, printable, quoted
from lrd_jax.terminal.lines import say, warn

HIDDEN = {
    "escape": ("\x1b[31mred", r"\x1b[31mred"),
    "C1 control": ("\x9b2J", r"\x9b2J"),
    "bell and backspace": ("a\a\b", r"a\x07\x08"),
    "right to left": ("a\u202eb", r"a\u202eb"),
    "bytes that are no UTF-8": ("a\udcff", r"a\udcff"),
    "carriage return": ("good\rbad", r"good\rbad"),
}


@pytest.mark.parametrize("kind", HIDDEN)
def test_hidden_characters_are_shown_and_the_name_quoted(kind, tmp_path, capsys):
    name, shown = HIDDEN[kind]
    assert printable(f"{name} é 書") == f"{shown} é 書"
    assert quoted(name) == f"'{shown}'"
    error = UserError("there is no such column", file=tmp_path / name, remedy=f"Name one of {name}")
    assert str(error) == f"'{tmp_path}/{shown}': there is no such column. Name one of {shown}."
    say(f"results in {name}")
    assert capsys.readouterr().out == f"results in {shown}\n"


def test_other_names_stay_as_they_are(capsys):
    for name in ("plain", "with blank", "Größe", "書籍", "a'b", "\u00a0", r"back\slash"):
        assert printable(name) == quoted(name) == name
    assert printable("two\nlines") == "two\nlines" and quoted("two\nlines") == r"'two\nlines'"
    warn("something")
    assert capsys.readouterr() == ("", "warning: something\n")
