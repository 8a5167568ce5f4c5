"""csv and tsv: quotes, line breaks, broken rows."""

import gzip
import time
import tracemalloc

import pytest

from llm_core.data.records import BadRecord
from llm_core.data.sources.files.reader import Files
from llm_core.data.sources.files.spec import FilesSource
from llm_core.errors import PedigreeError
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


def test_a_header_in_the_middle_is_no_document(tmp_path):
    (tmp_path / "a.csv").write_text("text,n\na,1\ntext,n\nb,2\n")
    stats = []
    found = made(Files(FilesSource(paths=(str(tmp_path / "a.csv"),))).tasks(10_000), stats)
    assert told(found) == [(0, "a"), (2, "b")]
    assert stats[0]["skipped"] == {"header again": 1}


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
    assert [record.excerpt.partition(":")[0] for record in found[1:5]] == [f"line {line}" for line in (3, 4, 5, 6)]


@pytest.mark.parametrize(
    ("end", "last"),
    [
        (b"", []),
        (b'"quoted, too",4\n', ["quoted, too"]),
        (b'a "sign" within,4\nlast,5\n', ['a "sign" within', "last"]),
        (b"x" * 90 + b",4\nlast,5\n", ["last"]),
    ],
)
def test_a_quote_that_never_ends_costs_its_own_line(tmp_path, end, last):
    found = records(tmp_path / "a.csv", b'text,n\ngood,1\n"open,2\nmore,3\n' + end, max_record_bytes=80)
    assert [record.text for record in found if not isinstance(record, BadRecord)] == ["good", "more", *last]
    assert [record.row for record in found if isinstance(record, BadRecord)] == [1] + [3] * (b"xx" in end)
    assert found[1].reason.endswith(" (a quotation mark without its partner?)")
    assert found[1].excerpt == 'line 3: "open,2'


def test_quotes_that_never_end_take_linear_time(tmp_path):
    """Every line ends within a cell, whether it begins in one or not, so that no row ever ends."""
    start = time.process_time()
    with pytest.raises(
        PedigreeError, match=r"a\.csv: line \d+: a quotation mark without its partner, as in many lines"
    ):
        records(tmp_path / "a.csv", b"text,n\n" + b'a","c\n' * 20_000)
    assert time.process_time() - start < 5  # read again after every line: minutes


def test_a_carriage_return_alone_is_told(tmp_path):
    for content, row in ((b"text,n\ra,1\rb,2\r", "its first row"), (b"text,n\na\rb,1\n", "a carriage return")):
        try:
            message = records(tmp_path / "a.csv", content)[0].reason
        except PedigreeError as error:
            message = str(error)
        assert row in message
        assert "a carriage return that neither ends a line nor is between quotation marks" in message


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
        assert tracemalloc.get_traced_memory()[1] < 45 << 20  # the row alone has 48 MiB
    finally:
        tracemalloc.stop()
    assert [record.row for record in found if record.reason.startswith("longer than max_record_bytes")] == [0]
    assert {record.reason for record in found[1:]} == {"not as many cells as the header"}


def test_headers(tmp_path):
    assert records(tmp_path / "a.csv", b"") == []
    assert records(tmp_path / "a.csv", b"text\n") == []
    for content, message in (
        (b"id,body\n1,x\n", r"a\.csv: its first row has no field 'text'; its fields are 'id', 'body'.*'text_field'"),
        (b"text,text\n1,x\n", r"a\.csv: its first row names two fields 'text'"),
        (b"text,\xff\n1,x\n", r"a\.csv: its first row, which names the fields, can't be read: not UTF-8"),
    ):
        with pytest.raises(PedigreeError, match=message):
            records(tmp_path / "a.csv", content)
