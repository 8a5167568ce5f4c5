"""Nested fields, templates and conditions, alike in JSON lines, csv and Parquet."""

import json
import random
from itertools import islice
from pathlib import Path

import polars as pl
import pytest

from llm_core.data.records import BadRecord, Document
from llm_core.data.sources import parquet
from llm_core.data.sources.fields import ABSENT, value_at
from llm_core.data.sources.files.reader import Files
from llm_core.data.sources.files.spec import FilesSource
from llm_core.errors import PedigreeError
from tests.data.sources.units import made

FORMATS = ["jsonl", "csv", "parquet"]


def write(folder: Path, suffix: str, rows: list[dict]) -> Path:
    path = folder / f"a.{suffix}"
    if suffix == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif suffix == "csv":
        pl.DataFrame(rows).write_csv(path)
    else:
        pl.DataFrame(rows).write_parquet(path, row_group_size=2)
    return path


def read(path: Path, **options) -> tuple[list[Document | BadRecord], dict[str, int]]:
    stats: list[dict] = []
    found = made(Files(FilesSource(paths=(str(path),), **options)).tasks(10_000), stats)
    return found, stats[0]["skipped"]


def texts(found: list) -> list[str]:
    return [record.text if isinstance(record, Document) else record.reason for record in found]


def test_a_key_with_dots_comes_before_nested_ones():
    record = {"a.b": 1, "a": {"b": 2, "b.c": 3, "c": {"d": 4}}, "a.c": {"e": 5}}
    values = [value_at(record, name) for name in ("a.b", "a.b.c", "a.c.d", "a.c.e", "a")]
    assert values == [1, 3, 4, 5, record["a"]]
    for name in ("b", "a.x", "a.b.x", ".a", "a.", ""):
        assert value_at(record, name) is ABSENT


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_nested_fields(tmp_path, suffix):
    rows = [
        {"data": {"text": "one", "at": {"url": "https://made.example"}}, "n": 1},
        {"data": {"text": "two", "at": None}, "n": 2},
        {"data": None, "n": 3},
    ]
    path = write(tmp_path, suffix, rows)
    found, _ = read(path, text_field="data.text", url_field="data.at.url")
    assert texts(found) == ["one", "two", "no text"]
    assert [record.url for record in found[:2]] == ["https://made.example", None]
    with pytest.raises(PedigreeError, match=r"'data\.body'.* 'data\.text'") as caught:
        read(path, text_field="data.body")
    assert "text_field" in str(caught.value)


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_name_that_holds_the_dot_wins(tmp_path, suffix):
    row = {"data.text": "flat"} | ({} if suffix == "csv" else {"data": {"text": "nested"}})
    assert texts(read(write(tmp_path, suffix, [row]), text_field="data.text")[0]) == ["flat"]


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_template_joins_fields(tmp_path, suffix):
    rows = [
        {"title": "One", "n": 1, "score": 0.5, "text": "words"},
        {"title": None, "n": 2, "score": 0.5, "text": "more"},
        {"title": "Three", "n": 3, "score": 1.5, "text": "end"},
    ]
    path = write(tmp_path, suffix, rows)
    found, _ = read(path, template="{title} {{{n}, {score}}}\n\n{text}{text}")
    second = " {2, 0.5}\n\nmoremore" if suffix == "csv" else "no title"  # in csv, an empty cell is an empty text
    assert texts(found) == ["One {1, 0.5}\n\nwordswords", second, "Three {3, 1.5}\n\nendend"]
    with pytest.raises(PedigreeError, match=r"'body'.*'title'.*'template'|'body'.*'template'.*'title'"):
        read(path, template="{title}{body}")


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_template_of_blank_fields_is_an_empty_text(tmp_path, suffix):
    rows = [{"q": "", "a": " \n"}, {"q": "", "a": "yes"}]
    found, _ = read(write(tmp_path, suffix, rows), template="Question: {q}\nAnswer: {a}")
    assert texts(found) == ["empty text", "Question: \nAnswer: yes"]


def test_a_number_in_a_template_is_written_as_it_is(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"n": 1.50}\n{"n": 1e3}\n{"n": 12345678901234567890123}\n{"n": true}\n{"n": [1]}\n{}\n')
    expected = ["n = 1.50", "n = 1e3", "n = 12345678901234567890123", *["n is neither text nor a number"] * 2, "no n"]
    assert texts(read(path, template="n = {n}")[0]) == expected


def test_a_column_that_no_template_can_hold_is_told(tmp_path):
    path = write(tmp_path, "parquet", [{"title": "x", "n": 1, "tags": ["a"]}])
    with pytest.raises(PedigreeError, match=r"'tags' is List.*text or numbers in 'template'; there are 'title', 'n'$"):
        read(path, template="{title}{tags}")


