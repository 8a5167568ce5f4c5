import bz2
import gzip
import json
import lzma
import os
import tracemalloc
from pathlib import Path

import polars as pl
import pytest
import zstandard

from llm_core.data.records import BadRecord, Document
from llm_core.data.sources.files.reader import Files
from llm_core.data.sources.files.spec import FilesSource
from llm_core.errors import PedigreeError
from tests.data.sources.units import made

TEXTS = ["first", "zweite Zeile\nund mehr", "δεύτερο"]


def doc(origin, row, text, url=None):
    return Document(origin, row, text, len(text.encode()), url)


def records(*paths, **options):
    return made(Files(FilesSource(paths=tuple(str(path) for path in paths), **options)).tasks(10_000))


def jsonl(texts=TEXTS, field="text"):
    return "".join(json.dumps({field: text}, ensure_ascii=False) + "\n" for text in texts).encode()


def pack(name, content):
    packers = {".gz": gzip.compress, ".zst": zstandard.compress, ".xz": lzma.compress, ".bz2": bz2.compress}
    return packers.get(Path(name).suffix, bytes)(content)


@pytest.mark.parametrize("name", ["a.jsonl", "a.ndjson", "a.jsonl.gz", "a.jsonl.zst", "a.ndjson.xz", "a.json.bz2"])
def test_jsonl(tmp_path, name):
    (tmp_path / name).write_bytes(pack(name, jsonl(field="content")))
    assert records(tmp_path / name, text_field="content") == [doc(name, row, text) for row, text in enumerate(TEXTS)]


@pytest.mark.parametrize("name", ["a.txt", "a.md", "a.markdown", "a.txt.gz", "a.md.zst", "a.txt.xz", "a.txt.bz2"])
def test_txt_is_one_document(tmp_path, name):
    (tmp_path / name).write_bytes(pack(name, "\ufeffone\n\ntwo\n".encode()))
    assert records(tmp_path / name) == [doc(name, 0, "one\n\ntwo\n")]
    (tmp_path / name).write_bytes(pack(name, b"good \xff bad"))
    assert records(tmp_path / name) == [BadRecord(name, 0, "not UTF-8", "good \\xff bad")]
    (tmp_path / name).write_bytes(pack(name, b"12345"))
    assert records(tmp_path / name, max_record_bytes=4)[0].reason == "longer than max_record_bytes"
    assert records(tmp_path / name, max_record_bytes=5) == [doc(name, 0, "12345")]


def test_parquet(tmp_path):
    texts = [*TEXTS, None, "", "a\0b", "ä" * 30, *(str(number) for number in range(3000))]
    pl.DataFrame({"id": range(len(texts)), "text": texts}).write_parquet(tmp_path / "a.parquet", row_group_size=700)
    found = records(tmp_path / "a.parquet", max_record_bytes=59)
    assert [record.row for record in found] == list(range(len(texts)))
    assert [record.text for record in found[:3] + found[7:]] == texts[:3] + texts[7:]
    assert [record.reason for record in found[3:7]] == [
        "no text",
        "empty text",
        "NUL character",
        "longer than max_record_bytes",
    ]


