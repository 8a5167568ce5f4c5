import gzip
import io
import sys
import time

import pytest
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from llm_core.data.records import Document
from llm_core.data.sources.files.reader import Files
from llm_core.data.sources.files.spec import FilesSource
from llm_core.data.sources.html import decoded
from llm_core.errors import PedigreeError
from tests.data.sources.units import made

SENTENCE = "The harbour master counts the boats every evening, and writes the number on a slate. "
TEXT = SENTENCE * 5


def page(text=TEXT, head=""):
    menu = "<nav><a href='/'>Home</a><a href='/about'>About us</a></nav>"
    return f"<html><head>{head}<title>Boats</title></head><body>{menu}<article><p>{text}</p></article></body></html>"


def records(path, stats=None, **options):
    return made(Files(FilesSource(paths=(str(path),), **options)).tasks(100), stats)


def archive(path, entries):
    """Entries: (type, url, HTTP status line or None, content type, body)."""
    out = io.BytesIO()
    writer = WARCWriter(out, gzip=".gz" in path.suffixes)
    for kind, url, status, content_type, body in entries:
        http = StatusAndHeaders(status, [("Content-Type", content_type)], protocol="HTTP/1.0") if status else None
        writer.write_record(
            writer.create_warc_record(
                url, kind, payload=io.BytesIO(body), http_headers=http, warc_content_type=content_type
            )
        )
    path.write_bytes(out.getvalue())
    return path


@pytest.mark.parametrize("name", ["a.html", "a.htm", "a.html.gz"])
def test_the_main_text_of_a_page(tmp_path, name):
    content = page().encode()
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    (found,) = records(tmp_path / name)
    assert (found.origin, found.row, found.text) == (name, 0, TEXT.strip())


def test_a_page_without_text_does_not_count_against_the_file(tmp_path):
    (tmp_path / "a.html").write_text("<html><body><script>x()</script></body></html>")
    stats = []
    (found,) = records(tmp_path / "a.html", stats)
    assert found.reason == "no main text"
    assert (stats[0]["bad"], stats[0]["expected"]) == ({}, {"no main text": 1})
    (tmp_path / "a.html").write_text(page())
    assert records(tmp_path / "a.html", max_record_bytes=100)[0].reason == "longer than max_record_bytes"