ROWS = [
    {"text": "a", "score": 2, "part": 0.5, "lang": "en", "good": True},
    {"text": "b", "score": 3, "part": 1.5, "lang": "de", "good": False},
    {"text": "c", "score": 4, "part": 2.5, "lang": "fr", "good": True},
    {"text": "d", "score": 5, "part": 3.5, "lang": "en", "good": False},
]


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize(
    ("where", "kept"),
    [
        ("score >= 3", "bcd"),
        ("score > 3", "cd"),
        ("score <= 3", "ab"),
        ("score<3", "a"),
        ("score == 3", "b"),
        ("score != 3.0", "acd"),
        ("score >= 3.5", "cd"),
        ("score >= -1", "abcd"),
        ("part > 1.5", "cd"),
        ("part >= 2", "cd"),
        ("part in [0.5, 3.5]", "ad"),
        ("score in [2, 5, 9]", "ad"),
        ('lang == "en"', "ad"),
        ('lang != "en"', "bc"),
        ('lang in ["en", "de"]', "abd"),
        ('lang > "de"', "acd"),
        ('"lang" == "\\u0065n"', "ad"),
        ("good == true", "ac"),
        ("good != true", "bd"),
        ("good in [false]", "bd"),
    ],
)
def test_a_condition_leaves_out_the_others_and_counts_them(tmp_path, suffix, where, kept):
    found, skipped = read(write(tmp_path, suffix, ROWS), where=(where,))
    assert [(record.text, record.row) for record in found] == [(text, "abcd".index(text)) for text in kept]
    assert skipped == ({f"where {where}": 4 - len(kept)} if len(kept) < 4 else {})


@pytest.mark.parametrize("suffix", FORMATS)
def test_several_conditions_count_by_the_first_that_is_not_met(tmp_path, suffix):
    found, skipped = read(write(tmp_path, suffix, ROWS), where=("score >= 3", 'lang == "en"'))
    assert texts(found) == ["d"]
    assert skipped == {"where score >= 3": 1, 'where lang == "en"': 2}


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_record_without_the_field_is_bad(tmp_path, suffix):
    rows = [{**ROWS[0], "score": None}, *ROWS[1:], {**ROWS[0], "score": None, "lang": "xx"}, {**ROWS[0], "score": 9}]
    found, skipped = read(write(tmp_path, suffix, rows), where=("score >= 5", 'lang == "en"'))
    reason = "where score >= 5: score is not a number" if suffix == "csv" else "where score >= 5: no score"
    assert texts(found) == [reason, "d", reason, "a"]
    assert [record.row for record in found] == [0, 3, 4, 5]
    assert skipped == {"where score >= 5": 2}


def test_a_value_of_another_type_is_bad_in_lines_and_cells(tmp_path):
    lines = ['{"text": "a", "n": "3"}', '{"text": "b", "n": true}', '{"text": "c", "n": NaN}', '{"text": "d", "n": 3}']
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    wrong = ["where n > 1: n is not a number"] * 3
    assert texts(read(tmp_path / "a.jsonl", where=("n > 1",))[0]) == [*wrong, "d"]
    (tmp_path / "a.csv").write_text("text,n\na,x\nb,1_0\nc,nan\nd, 3.0 \n")
    assert texts(read(tmp_path / "a.csv", where=("n > 1",))[0]) == [*wrong, "d"]


N_IS_WRONG = (
    {"where": ("n > 1",)},
    "the field 'n' is not a number in any of its first 1000 records, but 'where' of the source needs that (n > 1); ",
)
NOT_TRUE = (
    {"where": ("n == true",)},
    "the field 'n' is not true or false in any of its first 1000 records, but 'where' ",
)
TAGS_ARE_WRONG = (
    {"text_field": "tags"},
    "the field 'tags' is not a text in any of its first 1000 records, but 'text_field' of the source needs that; ",
)
NOT_IN_TEMPLATE = ({"template": "{n}{tags}"}, "the field 'tags' is not a text or a number in any of its first 1000")


@pytest.mark.parametrize(
    ("suffix", "case"),
    [
        *(("jsonl", case) for case in (N_IS_WRONG, NOT_TRUE, TAGS_ARE_WRONG, NOT_IN_TEMPLATE)),
        *(("csv", case) for case in (N_IS_WRONG, NOT_TRUE)),
    ],
)
def test_a_field_of_another_type_stops_after_a_thousand_records(tmp_path, suffix, case):
    options, told = case
    row = {"text": "words", "n": "x"} | ({"tags": ["a"]} if suffix == "jsonl" else {})
    found, _ = read(write(tmp_path, suffix, [row] * 999), **options)
    assert {type(record) for record in found} == {BadRecord}
    with pytest.raises(PedigreeError) as caught:
        read(write(tmp_path, suffix, [row] * 2000), **options)
    assert f"{tmp_path}/a.{suffix}: {told}" in str(caught.value)


@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
@pytest.mark.parametrize("good", ["", "5"])
def test_one_value_of_the_type_or_none_is_enough(tmp_path, suffix, good):
    first = {"text": "words", "n": good if suffix == "csv" else int(good) if good else None}
    found, _ = read(write(tmp_path, suffix, [first, *[{"text": "words", "n": "x"}] * 2000]), where=("n > 1",))
    assert texts(found).count("where n > 1: n is not a number") >= 2000


