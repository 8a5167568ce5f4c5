import json

import polars as pl
import pytest

from llm_core.data import raw
from llm_core.data.parquet_parts import DOCUMENT
from llm_core.data.records import document_id
from llm_core.data.sources.files.reader import Files
from llm_core.data.sources.files.spec import FilesSource
from llm_core.data.sources.unit_parts import unit_name
from llm_core.errors import PedigreeError
from llm_core.experiment.runtime import ComputeSpec
from llm_core.experiment.sources import RawSpec
from llm_core.graph.job import Job, Runtime
from tests.data.stages import digests, read, run
from tests.judged import judged


def source(folder, name, lines):
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.jsonl").write_text("".join(f"{line}\n" for line in lines))
    return FilesSource(name=name, paths=(str(folder / f"{name}.jsonl"),))


def texts(count, prefix):
    return [json.dumps({"text": f"{prefix} {number}"}) for number in range(count)]


def test_parts_and_bad_records(tmp_path):
    lines = texts(25, "one")
    lines[3] = "broken {"
    lines[7] = '{"text": null}'
    spec = RawSpec(
        sources=(source(tmp_path / "in", "one", lines), source(tmp_path / "in", "two", texts(4, "two"))),
        documents_per_part=10,
        max_bad_share=0.1,
    )
    stats = run(raw.build, tmp_path / "job", {}, raw=spec)
    out = tmp_path / "job" / "out"
    found = read(out / "parts")
    assert dict(found.schema) == DOCUMENT
    one, two = unit_name("one", "one.jsonl"), unit_name("two", "two.jsonl")
    assert {path.name: pl.read_parquet(path).height for path in sorted((out / "parts").iterdir())} == {
        f"{one}-0000.parquet": 10,
        f"{one}-0001.parquet": 10,
        f"{one}-0002.parquet": 3,
        f"{two}-0000.parquet": 4,
    }
    assert found["text"].to_list()[:4] == ["one 0", "one 1", "one 2", "one 4"]
    assert found.row(-1) == (document_id("two", "two.jsonl", 3), "two 3", "two", "two.jsonl", 3, None)
    assert found["doc_id"].n_unique() == 27
    assert [path.name for path in (out / "bad_records").iterdir()] == [f"{one}-0000.parquet"]
    assert read(out / "bad_records").rows() == [
        ("one", "one.jsonl", 3, "not JSON", "broken {"),
        ("one", "one.jsonl", 7, "no text", '{"text": null}'),
    ]
    assert stats == {
        "documents": 27,
        "bytes": found["text"].str.len_bytes().sum(),
        "documents_by_source": {"one": 23, "two": 4},
        "bytes_by_source": {"one": found.filter(source="one")["text"].str.len_bytes().sum(), "two": 20},
        "files_by_source": {"one": 1, "two": 1},
        "bad_by_source": {"one": 2, "two": 0},
        "bad_records": 2,
        "bad_records_by_reason": {"no text": 1, "not JSON": 1},
        "without_text": 0,
        "skipped_by_kind": {},
        "unread_files_by_source": {},
        "empty_files_by_source": {},
    }
    assert [(check.name, check.passed) for check in judged("raw_documents", stats)] == [
        ("not_empty", True),
        ("bad_records", False),
        ("unread_files", True),
        ("empty_files", True),
    ]
    messages = [check.message for check in judged("raw_documents", stats)]
    assert messages[:2] == [
        "27 documents; the smallest source, two, has 4",
        "2 records are set aside in bad_records/: no text (1), not JSON (1)",
    ]
    run(raw.build, tmp_path / "again", {}, raw=spec)
    assert digests(out) == digests(tmp_path / "again" / "out")