def test_parquet_that_is_none(tmp_path):
    path = tmp_path / "a.parquet"
    path.write_bytes(b"PAR1 hardly")
    with pytest.raises(PedigreeError, match=r"a\.parquet: can't be read as Parquet"):
        records(path)
    pl.DataFrame({"text": ["some text"] * 5000, "n": range(5000)}).write_parquet(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(PedigreeError, match=r"a\.parquet: can't be read as Parquet"):
        records(path)
    pl.DataFrame({"body": ["x"], "text": [1]}).write_parquet(path)
    with pytest.raises(PedigreeError, match="the column 'text' is Int64"):
        records(path)
    with pytest.raises(PedigreeError, match="the column 'content' does not exist"):
        records(path, text_field="content")


HOSTILE = [
    (b'{"text": "cut', "not JSON"),
    (b"\xff\xfe{\x00", "not UTF-8"),
    (b'{"text": "\xc3"}', "not UTF-8"),
    (b'["text"]', "not an object"),
    (b'"text"', "not an object"),
    (b"{}", "no text"),
    (b'{"text": null}', "no text"),
    (b'{"text": ["a"]}', "text is not a string"),
    (b'{"text": 3}', "text is not a string"),
    (b'{"text": ""}', "empty text"),
    (b'{"text": " \\n\\t "}', "empty text"),
    (b'{"text": "a\\u0000b"}', "NUL character"),
    (b'{"text": "a\x00b"}', "not JSON"),
    (b'{"text": "a\\ud800b"}', "lone surrogate"),
    (b'{"n": ' + b"9" * 5000 + b"}", "not JSON"),
    (b"[" * 100_000, "not JSON"),
    (b'{"text": "' + b"x" * 200_000 + b'"}', "longer than max_record_bytes"),
]


@pytest.mark.parametrize(("line", "reason"), HOSTILE)
@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.zst", "a.ndjson"])
def test_a_bad_line_is_set_aside_with_its_place(tmp_path, line, reason, name):
    path = tmp_path / name
    path.write_bytes(pack(path.name, b'{"text": "before"}\n\n' + line + b'\n{"text": "after"}'))
    before, bad, after = records(path, max_record_bytes=150_000)
    assert (before, after) == (doc(path.name, 0, "before"), doc(path.name, 3, "after"))
    assert (bad.origin, bad.row, bad.reason) == (path.name, 2, reason)
    assert len(bad.excerpt) <= 1000
    assert bad.excerpt.isascii()
    assert bad.excerpt.isprintable()


@pytest.mark.parametrize("value", [[{"text": "one"}], {"text": "one"}])
@pytest.mark.parametrize("indent", [None, 2])
def test_json_that_is_no_lines_is_told(tmp_path, value, indent):
    content = json.dumps(value, indent=indent)
    (tmp_path / "a.json").write_text(content)
    if content == '{"text": "one"}':
        assert [record.text for record in records(tmp_path / "a.json")] == ["one"]
        return
    with pytest.raises(PedigreeError, match=r"a\.json: is JSON, but not an object per line; .*jq -c '\.\[\]'"):
        records(tmp_path / "a.json")


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(
        b'\xef\xbb\xbf{"text": "one"}\r\n{"text": "two"}\r\n\r\n\xef\xbb\xbf{"text": "3"}'
    )
    assert [record.text for record in records(tmp_path / "a.jsonl")] == ["one", "two", "3"]


def test_an_endless_line_takes_no_memory(tmp_path):
    path = tmp_path / "a.jsonl.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(b'{"text": "')
        for _ in range(50):
            file.write(b"x" * (1 << 20))
        file.write(b'"}\n{"text": "after"}\n')
    tracemalloc.start()
    try:
        bad, after = records(path, max_record_bytes=1 << 20)
        assert tracemalloc.get_traced_memory()[1] < 32 << 20
    finally:
        tracemalloc.stop()
    assert (bad.row, bad.reason, after.text) == (0, "longer than max_record_bytes", "after")


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.jsonl.zst", "a.txt.gz", "a.ndjson.xz", "a.csv.bz2"])
def test_a_cut_file_is_named_with_its_position(tmp_path, name):
    content = jsonl(f"{number} and some more text" for number in range(5000))
    if ".csv" in name:
        content = b"text\n" + b"\n".join(b"%d and some more text" % number for number in range(50_000))
    (tmp_path / name).write_bytes(pack(name, content)[:-20])
    with pytest.raises(PedigreeError, match=rf"{name}: damaged at byte \d+ of the file, after \d+ whole records"):
        records(tmp_path / name)


def test_patterns(tmp_path):
    for name in ("b/2.jsonl", "a/1.jsonl", "a/deep/3.jsonl"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(jsonl([name]))
    assert [record.text for record in records(tmp_path / "**/*.jsonl")] == ["a/1.jsonl", "a/deep/3.jsonl", "b/2.jsonl"]
    assert [record.origin for record in records(tmp_path / "*/*.jsonl")] == ["a/1.jsonl", "b/2.jsonl"]
    assert [record.origin for record in records(tmp_path / "a" / "*.jsonl")] == ["1.jsonl"]
    assert [record.origin for record in records(tmp_path / "a/1.jsonl", tmp_path / "a/[1]*")] == ["1.jsonl"]
    with pytest.raises(PedigreeError, match=r"no file matches .*c/\*\.jsonl"):
        records(tmp_path / "a/1.jsonl", tmp_path / "c/*.jsonl")
    with pytest.raises(PedigreeError, match="no file matches"):
        records(tmp_path / "d")
    (tmp_path / "b/1.jsonl").write_bytes(jsonl())
    with pytest.raises(PedigreeError, match=r"would get the same name, 1\.jsonl"):
        records(tmp_path / "a/*.jsonl", tmp_path / "b/*.jsonl")


@pytest.mark.parametrize("name", ["a.pdf", "a.jsonl.lz4", "a.parquet.gz", "jsonl"])
def test_unknown_formats_are_named(tmp_path, name):
    (tmp_path / name).write_text("x")
    with pytest.raises(PedigreeError, match=r"does not say how to read it; known: \.jsonl"):
        records(tmp_path / name)


def test_identity_is_content_and_name_but_not_place(tmp_path):
    def source_digests(folder):
        return Files(FilesSource(paths=(str(folder / "*.jsonl"),))).source_digests()

    for place in ("here", "there"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "a.jsonl").write_bytes(jsonl())
    first = source_digests(tmp_path / "here")
    assert list(first) == ["a.jsonl"]
    assert source_digests(tmp_path / "there") == first
    (tmp_path / "there" / "b.jsonl").write_bytes(jsonl())
    assert {**first, "b.jsonl": first["a.jsonl"]} == source_digests(tmp_path / "there")
    (tmp_path / "here" / "a.jsonl").write_bytes(jsonl(["other"]))
    assert source_digests(tmp_path / "here") != first


def test_digests_are_remembered_outside_the_checkout(tmp_path, monkeypatch):
    path = tmp_path / "a.jsonl"
    path.write_bytes(jsonl())
    source = Files(FilesSource(paths=(str(path),)))
    first = source.source_digests()
    assert list((tmp_path / "pedigree").rglob("*.json"))
    monkeypatch.setattr("llm_core.store.digests.file_digest", lambda path: pytest.fail("read again"))
    assert source.source_digests() == first


def test_what_is_remembered_of_files_waits_for_no_disk_and_is_not_believed_when_broken(tmp_path, monkeypatch):
    """A flush per file made a plan of 5,000 small files take half a minute."""
    for number in range(3):
        (tmp_path / f"{number}.txt").write_text(f"text {number}")
    source = Files(FilesSource(paths=(str(tmp_path / "*.txt"),)))
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: pytest.fail("waits for the disk"))
        first = source.source_digests()
    memories = sorted((tmp_path / "pedigree").rglob("stamps/sources/*.json"))
    assert len(memories) == 3
    for memory, broken in zip(memories, (b"", bytes(200), memories[2].read_bytes()[:40]), strict=True):
        memory.write_bytes(broken)
    assert source.source_digests() == first


def test_links_that_lead_nowhere_are_named(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(jsonl())
    (tmp_path / "b.jsonl").symlink_to(tmp_path / "nowhere.jsonl")
    with pytest.raises(PedigreeError, match=r"b\.jsonl: is a link to .*nowhere\.jsonl, which is no file"):
        records(tmp_path / "*.jsonl")
    with pytest.raises(PedigreeError, match=r"b\.jsonl: is a link to"):
        records(tmp_path / "b.jsonl")
    (tmp_path / "b.jsonl").unlink()
    (tmp_path / "b.jsonl").symlink_to("b.jsonl")
    with pytest.raises(PedigreeError, match=r"b\.jsonl: is a link to"):
        records(tmp_path / "*.jsonl")
    (tmp_path / "b.jsonl").unlink()
    os.mkfifo(tmp_path / "b.jsonl")
    with pytest.raises(PedigreeError, match=r"b\.jsonl: is neither a file nor a folder"):
        records(tmp_path / "*.jsonl")


def test_a_file_behind_several_links_is_read_once(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "b.jsonl").write_bytes(jsonl())
    (tmp_path / "a").symlink_to(tmp_path)
    (tmp_path / "a.jsonl").write_bytes(jsonl(["other"]))
    (tmp_path / "z.jsonl").symlink_to("a.jsonl")
    found = records(tmp_path / "**" / "*.jsonl")
    assert [record.origin for record in found] == ["a.jsonl", "deep/b.jsonl", "deep/b.jsonl", "deep/b.jsonl"]


def test_what_may_not_be_read_is_named(tmp_path, monkeypatch):
    def refuse(path, *rest, **options):
        raise PermissionError(13, "Permission denied", str(path))

    path = tmp_path / "folder" / "a.jsonl"
    path.parent.mkdir()
    path.write_bytes(jsonl())
    with monkeypatch.context() as patch:
        patch.setattr("llm_core.store.digests.file_digest", refuse)
        with pytest.raises(PedigreeError, match=r"a\.jsonl: can't be read: Permission denied"):
            Files(FilesSource(paths=(str(path),))).source_digests()
    with monkeypatch.context() as patch:
        patch.setattr(Path, "is_file", refuse)
        with pytest.raises(PedigreeError, match=r"a\.jsonl: can't be read: Permission denied"):
            records(path)
    for pattern in ("folder/*.jsonl", "*/a.jsonl", "**/*.jsonl"):
        with monkeypatch.context() as patch:
            patch.setattr(os, "access", lambda folder, _: folder != path.parent)
            with pytest.raises(PedigreeError, match="folder: can't be read, and may contain files that match"):
                records(tmp_path / pattern)


def test_a_folder_stands_for_the_files_below_it(tmp_path):
    for name in ("a.jsonl", "deep/b.jsonl.gz", "deep/er/c.txt", "README.rst", ".hidden/d.jsonl", "deep/.e.jsonl"):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pack(name, jsonl([name])))
    assert [record.origin for record in records(tmp_path / "in")] == ["a.jsonl", "deep/b.jsonl.gz", "deep/er/c.txt"]
    shouted = tmp_path / "shouted"
    shouted.mkdir()
    (shouted / "A.JSONL").write_bytes(jsonl(["one"]))
    (shouted / "B.Jsonl.GZ").write_bytes(pack("b.jsonl.gz", jsonl(["two"])))
    assert [(record.origin, record.text) for record in records(shouted)] == [("A.JSONL", "one"), ("B.Jsonl.GZ", "two")]
    (tmp_path / "empty").mkdir()
    with pytest.raises(PedigreeError, match=r"no file matches .*empty"):
        records(tmp_path / "empty")


@pytest.mark.parametrize("name", [b"a\xff.jsonl", b"x\xff/a.jsonl"])
def test_a_name_that_is_not_utf8_is_told(tmp_path, name):
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(jsonl())
    with pytest.raises(PedigreeError, match="the name is not UTF-8; rename it") as caught:
        records(tmp_path / "**" / "*.jsonl")
    assert "\\xff" in str(caught.value)
    str(caught.value).encode()


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "a.jsonl").write_bytes(jsonl())
    assert [record.origin for record in records("~/*.jsonl")] == ["a.jsonl"] * 3
    with pytest.raises(PedigreeError, match="write the folder out"):
        records("~nobody_of_this_name/*.jsonl")