def test_a_column_of_another_type_is_an_error_that_names_it(tmp_path):
    path = write(tmp_path, "parquet", ROWS)
    for where, told in (
        ("lang >= 3", "the column 'lang' is String, and 'where' compares it with a number (lang >= 3)"),
        ('score == "3"', "the column 'score' is Int64, and 'where' compares it with a text"),
        ("score == true", "the column 'score' is Int64, and 'where' compares it with true or false"),
    ):
        with pytest.raises(PedigreeError) as caught:
            read(path, where=(where,))
        assert str(path) in str(caught.value)
        assert told in str(caught.value)


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_field_that_no_record_has_is_an_error_that_names_those_there(tmp_path, suffix):
    with pytest.raises(PedigreeError, match=r"'int_score'.*where.*'score'|'int_score'.*'score'.*'where'"):
        read(write(tmp_path, suffix, ROWS), where=("int_score >= 3",))


def test_floats_are_compared_as_the_column_holds_them(tmp_path):
    frame = pl.DataFrame({"text": ["a", "b", "c"], "x": [0.1, float("nan"), 3.0]}, schema_overrides={"x": pl.Float32})
    frame.write_parquet(tmp_path / "a.parquet")
    assert texts(read(tmp_path / "a.parquet", where=("x <= 0.1",))[0]) == ["a", "where x <= 0.1: no x"]


@pytest.mark.parametrize("dtype", [pl.UInt8, pl.Int8, pl.UInt64, pl.Int128, pl.Decimal(10, 2)])
def test_numbers_that_a_column_can_not_hold_are_compared_all_the_same(tmp_path, dtype):
    pl.DataFrame({"text": ["a", "b"], "n": [1, 100]}, schema_overrides={"n": dtype}).write_parquet(
        tmp_path / "a.parquet"
    )
    for where, kept in (
        ("n > -5", ["a", "b"]),
        ("n < 1000", ["a", "b"]),
        ("n >= 1.5", ["b"]),
        ("n in [1, 5000]", ["a"]),
    ):
        assert texts(read(tmp_path / "a.parquet", where=(where,))[0]) == kept


def test_conditions_on_many_rows_agree_with_python(tmp_path):
    """Many row groups and batches: polars gives rows of some expressions in another order."""
    made_by = random.Random(1)
    rows = [
        {"text": f"text {n}", "score": made_by.choice([None, *range(6)]), "lang": made_by.choice(["en", "de", None])}
        for n in range(20_000)
    ]
    found = {}
    for suffix in ("jsonl", "parquet"):
        path = write(tmp_path, "jsonl", rows) if suffix == "jsonl" else tmp_path / "a.parquet"
        if suffix == "parquet":
            pl.DataFrame(rows).write_parquet(path, row_group_size=1500)
        records, skipped = read(path, where=("score >= 3", 'lang == "en"'))
        found[suffix] = [(record.row, text) for record, text in zip(records, texts(records), strict=True)], skipped
    assert found["jsonl"] == found["parquet"]
    documents = [(n, row["text"]) for n, row in enumerate(rows) if (row["score"] or 0) >= 3 and row["lang"] == "en"]
    assert [pair for pair in found["parquet"][0] if pair[1].startswith("text")] == documents
    assert sum(found["parquet"][1].values()) + len(found["parquet"][0]) == 20_000


def test_rows_that_a_filter_loses_are_noticed(tmp_path, monkeypatch):
    pl.DataFrame({"text": [str(n) for n in range(5000)], "n": [1, 2] * 2500}).write_parquet(tmp_path / "a.parquet")
    all_batches = parquet._batches
    monkeypatch.setattr(parquet, "_batches", lambda *given: islice(all_batches(*given), 1))
    with pytest.raises(PedigreeError, match=r"a\.parquet: can't be read as Parquet.* not all there"):
        read(tmp_path / "a.parquet", where=("n == 1",))


def test_a_cut_counts_what_was_skipped_before_it(tmp_path):
    rows = [{"text": str(n), "n": n % 2} for n in range(1000)]
    for suffix in ("jsonl", "parquet"):
        path = write(tmp_path, suffix, rows)
        stats: list[dict] = []
        (task,) = Files(FilesSource(paths=(str(path),), where=("n == 1",))).tasks(10_000)
        object.__setattr__(task, "settings", {"max_documents": 3})
        assert [record.text for record in made([task], stats)] == ["1", "3", "5"]
        assert stats[0]["skipped"] == {"where n == 1": 4}


@pytest.mark.parametrize("options", [{"where": ("n > 1",)}, {"template": "{n}"}])
def test_files_without_fields_can_not_be_filtered_in_silence(tmp_path, options):
    (tmp_path / "a.txt").write_text("words")
    with pytest.raises(PedigreeError, match=rf"a\.txt: its records have no fields, so '{next(iter(options))}'"):
        read(tmp_path / "a.txt", **options)


def test_a_value_that_is_no_number_ends_the_conditions(tmp_path):
    pl.DataFrame({"text": ["a", "b"], "x": [float("nan"), 1.0], "n": [1, 9]}).write_parquet(tmp_path / "a.parquet")
    found, skipped = read(tmp_path / "a.parquet", where=("x >= 0.5", "n > 5"))
    assert texts(found) == ["where x >= 0.5: no x", "b"]
    assert skipped == {}
