"""JSON lines, lists and Python's dictionaries as tables."""

from __future__ import annotations

import pytest

from lrd_jax.data.sources.table_files import read_table
from lrd_jax.errors import UserError


def rows(tmp_path, data, columns=None):
    file = tmp_path / "t.json"
    file.write_bytes(data if isinstance(data, bytes) else data.encode())
    return read_table(file, columns).rows()


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ('\n{"a":1}\n\n{"a":2}\r\n', [(1,), (2,)]),
        ('[{"a":1},\n{"a":2}]', [(1,), (2,)]),
        ('{"a":"é"}\n'.encode("utf-8-sig"), [("é",)]),
        ('{"a":"é"}\n'.encode("utf-16"), [("é",)]),
        ("{'a': u'x', 'b': True}\n\n{'a': None, 'b': False}\n", [("x", True), (None, False)]),
        ("{'a': 'it\\'s \"so\"'}\n", [('it\'s "so"',)]),
        ("{'a': '\\ud83d\\ude00 \\ud83d'}\n", [("\U0001f600 \ufffd",)]),
        ('{"a":NaN,"b":1}\n{"a":2,"b":3}\n', [(None, 1), (2, 3)]),
        (f'{{"a":{2**63}}}\n{{"a":1}}\n', [(2**63,), (1,)]),
        (f'{{"a":{10**50}}}\n{{"a":1}}\n', [(str(10**50),), ("1",)]),
        (f'[{{"a":[{10**50}]}},{{"a":NaN}}]', [([str(10**50)],), (None,)]),
    ],
)
def test_what_is_read(tmp_path, data, expected):
    assert rows(tmp_path, data) == expected


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ('{"a":1}\n{"a":\n', r"t.json, line 2: the line is neither a JSON object nor .* \(Expecting value\)"),
        ('{"a":1}\n5\n', "line 2: the line is not an object"),
        ("{'a': 1}\n{'a': open('x')}\n", "line 2: the line is neither"),
        ('[{"a":1},\n5]', "entry 2 of the list is not an object"),
        ('[{"a":1},\n{"a":', r"line 2: it is not JSON \(Expecting value\)"),
        ('{"a":1}\n{"a":"é"}\n'.encode("latin-1"), "line 2: the text is not UTF-8"),
        ('{"a":true}\n{"a":2}\n', "it cannot be read"),
        ("", "it cannot be read"),
    ],
)
def test_what_is_refused(tmp_path, data, message):
    with pytest.raises(UserError, match=message):
        rows(tmp_path, data)


def test_columns_that_are_not_there(tmp_path):
    for data in ('{"a":1}\n', "{'a': 1}\n"):
        with pytest.raises(UserError, match=r"field 'b': the column is missing. .*\(found: a\)"):
            rows(tmp_path, data, ["b"])
        assert rows(tmp_path, data, ["a"]) == [(1,)]
