"""CSV and TSV as people save them: encodings, separators, quotation marks, blank lines, no header, packed."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zipfile

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrd_jax.data.sources.delimited import TextLayout
from lrd_jax.data.sources.table_files import read_table
from lrd_jax.errors import UserError

TEXT = "user,item,time\nü,a,1\nv,b,2\n"
ROWS = [("ü", "a", "1"), ("v", "b", "2")]


def rows(tmp_path, data, name="t.csv", columns=None, **layout):
    file = tmp_path / name
    file.write_bytes(data if isinstance(data, bytes) else data.encode())
    return read_table(file, columns, layout=TextLayout(**layout)).rows()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "big16", "big32"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("head", ["", "sep=;\n", '"sep=\t"\n'])
def test_encodings_line_ends_and_separator_lines(tmp_path, encoding, end, head):
    separator = head.strip('"\n')[-1:] or ","
    text = (head + TEXT.replace(",", separator)).replace("\n", end)
    big = {"big16": b"\xfe\xff" + text.encode("utf-16-be"), "big32": b"\0\0\xfe\xff" + text.encode("utf-32-be")}
    data = big.get(encoding) or text.encode(encoding)
    assert rows(tmp_path, data) == rows(tmp_path, data, "t.tsv") == ROWS


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (TEXT.encode("latin-1"), r"t.csv, line 2: the text is not UTF-8 \(byte 0xfc at 1 of the line\). .*iconv"),
        (TEXT.replace("b", "\u20ac").encode("cp1252"), "line 2: the text is not UTF-8"),
        (TEXT.encode("utf-16-le"), "line 1: it contains zero bytes, so it is UTF-16 without a byte-order mark"),
        (TEXT.encode("utf-16")[:-1], "line 3: the text has a byte-order mark of UTF-16 but is not valid"),
        (b"", "the file is empty"),
        (b"\xef\xbb\xbf\n\n", "the file is empty"),
        ("u,t\n1,2\n1,2,3\n", r"line 3: the line has 3 fields, not 2 \(u, t\)"),
        ('u,t\n1,"a, b"\n1,2,3\n', "line 3: the line has 3 fields"),
        ("u,t,t\n1,2,3\n", "line 1, field 't': two columns have this name"),
        ("u,t, t\n1,2,3\n", "line 1, field 't': two columns have this name"),
        ('u,t\n1,"open\n2,b\n', "line 2: a quotation mark that opens a field is not closed. .*--quote none"),
        ('u,t\n1,a\n2,"open\n3,b\n4,"c\n5,d\n', "line 3: a quotation mark opens a field, and on line 5 text follows"),
        ('u,t\n1,"a"b\n', "line 2: a quotation mark opens a field, and here text follows"),
        ('u,t\n1,"open\n2,b\n3,c"\n4,d\n', "line 2: this and the next 2 lines are one row if .*--quote double or"),
        ('u,t\n1,"open\n2,b\n\n3,c"\n4,d\n', "line 2: this and the next 3 lines are one row if"),
        ('u,"t\n1,2\n', "line 1: a quotation mark that opens a field is not closed"),
    ],
)
def test_what_is_refused_with_its_line(tmp_path, data, message):
    with pytest.raises(UserError, match=message):
        rows(tmp_path, data)


def test_quotation_marks(tmp_path):
    text = 'u,t\n1,12" vinyl\n2,"a, b"\n3,"say ""hi"""\n4,x\n'
    assert rows(tmp_path, text) == [("1", '12" vinyl'), ("2", "a, b"), ("3", 'say "hi"'), ("4", "x")]
    lines = 'u,t\n1,"two\nlines, and more, and more"\n2,b\n'
    assert rows(tmp_path, lines) == [("1", "two\nlines, and more, and more"), ("2", "b")]
    opened = 'u,t\n1,"open\n2,b\n3,c"\n'
    assert rows(tmp_path, opened, quote="double") == [("1", "open\n2,b\n3,c")]
    assert rows(tmp_path, opened, quote="none") == [("1", '"open'), ("2", "b"), ("3", 'c"')]
    assert rows(tmp_path, "u,t\n1,'a, b'\n", quote="single") == [("1", "a, b")]
    assert rows(tmp_path, opened.replace(",", "\t"), "t.tsv") == [("1", '"open'), ("2", "b"), ("3", 'c"')]
    assert rows(tmp_path, 'u\tt\n1\t"a\tb"\n', "t.tsv", quote="double") == [("1", "a\tb")]
    assert rows(tmp_path, 'u,t\n1,"a, b"\n', "t.txt", separator=",") == [("1", "a, b")]
    huge = "x" * 200_000
    assert rows(tmp_path, f'u,t\n1,"{huge}\n"\n') == [("1", f"{huge}\n")]


@settings(max_examples=60, deadline=None)
@given(
    cells=st.lists(
        st.tuples(*[st.text(st.sampled_from("ab\"' ,;\n\té"), max_size=6).map(str.strip)] * 2).filter(any), min_size=1
    )
)
def test_what_polars_writes_is_what_is_read(tmp_path_factory, cells):
    path = tmp_path_factory.mktemp("csv") / "t.csv"
    pl.DataFrame(cells, schema=["u", "t"], orient="row").write_csv(path)
    read = read_table(path, layout=TextLayout(quote="double"))
    assert read.select(pl.all().fill_null("")).rows() == cells