@pytest.mark.parametrize(
    ("content", "charset", "expected"),
    [
        ("ä€".encode(), None, "ä€"),
        ("ä€".encode("cp1252"), None, "ä€"),
        ("ä€".encode("cp1252"), "ISO-8859-1", "ä€"),
        ("жук".encode("koi8-r"), "koi8-r", "жук"),
        (b'<meta charset="koi8-r">' + "жук".encode("koi8-r"), None, '<meta charset="koi8-r">жук'),
        (b'<meta charset="koi8-r">' + "жук".encode(), "utf-8", '<meta charset="koi8-r">жук'),
        (b'<meta charset="koi8-r">' + "жук".encode(), None, '<meta charset="koi8-r">жук'),
        (b'<meta charset="utf-8">' + "déjà".encode(), "ISO-8859-1", '<meta charset="utf-8">déjà'),
        (b'<meta charset="gb2312">' + "镕化".encode("gbk"), None, '<meta charset="gb2312">镕化'),
        (b'<meta charset="shift_jis">' + "①㈱".encode("cp932"), None, '<meta charset="shift_jis">①㈱'),
        ("똠방각하".encode("cp949"), "euc-kr", "똠방각하"),
        ("日本".encode("iso2022_jp"), None, "日本"),
        (b"<?xml version='1.0' encoding='windows-1251'?>" + "Жук".encode("cp1251"), None, None),
        ("\ufeffжук".encode("utf-16-le"), "koi8-r", "жук"),
        (b'<meta charset="utf-16">a', None, '<meta charset="utf-16">a'),
        ("жук".encode("utf-16-le"), "utf-16", "жук"),
        ("<p>déjà".encode(), "utf-16", "<p>déjà"),
        ("<p>déjà vu".encode("latin-1"), "utf-16le", "<p>déjà vu"),
        ("<p>déjà".encode("utf-16-le"), None, "<p>déjà"),
        ("<p>déjà".encode("utf-16-be"), "utf-16", "<p>déjà"),
        ("~100 déjà".encode(), "hz-gb-2312", "~100 déjà"),
        (b"~{VPND~}", "hz-gb-2312", "中文"),
        ("déjà".encode(), "iso-2022-kr", "déjà"),
        ("한국".encode("iso2022_kr"), "iso-2022-kr", "한국"),
        ("déjà vu é".encode()[:-1], "ISO-8859-1", "déjà vu \ufffd"),
        ("déjà vu é".encode()[:-1], None, "déjà vu \ufffd"),
        (b"vu \xc3", "ISO-8859-1", "vu Ã"),
        ("é".encode() * 20 + b"\xe9 vu", None, "é" * 20 + "\ufffd vu"),
        (b'<!-- <meta charset="koi8-r"> --><meta charset="windows-1251">' + "Жук".encode("cp1251"), None, None),
        (b"\xef\xbb\xbf\xd0\xb6", "koi8-r", "ж"),
        ("ж".encode(), "no such thing", "ж"),
        ("ж".encode(), "hex", "ж"),
        ("ж".encode(), "idna", "ж"),
        ("ж".encode(), "nul\0", "ж"),
        (b"\xff\xfea\0\xff", None, "a\ufffd"),
        (b"a\x81\x93b", "windows-1252", "a\x81\u201cb"),
    ],
)
def test_encodings_by_evidence_then_by_label(content, charset, expected):
    found = decoded(content, charset)
    assert found == expected if expected is not None else found.endswith("Жук")


@pytest.mark.parametrize(
    ("labels", "encoding", "text"),
    [
        ("iso88591 l1 cp819 ansi_x3.4-1968 us-ascii", "cp1252", "“café”"),
        ("iso88595 csisolatincyrillic", "iso8859_5", "Жук"),
        ("koi koi8 koi8_r cskoi8r", "koi8_r", "Жук"),
        ("koi8-ru", "koi8_u", "їжак"),
        ("sun_eu_greek greek8 elot_928 iso88597", "iso8859_7", "Αθήνα"),
        ("iso-8859-6-e csiso88596i asmo-708", "iso8859_6", "مصر"),
        ("iso-8859-8-i csiso88598e logical", "iso8859_8", "שלום"),
        ("iso88599 l5 csisolatin5", "cp1254", "şehir"),
        ("iso885911 tis-620 dos-874", "cp874", "ไทย"),
        ("iso885915 csisolatin9 l9", "iso8859_15", "5 €"),
        ("mac csmacintosh x-mac-roman", "mac_roman", "café"),
        ("gb_2312-80 csgb2312 chinese x-gbk", "gb18030", "北京"),
        ("cseucpkdfmtjapanese x-euc-jp", "euc_jp", "東京"),
        ("csksc56011987 iso-ir-149 korean ks_c_5601-1987", "cp949", "서울"),
        ("unicode ucs-2 csunicode utf-16", "utf-16-le", "a <жук>"),
        ("unicodefffe utf-16be", "utf-16-be", "a <жук>"),
        ("unicode11utf8 x-unicode20utf8", "utf-8", "жук"),
    ],
)
def test_labels_of_the_standard(labels, encoding, text):
    for label in labels.split():
        assert decoded(text.encode(encoding), label) == text, label