@pytest.mark.parametrize("lines", [3, 1500])
@pytest.mark.parametrize("field", ["text_field", "url_field"])
def test_a_field_that_no_record_has_is_an_error_that_names_the_keys(tmp_path: Path, lines: int, field: str) -> None:
    path = tmp_path / "a.jsonl"
    late = {"text": "late", "body": "late", "url": "late"} if lines > 1000 else {}
    rows = [{"id": 1, "content": "words"}, *({"id": 2, "text": "words", "title": "t"} for _ in range(lines)), late]
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\nno JSON\n")
    seen = 1000 if lines > 1000 else lines + 2
    with pytest.raises(PedigreeError) as caught:
        records(path, **{"text_field": "text", field: "body"})
    assert f"{path}: none of its first {seen} records has the field 'body'; their keys are 'id', 'content'," in str(
        caught.value
    )
    assert f"Name the right one in '{field}' of the source" in str(caught.value)


def test_a_record_without_the_field_among_others_is_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"id": 1}\n{"id": 2, "text": "words"}\n{"id": 3, "text": null}\n')
    assert [record.reason for record in records(path) if isinstance(record, BadRecord)] == ["no text", "no text"]


def test_a_column_that_is_not_there_is_an_error_that_names_those_of_text(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pl.DataFrame({"content": ["words"], "n": [1], "url": ["u"]}).write_parquet(path)
    with pytest.raises(
        PedigreeError, match=r"a\.parquet: the column 'text' does not exist; .*there are 'content', 'url'$"
    ):
        records(path)


def test_what_a_packed_file_lacks_is_told_with_the_remedy(tmp_path: Path) -> None:
    samples = [f"text number {number} of some that are alike, {number * 7}".encode() * 3 for number in range(2000)]
    dictionary = zstandard.train_dictionary(1000, samples)
    path = tmp_path / "a.jsonl.zst"
    path.write_bytes(zstandard.ZstdCompressor(dict_data=dictionary).compress(samples[0]))
    with pytest.raises(
        PedigreeError, match=r"a\.jsonl\.zst: it was packed with a Zstandard dictionary.*or take the file"
    ):
        records(path)
