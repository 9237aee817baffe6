from __future__ import annotations

import re

import pytest

from lrd_jax.data.cache import cache_dir
from lrd_jax.data.rechorus import read_corpus
from lrd_jax.errors import UserError

from .conftest import DEV, TRAIN, replace

BAD = {
    "missing file": (
        lambda folder: (folder / "dev.csv").unlink(),
        "dev.csv: the file is missing",
    ),
    "empty file": (
        lambda folder: (folder / "dev.csv").write_text(""),
        "dev.csv: the file is empty",
    ),
    "only a byte order mark": (
        lambda folder: (folder / "train.csv").write_bytes(b"\xef\xbb\xbf"),
        "train.csv: the file is empty",
    ),
    "only a byte order mark and blanks of Unicode": (
        lambda folder: (folder / "item_meta.csv").write_text("\ufeff\n\u00a0\n\u2028"),
        "item_meta.csv: the file is empty",
    ),
    "history that is a link to nothing": (
        lambda folder: (folder / "history.csv").symlink_to("elsewhere.csv"),
        "history.csv: it is a link to elsewhere.csv, which cannot be opened (No such file or directory)",
    ),
    "history that is a link to itself": (
        lambda folder: (folder / "history.csv").symlink_to("history.csv"),
        "history.csv: it is a link to history.csv, which cannot be opened (Too many levels of symbolic links)",
    ),
    "metadata that is a link to nothing": (
        lambda folder: [(folder / "item_meta.csv").unlink(), (folder / "item_meta.csv").symlink_to("/nowhere")],
        "item_meta.csv: it is a link to /nowhere, which cannot be opened",
    ),
    "escape codes in a column's name": (
        replace("train.csv", "time", "\x1b[31mtime"),
        r"the column is missing. Add it to the tab-separated first line (found: user_id, item_id, '\x1b[31mtime')",
    ),
    "empty metadata": (
        lambda folder: (folder / "item_meta.csv").write_text(" \n"),
        "item_meta.csv: the file is empty",
    ),
    "only a header": (
        lambda f: (f / "dev.csv").write_text(DEV.split("\n")[0]),
        "dev.csv: the file has no rows",
    ),
    "missing column": (
        replace("train.csv", "time", "when"),
        "train.csv, line 1, field 'time': the column is missing",
    ),
    "no negatives column": (
        replace("test.csv", "neg_items", "x"),
        "line 1, field 'neg_items': the column is missing",
    ),
    "column twice": (
        replace("item_meta.csv", "i_color", "i_tag"),
        "line 1, field 'i_tag': a column name",
    ),
    "too few fields": (
        replace("train.csv", "2\t3\t5", "2\t3"),
        "train.csv, line 4: the line has 2 tab-separated",
    ),
    "blank line": (
        replace("train.csv", "2\t3\t5", "\n2\t3\t5"),
        "train.csv, line 4: the line has 1 tab-separated",
    ),
    "too many fields": (
        replace("dev.csv", "[5, 5]", "[5,\t5]"),
        "dev.csv, line 3: the line has 5 tab-separated",
    ),
    "wrong type": (
        replace("train.csv", "2\t3\t5", "2\tx3\t5"),
        "train.csv, line 4, field 'item_id': 'x3' is not",
    ),
    "fraction": (
        replace("train.csv", "1\t2\t20", "1\t2\t20.5"),
        "train.csv, line 3, field 'time': '20.5' is not",
    ),
    "empty cell": (
        replace("train.csv", "1\t2\t20", "\t2\t20"),
        "train.csv, line 3, field 'user_id': '' is not",
    ),
    "id below 1": (
        replace("train.csv", "1\t2\t20", "1\t0\t20"),
        "line 3, field 'item_id': '0' is below 1",
    ),
    "user below 1": (
        replace("test.csv", "2\t4\t7", "-2\t4\t7"),
        "test.csv, line 3, field 'user_id': '-2' is below 1",
    ),
    "id beyond 32 bits": (
        replace("train.csv", "1\t2\t20", "1\t2147483648\t20"),
        "line 3, field 'item_id'",
    ),
    "id beyond 64 bits": (
        replace("train.csv", "1\t2\t20", "1\t9" + "9" * 30 + "\t20"),
        "does not fit in 32 bits",
    ),
    "absurd id": (
        replace("train.csv", "1\t2\t20", "1\t2147483647\t20"),
        "line 3, field 'item_id': '2147483647' is far",
    ),
    "negative time": (
        replace("train.csv", "1\t2\t20", "1\t2\t-1"),
        "train.csv, line 3, field 'time': '-1' is below 0",
    ),
    "milliseconds": (
        replace("test.csv", "4\t7", "4\t1400000000000"),
        "test.csv, line 3, field 'time': '1400000000000'",
    ),
    "list does not parse": (
        replace("dev.csv", "[5, 5]", "[5, 5"),
        "dev.csv, line 3, field 'neg_items': '[5, 5' is not",
    ),
    "code in a list": (
        replace("dev.csv", "[5, 5]", "[int(5), 5]"),
        "dev.csv, line 3, field 'neg_items'",
    ),
    "no-break space in a list": (
        replace("dev.csv", "[5, 5]", "[5,\u00a05]"),
        r"dev.csv, line 3, field 'neg_items': '[5,\xa05]' is not a list of whole numbers",
    ),
    "vertical tab in a list": (
        replace("item_meta.csv", "[3, 1]", "[3,\v1]"),
        r"item_meta.csv, line 2, field 'r_also': '[3,\x0b1]' is not a list of whole numbers",
    ),
    "ideographic space in a list of values": (
        replace("item_meta.csv", "[2, 1]", "[2,\u30001]"),
        r"item_meta.csv, line 2, field 'i_tag': '[2,\u30001]' is not a list of whole numbers",
    ),
    "null in a list": (
        replace("dev.csv", "[5, 5]", "[null, 5]"),
        "dev.csv, line 3, field 'neg_items'",
    ),
    "negative below 1": (
        replace("dev.csv", "[5, 5]", "[0, 5]"),
        "line 3, field 'neg_items': '[0, 5]' contains an id below",
    ),
    "unknown negative": (
        replace("dev.csv", "[5, 5]", "[5, 6]"),
        "dev.csv, line 3, field 'neg_items': item 6 is unknown",
    ),
    "unequal negatives": (
        replace("dev.csv", "[5, 5]", "[5]"),
        "dev.csv, line 3, field 'neg_items': the list has 1",
    ),
    "no negatives": (
        replace("dev.csv", "[4, 5]", "[]"),
        "dev.csv, line 2, field 'neg_items': the list has no",
    ),
    "target as negative": (
        replace("dev.csv", "[5, 5]", "[5, 2]"),
        "line 3, field 'neg_items': item 2 is both the target",
    ),
    "huge negative": (
        replace("dev.csv", "[5, 5]", "[5, 4294967297]"),
        "line 3, field 'neg_items'",
    ),
    "no history": (
        replace("dev.csv", "2\t2\t6", "3\t2\t6"),
        "dev.csv, line 3, field 'user_id': user '3' has no earlier",
    ),
    "later history": (
        replace("dev.csv", "2\t2\t6", "2\t2\t4"),
        "dev.csv, line 3, field 'user_id': user '2' has no",
    ),
    "item twice": (
        replace("item_meta.csv", "5\t1\t", "3\t1\t"),
        "item_meta.csv, line 5, field 'item_id': '3' appears",
    ),
    "no item id": (
        replace("item_meta.csv", "item_id", "id"),
        "item_meta.csv, line 1, field 'item_id': the column",
    ),
    "unknown relation": (
        replace("item_meta.csv", "[3, 1]", "[3, 6]"),
        "line 2, field 'r_also': item 6 is unknown",
    ),
    "bad relation": (
        replace("item_meta.csv", "[3, 1]", "3"),
        "item_meta.csv, line 2, field 'r_also': '3' is not a list",
    ),
    "bad attribute": (
        replace("item_meta.csv", "\t3\n", "\tred\n"),
        "item_meta.csv, line 4, field 'i_tag': 'red' is not",
    ),
    "attribute below 1": (
        replace("item_meta.csv", "5\t1\t", "5\t-1\t"),
        "item_meta.csv, line 5, field 'i_color'",
    ),
    "too many entities": (
        replace("item_meta.csv", "5\t1\t", "5\t2147483645\t"),
        "field 'i_color': items and attribute",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(folder, case):
    change, message = BAD[case]
    change(folder)
    with pytest.raises(UserError, match=re.escape(message)):
        read_corpus(folder)
    assert not (cache_dir() / "corpus").exists()


def test_missing_folder(tmp_path):
    with pytest.raises(UserError, match="cannot open the dataset folder"):
        read_corpus(tmp_path / "none")


def test_not_utf8(folder):
    (folder / "train.csv").write_bytes(TRAIN.encode() + b"\xff\n")
    with pytest.raises(UserError, match=re.escape("train.csv, line 6: the text is not UTF-8")):
        read_corpus(folder)