@pytest.mark.parametrize("piece", [b"<script ", b"<", b"<a ", b"<style><script>"])
def test_tags_without_an_end_take_linear_time(piece):
    decoded(b"\xff\xe9\xe8" * 20)  # imports are not timed
    content = b"\xff\xe9\xe8" * 20 + piece * ((1 << 17) // len(piece))
    start = time.process_time()
    decoded(content)
    assert time.process_time() - start < 3  # four times 1.1 to 3.5 s where each was looked for to the end


def test_a_label_that_the_bytes_contradict_gives_way_to_a_guess():
    text = "<p>Москва — столица России. Население города составляет более двенадцати миллионов человек.</p>"
    content = text.encode("cp1251")
    assert decoded(content) == decoded(content, "utf-8") == text
    cut = text.encode() * 50 + "ж".encode()[:1]  # a character was cut in two: still UTF-8
    assert decoded(cut, "utf-8") == text * 50 + "\ufffd"


@pytest.mark.parametrize("name", ["a.warc.wet.gz", "a.wet", "a.warc.gz"])
def test_texts_of_an_archive(tmp_path, name):
    entries = [
        ("warcinfo", "", None, "application/warc-fields", b"software: made\r\n"),
        ("conversion", "https://made.example/1", None, "text/plain", "one ä".encode()),
        ("conversion", "https://made.example/2", None, "text/plain", b"\xff\xfe"),
        ("conversion", "https://made.example/3", None, "text/plain", b"x" * 60),
        ("conversion", "https://made.example/4", None, "text/plain", b"four"),
    ]
    stats = []
    found = records(archive(tmp_path / name, entries), stats, max_record_bytes=50)
    assert found[0] == Document(name, 1, "one ä", 6, "https://made.example/1")
    assert [(record.row, record.reason) for record in found[1:3]] == [
        (2, "not UTF-8"),
        (3, "longer than max_record_bytes"),
    ]
    assert found[3] == Document(name, 4, "four", 4, "https://made.example/4")
    assert stats[0]["skipped"] == {"warcinfo": 1}


def test_pages_of_an_archive(tmp_path):
    html, koi = "text/html; charset=UTF-8", "text/html; charset=koi8-r"
    russian = "Смотритель гавани каждый вечер считает лодки и пишет их число на доске. " * 5
    entries = [
        ("request", "https://made.example/1", None, "application/http", b"GET / HTTP/1.0\r\n\r\n"),
        ("response", "https://made.example/1", "200 OK", html, page().encode()),
        ("response", "https://made.example/2", "404 Not Found", html, page().encode()),
        ("response", "https://made.example/3", "200 OK", "image/png", b"\x89PNG"),
        ("response", "https://made.example/4", "200 OK", koi, page(russian).encode("koi8-r")),
        ("response", "https://made.example/5", "200 OK", html, b""),
    ]
    stats = []
    found = records(archive(tmp_path / "a.warc.gz", entries), stats)
    assert [(record.row, record.text, record.url) for record in found[:2]] == [
        (1, TEXT.strip(), "https://made.example/1"),
        (4, russian.strip(), "https://made.example/4"),
    ]
    assert [(record.row, record.reason) for record in found[2:]] == [(5, "no main text")]
    assert stats[0]["skipped"] == {"request": 1, "response 404": 1, "response that is no page": 1}


def test_archives_that_are_none(tmp_path):
    path = tmp_path / "a.warc.gz"
    path.write_bytes(gzip.compress(b"no archive at all\n" * 100))
    with pytest.raises(PedigreeError, match=r"a\.warc\.gz: damaged after 0 records"):
        records(path)
    archive(path, [("conversion", "https://made.example/1", None, "text/plain", b"text " * 500)])
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(PedigreeError, match=r"a\.warc\.gz: damaged at byte \d+"):
        records(path)
    plain = archive(
        tmp_path / "a.wet", [("conversion", f"https://made.example/{n}", None, "text/plain", b"text") for n in (1, 2)]
    )
    plain.write_bytes(plain.read_bytes() + b"something else\r\n")
    with pytest.raises(PedigreeError, match=r"a\.wet: damaged after 2 records"):
        records(plain)


def answered(*headers, body, url="https://made.example/x"):
    """A WARC record of a server's answer, byte by byte."""
    answer = "\r\n".join(["HTTP/1.1 200 OK", "Content-Type: text/html", *headers, "", ""]).encode() + body
    where = f"WARC-Target-URI: {url}\r\n" if url else ""
    head = f"WARC/1.0\r\nWARC-Type: response\r\n{where}Content-Length: {len(answer)}\r\n\r\n"
    return head.encode() + answer + b"\r\n\r\n"


def test_an_archive_that_is_cut_off_is_never_a_short_one(tmp_path):
    path = tmp_path / "a.warc"
    one = answered(body=page().encode())
    path.write_bytes(one * 3)
    assert len(records(path)) == 3
    for cut in (5, 200, one.index(b"\r\n\r\n") + 4 - len(one), one.index(b"HTTP") + 9 - len(one), 60 - len(one)):
        path.write_bytes((one * 3)[: -abs(cut)])
        with pytest.raises(PedigreeError, match=r"a\.warc: damaged after 2 records"):
            records(path)


@pytest.mark.parametrize("length", ["400", "430", "x", None])
def test_a_record_that_is_not_as_long_as_it_says(tmp_path, length):
    text = TEXT.encode()[:425]
    head = b"WARC/1.0\r\nWARC-Type: conversion\r\nWARC-Target-URI: https://made.example/\r\n"
    said = f"Content-Length: {length}\r\n".encode() if length else b""
    wrong, right = head + said + b"\r\n" + text, head + b"Content-Length: 425\r\n\r\n" + text
    path = tmp_path / "a.wet"
    path.write_bytes(right + b"\r\n\r\n" + wrong + b"\r\n\r\n" + right + b"\r\n\r\n")
    with pytest.raises(PedigreeError, match=r"a\.wet: damaged after 1 records"):
        records(path)


def test_a_line_without_an_end_is_no_archive(tmp_path):
    path = tmp_path / "a.wet"
    path.write_bytes(b"WARC/1.0\r\nX: " + b"x" * (4 << 20))
    with pytest.raises(PedigreeError, match=r"a\.wet: damaged after 0 records: an endless line of headers"):
        records(path)


def test_answers_that_are_packed_or_strange(tmp_path):
    packed = gzip.compress(page().encode())
    chunks = b"%x\r\n%s\r\n0\r\n\r\n" % (len(packed), packed)
    path = tmp_path / "a.warc"
    path.write_bytes(
        answered("Content-Encoding: gzip", body=packed)
        + answered("Content-Encoding: X-Gzip", "Transfer-Encoding: chunked", body=chunks)
        + answered("Content-Encoding: gzip", body=page().encode())
        + answered("Content-Encoding: gzip", body=packed[:-20])
        + answered("Content-Encoding: made", body=packed)
        + answered("Content-Encoding: made", "Transfer-Encoding: chunked", body=chunks)
        + answered(body=page().encode(), url=None)
        + answered(body=page().encode())
    )
    stats = []
    found = records(path, stats)
    assert [record.row for record in found if isinstance(record, Document)] == [0, 1, 2, 7]
    assert {record.text for record in found if isinstance(record, Document)} == {TEXT.strip()}
    assert [(record.row, record.reason) for record in found if not isinstance(record, Document)] == [
        (3, "damaged content"),
        (4, "unknown content encoding"),
        (5, "unknown content encoding"),
    ]
    assert stats[0]["skipped"] == {"response": 1}


@pytest.mark.parametrize(("name", "module"), [("a.warc", "warcio.archiveiterator"), ("a.html", "trafilatura")])
def test_missing_packages_are_named_with_the_command(tmp_path, monkeypatch, name, module):
    (tmp_path / name).write_text(page())
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(PedigreeError, match=r"pip install .*-e '\.\[web\]'` in the checkout"):
        records(tmp_path / name)
