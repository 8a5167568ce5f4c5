"""csv and tsv: quotes, line breaks, broken rows."""

import gzip
import tracemalloc

import pytest

from llm_core.data.records import BadRecord
from llm_core.data.sources.files import Files
from llm_core.errors import PedigreeError
from llm_core.experiment.sources import FilesSource
from tests.data.sources.units import made


def records(path, content, **options):
    path.write_bytes(content)
    return made(Files(FilesSource(paths=(str(path),), **options)).tasks(10_000))


def told(found):
    return [(r.row, r.reason if isinstance(r, BadRecord) else r.text) for r in found]


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_csv(tmp_path, end):
    lines = [
        b"\xef\xbb\xbfid,text,url",
        b"1,one,https://made.example",
        b"",
        b'2,"two, ""quoted""",',
        "3,äöü,u".encode(),
    ]
    found = records(tmp_path / "a.csv", end.join(lines), url_field="url")
    assert told(found) == [(0, "one"), (1, 'two, "quoted"'), (2, "äöü")]
    assert [record.url for record in found] == ["https://made.example", None, "u"]


def test_line_breaks_between_quotes_are_text(tmp_path):
    found = records(tmp_path / "a.csv", b'text,n\r\n"one\r\n\r\ntwo\nthree",1\r\nnext,2\r\n')
    assert told(found) == [(0, "one\r\n\r\ntwo\nthree"), (1, "next")]


def test_tsv(tmp_path):
    found = records(tmp_path / "a.tsv", b'n\ttext\n1\tone, two\n2\t"a\tb"\n')
    assert told(found) == [(0, "one, two"), (1, "a\tb")]


def test_broken_rows_are_set_aside_with_their_row(tmp_path):
    rows = [b"good,1", b"short", b"long,2,3", b'"a"b,4', b"bad \xff bytes,5", b"nul\0,6", b",7", b"good too,8"]
    found = records(tmp_path / "a.csv", b"text,n\n" + b"\n".join(rows))
    assert told(found) == [
        (0, "good"),
        (1, "not as many cells as the header"),
        (2, "not as many cells as the header"),
        (3, "not csv: ',' expected after '\"'"),
        (4, "not UTF-8"),
        (5, "NUL character"),
        (6, "empty text"),
        (7, "good too"),
    ]
    assert "\\xff" in found[4].excerpt


def test_a_quote_that_never_ends_is_told(tmp_path):
    found = records(tmp_path / "a.csv", b'text,n\ngood,1\n"open,2\nmore,3\n')
    assert told(found) == [(0, "good"), (1, "not csv: unexpected end of data")]


def test_a_field_may_be_as_long_as_a_record(tmp_path):
    content = b'text,n\n"' + b"x\n" * 150_000 + b'",1\nshort,2\n'
    assert [len(text) for _, text in told(records(tmp_path / "a.csv", content))] == [300_000, 5]
    found = records(tmp_path / "a.csv", b"text,n\n" + b"x" * 3000 + b",1\nshort,2\n", max_record_bytes=1000)
    assert told(found) == [(0, "longer than max_record_bytes"), (1, "short")]


def test_an_endless_row_takes_no_memory(tmp_path):
    path = tmp_path / "a.csv.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(b'text,n\n"')
        for _ in range(50):
            file.write((b"x" * 1000 + b"\n") * 1000)
    tracemalloc.start()
    try:
        found = records(path, path.read_bytes(), max_record_bytes=1 << 20)
        assert tracemalloc.get_traced_memory()[1] < 32 << 20
    finally:
        tracemalloc.stop()
    assert {record.reason for record in found} <= {"longer than max_record_bytes", "not as many cells as the header"}
    assert found[0].reason == "longer than max_record_bytes"


def test_headers(tmp_path):
    assert records(tmp_path / "a.csv", b"") == []
    assert records(tmp_path / "a.csv", b"text\n") == []
    for content, message in (
        (b"id,body\n1,x\n", r"a\.csv: its first row has no field 'text'; there are 'id', 'body'.*'text_field'"),
        (b"text,text\n1,x\n", r"a\.csv: its first row names two fields 'text'"),
        (b"text,\xff\n1,x\n", r"a\.csv: its first row, which names the fields, can't be read: not UTF-8"),
    ):
        with pytest.raises(PedigreeError, match=message):
            records(tmp_path / "a.csv", content)