def test_what_lies_in_a_folder_and_is_not_read_is_counted_and_told(tmp_path):
    source(tmp_path / "in", "a", texts(3, "x"))
    source(tmp_path / "one", "b", texts(3, "y"))
    for name in ("notes.pdf", "sub/more.PDF", "sub/table.parquet.gz", "LICENSE", ".hidden", ".old/a.jsonl.gz"):
        (tmp_path / "in" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "in" / name).write_text("x")
    (tmp_path / "one" / "left.pdf").write_text("not in a folder that is named")
    spec = RawSpec(
        sources=(
            FilesSource(name="web", paths=(str(tmp_path / "in"),)),
            FilesSource(name="one", paths=(str(tmp_path / "one" / "*.jsonl"),)),
        )
    )
    lines = []
    out = tmp_path / "job" / "out"
    out.mkdir(parents=True)
    runtime = Runtime(compute=ComputeSpec(workers=1), log=lines.append)
    stats = raw.build(Job("raw_documents", "identity", {}, out.parent, out, runtime), spec).model_dump()
    assert stats["unread_files_by_source"] == {
        "web": {
            "files": 5,
            "by_suffix": {".pdf": 2, "": 1, ".parquet.gz": 1, "hidden": 1},
            "first": [".old/a.jsonl.gz", "LICENSE", "notes.pdf", "sub/more.PDF", "sub/table.parquet.gz"],
        }
    }
    told = "source 'web': 5 files of its folders were not read"
    assert [
        told in line and "no suffix: 1" in line and "LICENSE, notes.pdf" in line and "hidden: 1" in line
        for line in lines[:1]
    ] == [True]
    check = next(check for check in judged("raw_documents", stats) if check.name == "unread_files")
    assert (check.passed, check.value, check.bound) == (False, 5, 0)
    assert told in check.message


def test_a_changed_or_added_file_makes_its_own_unit_only(tmp_path):
    for number in range(5):
        source(tmp_path / "in", f"{number}", texts(3, f"file {number}"))
    files = FilesSource(name="web", paths=(str(tmp_path / "in"),))

    def keys(**options):
        spec = RawSpec(sources=(files.model_copy(update=options),))
        return {task.name: task.key("code") for task in raw.parts({}, spec)}

    before = keys()
    assert list(before) == [unit_name("web", f"{number}.jsonl") for number in range(5)]
    source(tmp_path / "in", "2", texts(4, "other"))
    source(tmp_path / "in", "5", texts(1, "new"))
    after = keys()
    assert {name for name in after if after[name] != before.get(name)} == {
        unit_name("web", "2.jsonl"),
        unit_name("web", "5.jsonl"),
    }
    (tmp_path / "in").rename(tmp_path / "moved")
    assert keys(paths=(str(tmp_path / "moved"),)) == after
    assert not keys(paths=(str(tmp_path / "moved"),), text_field="body").items() & after.items()


def test_a_part_holds_at_most_its_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr("llm_core.data.sources.unit_parts.PART_BYTES", 100)
    lines = [json.dumps({"text": "ä" * count}) for count in (20, 20, 20, 90, 1, 1)]
    run(raw.build, tmp_path / "job", {}, raw=RawSpec(sources=(source(tmp_path / "in", "web", lines),)))
    parts = sorted((tmp_path / "job" / "out" / "parts").iterdir())
    assert [pl.read_parquet(path)["text"].str.len_bytes().to_list() for path in parts] == [
        [40, 40],
        [40],
        [180],
        [2, 2],
    ]


def test_too_many_bad_records_stop_the_stage(tmp_path):
    lines = [*texts(97, "x"), "[1]", "{", '{"text": 1}']
    files = source(tmp_path / "in", "web", lines)
    with pytest.raises(PedigreeError) as caught:
        run(raw.build, tmp_path / "job", {}, raw=RawSpec(sources=(files,), max_bad_share=0.029))
    message = str(caught.value)
    assert "3 of 100 records are bad" in message
    assert "not JSON (1), not an object (1), text is not a string (1)" in message
    assert "web/web.jsonl, row 97: not an object: [1]" in message
    run(raw.build, tmp_path / "allowed", {}, raw=RawSpec(sources=(files,), max_bad_share=0.03))