@pytest.mark.parametrize("name", ["t.csv", "t.tsv"])
@pytest.mark.parametrize("marks", ["", '"a b"'])
def test_fields_too_many_or_too_few(tmp_path, capsys, name, marks):
    """Also where the columns that are read come first: an unquoted separator in a title shifts the others."""
    separator = "," if name == "t.csv" else "\t"
    lines = ["user,title,item,time", f"a,{marks},i,1", "b,x, y,j,2"]
    with pytest.raises(UserError, match="line 3: the line has 5 fields, not 4"):
        rows(tmp_path, "\n".join(lines).replace(",", separator), name, columns=["user", "item"])
    lines[2] = '"b","x, y","j",2,"z"' if name == "t.csv" else "b,x,j,2,z"
    with pytest.raises(UserError, match="line 3: the line has 5 fields, not 4"):
        rows(tmp_path, "\n".join(lines).replace(",", separator), name, columns=["user", "item"])
    assert capsys.readouterr().err == ""
    lines[2] = "b,x"
    text = "\n".join(lines + ["", "  "]).replace(",", separator)
    assert rows(tmp_path, text, name, columns=["user", "item"]) == [("a", "i"), ("b", None)]
    told = "1 line has fewer than 4 fields (first: line 3); missing fields are read as empty"
    assert capsys.readouterr().err == f"warning: {tmp_path / name}: {told}\n"
    if marks and name == "t.csv":
        rows(tmp_path, text.replace("i,1", 'i,"1\n2"'), name)
        assert "1 line has fewer than 4 fields (first: line 4)" in capsys.readouterr().err


def test_blank_lines_and_blanks(tmp_path):
    assert rows(tmp_path, "\n\nu,t\n1,2\n\n  \n,\n3,4\n\n\n") == [("1", "2"), ("3", "4")]
    assert rows(tmp_path, '\nu,t\n1,"2\n2"\n\n  \n3,4\n\n') == [("1", "2\n2"), ("3", "4")]
    assert rows(tmp_path, 'u, t\n1, 2\n3, "a, b"\n') == [("1", "2"), ("3", "a, b")]
    assert rows(tmp_path, "u, t \n1,2\n", columns=["t"]) == [("2",)]
    assert rows(tmp_path, "u,t,z\n1,,\n,,3\n", columns=["u", "t"]) == [("1", None), (None, None)], "row 2 holds a z"
    assert rows(tmp_path, ",u,t\n0,1,2\n") == [("1", "2")], "what pandas calls its index has no name"


def test_separators_are_taken_from_the_header_where_the_usual_one_is_not_there(tmp_path):
    for separator in ",\t;|":
        for name in ("t.csv", "t.tsv", "t.txt", "t.data"):
            assert rows(tmp_path, TEXT.replace(",", separator), name) == ROWS
    assert rows(tmp_path, "a;b,c\n1;2,3\n") == [("1;2", "3")]


def test_without_header(tmp_path, capsys):
    text = "7\t2020-09-13T19:26:40Z\t400009\n8\t2020-09-14T19:26:40Z\t400010\n"
    assert rows(tmp_path, text, "t.txt", columns=["1", "3"], header=False) == [("7", "400009"), ("8", "400010")]
    assert rows(tmp_path, ("\ufeff" + text), "t.txt", columns=["1"], header=False) == [("7",), ("8",)]
    assert rows(tmp_path, 'a,"b\nc"\n', header=False) == [("a", "b\nc")]
    with pytest.raises(UserError, match="line 1, field 'user': .* has no header, add --no-header"):
        rows(tmp_path, text, "t.txt", columns=["user"])
    assert capsys.readouterr().err == ""
    assert rows(tmp_path, text, "t.txt", columns=["7"]) == [("8",)]
    assert "looks like a row (2020-09-13T19:26:40Z); see --no-header" in capsys.readouterr().err
    with pytest.raises(UserError, match=r"field '4': .*\(found: 1, 2, 3\)"):
        rows(tmp_path, text, "t.txt", columns=["4"], header=False)


def test_packed(tmp_path):
    for ending, pack in ((".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress)):
        assert rows(tmp_path, pack(TEXT.encode("utf-16")), "t.csv" + ending) == ROWS
        assert rows(tmp_path, pack(TEXT.replace(",", "\t").encode()), "t.TSV" + ending) == ROWS
        with pytest.raises(UserError, match="cannot be unpacked"):
            rows(tmp_path, pack(TEXT.encode() * 50)[:-9], "t.csv" + ending)
    zst = b"(\xb5/\xfd\x00Xa\x00\x00a,b\nx,1\n,\xc3\xa9\n"
    assert rows(tmp_path, zst, "t.csv.zst") == [("x", "1"), (None, "é")]


def zipped(path, members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return path


def test_zips(tmp_path):
    mac = {"in/log.tsv": TEXT.replace(",", "\t"), "__MACOSX/._log.tsv": "x"}
    assert read_table(zipped(tmp_path / "a.zip", mac)).rows() == ROWS
    assert read_table(zipped(tmp_path / "b.csv", {"x.jsonl": '{"a": 1}'})).rows() == [(1,)]
    with pytest.raises(UserError, match=r"the zip contains 2 files, not one \(a.csv, b.csv\)"):
        read_table(zipped(tmp_path / "c.zip", {"a.csv": TEXT, "b.csv": TEXT}))
    with pytest.raises(UserError, match="it is an Excel workbook"):
        read_table(zipped(tmp_path / "d.xlsx", {"[Content_Types].xml": "", "xl/workbook.xml": ""}))
    (tmp_path / "e.zip").write_bytes(b"PK\x03\x04")
    with pytest.raises(UserError, match="the zip cannot be read"):
        read_table(tmp_path / "e.zip")
