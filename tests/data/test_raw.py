import json

import polars as pl
import pytest

from llm_core.data import raw
from llm_core.data.parts import DOCUMENT
from llm_core.data.records import document_id
from llm_core.errors import PedigreeError
from llm_core.experiment.evaluation import ChecksSpec
from llm_core.experiment.sources import FilesSource, RawSpec
from tests.data.stages import digests, read, run


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
    assert [pl.read_parquet(path).height for path in sorted((out / "parts").iterdir())] == [10, 10, 7]
    assert found["text"].to_list()[:4] == ["one 0", "one 1", "one 2", "one 4"]
    assert found.row(-1) == (document_id("two", "two.jsonl", 3), "two 3", "two", "two.jsonl", 3, None)
    assert found["doc_id"].n_unique() == 27
    bad = pl.read_parquet(out / "bad_records.parquet")
    assert bad.rows() == [
        ("one", "one.jsonl", 3, "not JSON", "broken {"),
        ("one", "one.jsonl", 7, "no text", '{"text": null}'),
    ]
    assert stats == {
        "documents": 27,
        "bytes": found["text"].str.len_bytes().sum(),
        "documents_by_source": {"one": 23, "two": 4},
        "bytes_by_source": {"one": found.filter(source="one")["text"].str.len_bytes().sum(), "two": 20},
        "bad_records": 2,
        "bad_records_by_reason": {"no text": 1, "not JSON": 1},
    }
    assert [(check.name, check.passed) for check in raw.checks(stats, ChecksSpec())] == [
        ("not_empty", True),
        ("bad_records", False),
    ]
    run(raw.build, tmp_path / "again", {}, raw=spec)
    assert digests(out) == digests(tmp_path / "again" / "out")


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


def test_a_retry_does_not_count_what_a_killed_attempt_left(tmp_path):
    spec = RawSpec(sources=(source(tmp_path / "in", "web", [*texts(9, "x"), "{"]),), max_bad_share=0.5)
    (tmp_path / "job" / "bad").mkdir(parents=True)
    (tmp_path / "job" / "bad" / "00007.parquet").write_bytes(b"torn")
    run(raw.build, tmp_path / "job", {}, raw=spec)
    assert pl.read_parquet(tmp_path / "job" / "out" / "bad_records.parquet").height == 1


def test_a_source_without_documents_is_an_error(tmp_path):
    spec = RawSpec(sources=(source(tmp_path / "in", "full", texts(2, "x")), source(tmp_path / "in", "empty", [])))
    with pytest.raises(PedigreeError, match="source 'empty': holds no documents"):
        run(raw.build, tmp_path / "job", {}, raw=spec)


def test_externals_carry_the_name_of_their_source(tmp_path):
    spec = RawSpec(
        sources=(source(tmp_path / "in", "one", texts(1, "x")), source(tmp_path / "in", "two", texts(1, "x")))
    )
    found = raw.externals(spec)
    assert list(found) == ["one/one.jsonl", "two/two.jsonl"]
    assert len(set(found.values())) == 1