def test_a_source_without_documents_is_an_error(tmp_path):
    spec = RawSpec(sources=(source(tmp_path / "in", "full", texts(2, "x")), source(tmp_path / "in", "empty", [])))
    with pytest.raises(PedigreeError, match="source 'empty': has no documents and no other records; mend"):
        run(raw.build, tmp_path / "job", {}, raw=spec)


def test_a_source_of_which_no_record_is_a_document_says_what_they_are(tmp_path):
    lines = [*texts(2, "x"), '{"text": null, "n": 3}', *['{"text": "y", "n": 1}'] * 5]
    full, none = source(tmp_path / "in", "full", texts(9, "x")), source(tmp_path / "in", "none", lines)
    spec = RawSpec(sources=(full, none.model_copy(update={"where": ("n > 2",)})), max_bad_share=0.5)
    told = r"'none': has no documents, because .* skipped: no text \(1\), where n > 2 \(5\), where n > 2: no n \(2\); "
    with pytest.raises(PedigreeError, match=told):
        run(raw.build, tmp_path / "job", {}, raw=spec)


def test_files_without_a_record_are_told(tmp_path):
    source(tmp_path / "in", "full", texts(3, "x"))
    skipped = tmp_path / "in" / "skipped.jsonl"
    skipped.write_text('{"text": "x", "n": 1}\n')
    (tmp_path / "in" / "null.jsonl").write_text("\n\n")
    (tmp_path / "in" / "header.csv").write_text("text,n\n")
    pl.DataFrame(schema={"text": pl.String}).write_parquet(tmp_path / "in" / "rows.parquet")
    files = FilesSource(name="web", paths=(str(tmp_path / "in"),))
    stats = run(raw.build, tmp_path / "job", {}, raw=RawSpec(sources=(files,)))
    assert stats["empty_files_by_source"] == {
        "web": {"files": 3, "first": ["header.csv", "null.jsonl", "rows.parquet"]}
    }
    check = next(check for check in judged("raw_documents", stats) if check.name == "empty_files")
    assert (check.passed, check.value) == (False, 3)
    assert check.message == "source 'web': 3 files have no record, such as header.csv, null.jsonl, rows.parquet"


def test_a_file_that_changes_while_it_is_read_stops_the_stage(tmp_path, monkeypatch):
    spec = RawSpec(sources=(source(tmp_path / "in", "web", texts(3, "x")),))
    tasks = raw.parts({}, spec)
    source(tmp_path / "in", "web", texts(4, "y"))
    monkeypatch.setattr(Files, "chosen", lambda *_: tasks)
    with pytest.raises(PedigreeError, match=r"web\.jsonl: changed while it was read"):
        run(raw.build, tmp_path / "job", {}, raw=spec)


def test_externals_carry_the_name_of_their_source(tmp_path):
    spec = RawSpec(
        sources=(source(tmp_path / "in", "one", texts(1, "x")), source(tmp_path / "in", "two", texts(1, "x")))
    )
    found = raw.source_digests(spec)
    assert list(found) == ["one/one.jsonl", "two/two.jsonl"]
    assert len(set(found.values())) == 1


@pytest.mark.parametrize("name", ["", "a/b", "..", ".hidden", "a b", "ä", "x" * 65, "a\n"])
def test_names_of_sources_can_stand_in_file_names(name):
    with pytest.raises(ValueError, match="name"):
        FilesSource(name=name, paths=("x",))


def test_a_wrong_field_of_the_last_source_shows_before_the_first_one_is_read(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        for file in range(3):
            (tmp_path / name / f"{file}.jsonl").write_text('{"text": "words"}\n')
    fields = {"one": "text", "two": "body"}
    sources = [FilesSource(name=n, paths=(str(tmp_path / n),), text_field=field) for n, field in fields.items()]
    with pytest.raises(PedigreeError, match=r"two/0\.jsonl: none of its first 1 records has the field 'body'"):
        run(raw.build, tmp_path / "work", {}, raw=RawSpec(sources=tuple(sources)))
    assert len(list((tmp_path / "work" / "parts").glob("*/*/part.json"))) <= 1
