import re
import time

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_core.data import clean
from llm_core.data.parquet_parts import DOCUMENT
from llm_core.data.rules.blocked import blocked_urls
from llm_core.errors import PedigreeError
from llm_core.experiment.cleaning import BlockListSpec, CleaningSpec, LanguageSpec, RuleSpec
from tests.data.stages import artifact, digests, documents, read, run, write
from tests.judged import judged

ENGLISH = "The harbour was quiet, and the boats that had come in with the tide were made fast."
GERMAN = "Der Hafen lag still, und die Boote, die mit der Flut gekommen waren, lagen fest vertäut."


def rules(**bounds):
    return {name: RuleSpec(min=low, max=high) for name, (low, high) in bounds.items()}


def cleaned(tmp_path, *texts, urls=None, **cleaning):
    frame = documents(texts)
    if urls:
        frame = frame.with_columns(url=pl.Series(urls, dtype=pl.String))
    raw = write(tmp_path / "raw", frame)
    stats = run(clean.build, tmp_path / "job", {"documents": raw}, cleaning=CleaningSpec(**cleaning))
    out = tmp_path / "job" / "out"
    return stats, read(out / "parts"), read(out / "dropped")


def accounted(stats):
    dropped = sum(sizes["bytes"] for counts in stats["funnel"].values() for sizes in counts["dropped"].values())
    return stats["bytes"] + dropped + sum(stats["removed_bytes"].values())


def test_kept_and_dropped(tmp_path):
    raw = write(
        tmp_path / "raw",
        documents(["one two three", "x", "“quoted” text…  \r\n", "1 2 3 4", "\u200b"]),
        documents(["# # #"], source="other", origin="b"),
    )
    cleaning = CleaningSpec(rules=rules(min_words=(2, None), alphabetic_words=(0.3, 1.0), symbols_per_word=(None, 0.5)))
    stats = run(clean.build, tmp_path / "job", {"documents": raw}, cleaning=cleaning)
    out = tmp_path / "job" / "out"
    kept, dropped = read(out / "parts"), read(out / "dropped")
    assert dict(kept.schema) == DOCUMENT
    assert kept.select("row", "text").rows() == [(0, "one two three"), (2, '"quoted" text...')]
    assert dropped.select("origin", "row", "rule", "value").rows() == [
        ("made.jsonl", 1, "min_words", 1.0),
        ("made.jsonl", 3, "alphabetic_words", 0.0),
        ("made.jsonl", 4, "empty", 0.0),
        ("b", 0, "min_words", 0.0),
    ]
    assert sorted(path.name for path in (out / "parts").iterdir()) == ["00000.parquet", "00001.parquet"]
    assert accounted(stats) == stats["bytes_in"] == sum(read(raw / "parts")["text"].str.len_bytes())
    assert stats["dropped_by_rule"] == {"empty": 1, "min_words": 2, "alphabetic_words": 1, "symbols_per_word": 0}
    assert stats["funnel"] == {
        "made": {
            "dropped": {
                "alphabetic_words": {"bytes": 7, "documents": 1},
                "empty": {"bytes": 0, "documents": 1},
                "min_words": {"bytes": 1, "documents": 1},
            },
            "bytes_in": 48,
            "documents_in": 5,
            "bytes": 29,
            "documents": 2,
        },
        "other": {
            "dropped": {"min_words": {"bytes": 5, "documents": 1}},
            "bytes_in": 5,
            "documents_in": 1,
            "bytes": 0,
            "documents": 0,
        },
    }
    assert stats["lengths"] == {"3": 1, "4": 1}
    assert (stats["documents_in"], stats["documents"], stats["dropped"]) == (6, 2, 4)
    assert (stats["normalising_changed"], stats["empty_parts"], stats["parts"]) == (2, 1, 2)
    checks = judged("clean_documents", stats, max_drop_share=0.6)
    assert {check.name: check.passed for check in checks} == {
        "not_empty": True,
        "drop_share": False,
        "drops_by_rule": False,
        "encoding": True,
        "unspaced": True,
        "languages": True,
        "empty_parts": False,
    }
    assert "min_words (2)" in checks[1].message
    assert checks[2].message.startswith("min_words drops 100.0% of other; ")


def test_of_many_sources_with_such_drops_ten_are_named():
    gone = {"documents_in": 4, "dropped": {"min_words": {"documents": 1, "bytes": 2}}}
    funnel = {f"source{number:02d}": gone for number in range(150)}
    (check,) = [check for check in judged("clean_documents", {"funnel": funnel}) if check.name == "drops_by_rule"]
    assert not check.passed
    assert check.message.count("min_words drops 25.0% of source") == 10
    assert "source09; and 140 more such drops of sources: look at" in check.message


def test_mojibake_is_counted_and_repaired_on_request(tmp_path):
    texts = ["A cafÃ© here and there.", "A caf\ufffd here and there.", "A café here and there."]
    stats, kept, _ = cleaned(tmp_path / "a", *texts)
    assert (stats["mojibake"], stats["replacement_characters"], stats["repaired"]) == (1, 1, 0)
    found = {check.name: check for check in judged("clean_documents", stats)}["encoding"]
    assert (found.passed, found.value) == (False, pytest.approx(2 / 3))
    stats, kept, _ = cleaned(tmp_path / "b", *texts, repair=True)
    assert stats["repaired"] == 1
    assert {check.name: check for check in judged("clean_documents", stats)}["encoding"].value == pytest.approx(1 / 3)
    broken = {check.name: check for check in judged("clean_documents", {**stats, "mojibake": 3})}["encoding"]
    assert broken.value == 1  # two could not be mended
    assert broken.message.startswith("3 documents have wrongly decoded text (1 of them were repaired")
    assert sorted(kept["text"]) == sorted([texts[1], texts[2], texts[2]])


def test_writing_without_spaces_is_told_where_words_are_counted(tmp_path):
    texts = ["港は静かで潮に乗って来た船はつながれていた。春になると桜の花が咲きます。", "The harbour was quiet."]
    stats, _, _ = cleaned(tmp_path / "a", *texts, rules=rules(min_words=(1, None)))
    assert stats["unspaced"] == 1
    found = {check.name: check for check in judged("clean_documents", stats)}["unspaced"]
    assert (found.passed, found.value) == (False, 0.5)
    stats, _, _ = cleaned(tmp_path / "b", *texts, rules=rules(short_lines=(None, 1), curly_brackets=(None, 0)))
    assert stats["unspaced"] == 0
    stats, _, _ = cleaned(tmp_path / "c", *texts, rules=rules(line_words=(3, None)))
    assert stats["unspaced"] == 1


def test_line_rules_that_leave_nothing_of_a_source_are_named(tmp_path):
    texts = ["बंदरगाह शांत था।\nनाव बंधी थी।"] * 3
    stats, _, _ = cleaned(tmp_path, *texts, rules=rules(line_sentence_end=(1, None), line_policy=(None, 0)))
    found = {check.name: check for check in judged("clean_documents", stats)}["drops_by_rule"]
    assert not found.passed
    assert "no text remained; line rules dropped lines: line_sentence_end (6): look at" in found.message


def test_line_rules_stand_between_the_rules_that_judge_before_and_after(tmp_path):
    text = "A line of five words.\nshort\n\nA line on cookies: we use cookies."
    stats, kept, dropped = cleaned(
        tmp_path,
        text,
        "one\ntwo",
        rules=rules(short_lines=(None, 1), line_words=(3, None), line_policy=(None, 0), newlines_per_word=(None, 0)),
    )
    assert kept["text"].to_list() == ["A line of five words."]
    assert dropped.select("text", "rule").rows() == [("", "empty")]
    assert stats["lines"] == {"line_policy": {"bytes": 34, "lines": 1}, "line_words": {"bytes": 11, "lines": 3}}
    assert accounted(stats) == stats["bytes_in"]


def test_redactions_are_counted_and_leave_the_normal_form(tmp_path):
    stats, kept, _ = cleaned(
        tmp_path, "Ask me@web.example.org\n[1]\n\n[2]\nend [3]", redactions=("citations", "emails")
    )
    assert kept["text"].to_list() == ["Ask email@example.com\n\nend"]
    assert stats["redactions"] == {
        "citations": {"documents": 1, "matches": 3},
        "emails": {"documents": 1, "matches": 1},
    }
    assert accounted(stats) == stats["bytes_in"]


def test_telephone_numbers_by_the_regions_of_the_experiment(tmp_path):
    text = "Ring 020 7946 0958 or tel. 32 12 34 56."
    _, kept, _ = cleaned(tmp_path / "uk", text, redactions=("phones",))
    assert kept["text"].to_list() == ["Ring 555-0100 or tel. 32 12 34 56."]
    _, kept, _ = cleaned(tmp_path / "dk", text, redactions=({"kind": "phones", "regions": ("DK",)},))
    assert kept["text"].to_list() == ["Ring 020 7946 0958 or tel. 555-0100."]


def test_what_the_telephone_numbers_are_judged_by_is_part_of_the_identity(monkeypatch):
    assert clean.source_digests(CleaningSpec(redactions=("emails",))) == {}
    assert list(clean.source_digests(CleaningSpec(redactions=("phones",)))) == ["phones"]
    monkeypatch.setattr("llm_core.data.redactions.phones.spec.find_spec", lambda _: None)
    with pytest.raises(PedigreeError, match=r"phones needs phonenumbers, which is not installed: .*\[web\]"):
        clean.source_digests(CleaningSpec(redactions=("phones",)))


def test_languages(tmp_path):
    stats, kept, dropped = cleaned(tmp_path, ENGLISH, GERMAN, "1 2 3", language=LanguageSpec(keep=("de",)))
    assert kept["text"].to_list() == [GERMAN]
    assert dict(kept.schema) == DOCUMENT
    assert dropped["rule"].to_list() == ["language", "language"]
    assert dropped["language"][0] == "en"
    assert 0.5 < dropped["value"][0] <= 1
    assert stats["languages"] == {"de": 1, "en": 2}
    check = next(check for check in judged("clean_documents", stats) if check.name == "languages")
    assert not check.passed
    assert "66.7%" in check.message


def test_without_the_package_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setattr("llm_core.data.rules.languages.find_spec", lambda _: None)
    with pytest.raises(PedigreeError, match=r"pip install .*-e '\.\[web\]'` in the checkout"):
        clean.source_digests(CleaningSpec(language=LanguageSpec(keep=("en",))))


def test_a_language_that_the_model_does_not_know_is_told_before_any_work():
    with pytest.raises(PedigreeError, match=r"language\.keep: eng, jp: lid\.176 knows no such language; it knows af, "):
        clean.source_digests(CleaningSpec(language=LanguageSpec(keep=("jp", "en", "eng"))))


def test_block_lists(tmp_path):
    (tmp_path / "urls.txt").write_text("# hosts\nBad.example\nhttps://good.example/ads/\n")
    (tmp_path / "words.txt").write_text("foo\nbar  baz\n")
    lists = {
        "blocked_urls": BlockListSpec(path=str(tmp_path / "urls.txt")),
        "blocked_words": BlockListSpec(path=str(tmp_path / "words.txt")),
    }
    urls = [
        "http://www.bad.example:80/x",
        "good.example/ads/1?q",
        "http://good.example/adsl",
        None,
        "notbad.example",
        None,
    ]
    texts = ["one", "two", "three", "a FOO, foo", "barbaz bar. baz", "end bar Baz"]
    _, kept, dropped = cleaned(tmp_path, *texts, urls=urls, **lists)
    assert kept["text"].to_list() == ["three", "barbaz bar. baz"]
    assert dropped.select("rule", "value").rows() == [
        ("blocked_urls", 1.0),
        ("blocked_urls", 1.0),
        ("blocked_words", 2.0),
        ("blocked_words", 1.0),
    ]
    cleaning = CleaningSpec(**lists)
    before = clean.source_digests(cleaning)
    assert set(before) == {"blocked_urls", "blocked_words"}
    (tmp_path / "words.txt").write_text("quux\n")
    assert clean.source_digests(cleaning)["blocked_words"] != before["blocked_words"]
    _, kept, _ = cleaned(tmp_path / "again", *texts, urls=urls, **lists)
    assert kept.height == 4


@pytest.mark.parametrize("content", [b"", b"# nothing\n", b"\xff\xfe\x00", None])
def test_a_file_that_is_no_block_list(tmp_path, content):
    path = tmp_path / "list.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(PedigreeError, match=r"list\.txt"):
        clean.source_digests(CleaningSpec(blocked_words=BlockListSpec(path=str(path))))


def blocked(tmp_path, listed, urls):
    (tmp_path / "urls.txt").write_text("\n".join(listed))
    return blocked_urls(pl.Series(urls, dtype=pl.String), tmp_path / "urls.txt").to_list()


def test_addresses_are_compared_by_host_and_path(tmp_path):
    listed = ["a.example:8080", "http://user@b.example./", ".c.example", "bücher.example", "d.example/x/y", "1.2.3.4"]
    hit = ["http://a.example/", "b.example.", "https://www.c.example/x?y#z", "http://xn--bcher-kva.example/"]
    hit += ["http://BÜCHER.example", "https://d.example:1/x/y/z", "http://1.2.3.4/", "http://D.example/x/y"]
    missed = ["http://example/", "http://aa.example", "http://d.example/x", "http://d.example/x/yz", "http://[x/", ""]
    assert blocked(tmp_path, listed, hit) == [True] * len(hit)
    assert blocked(tmp_path, listed, [*missed, None]) == [False] * (len(missed) + 1)


def test_an_address_of_any_length_is_looked_up_at_once(tmp_path):
    start = time.perf_counter()
    assert blocked(tmp_path, ["a.b.example/c/d"], [f"http://a.b.example/{'c/' * 10**6}", "a." * 10**6]) == [
        False,
        False,
    ]
    assert time.perf_counter() - start < 5


@pytest.mark.parametrize(
    "entry", ["*.bad.example", "||bad.example^", "0.0.0.0 bad.example", "bad.example/x?y", "http:///x"]
)
def test_an_entry_that_can_match_no_address_is_told(tmp_path, entry):
    (tmp_path / "urls.txt").write_text(f"good.example\n{entry}\n")
    with pytest.raises(PedigreeError, match=rf"urls\.txt: '{re.escape(entry)}' is no entry of a list of addresses"):
        clean.source_digests(CleaningSpec(blocked_urls=BlockListSpec(path=str(tmp_path / "urls.txt"))))


def test_blocked_words_have_the_form_of_the_texts(tmp_path):
    (tmp_path / "words.txt").write_text("don’t do\ncafe\u0301\nx\u00adyz\n“quoted”\n")
    lists = {"blocked_words": BlockListSpec(path=str(tmp_path / "words.txt"))}
    texts = ["I don't do it", "a café", "XYZ", 'a "Quoted" word', "plain", "cafe"]
    _, kept, _ = cleaned(tmp_path, *texts, **lists)
    assert kept["text"].to_list() == ["plain", "cafe"]


def test_addresses_to_block_where_there_are_none(tmp_path):
    (tmp_path / "urls.txt").write_text("bad.example")
    with pytest.raises(PedigreeError, match="no document has a url"):
        cleaned(tmp_path, "a", blocked_urls=BlockListSpec(path=str(tmp_path / "urls.txt")))
    assert not list((tmp_path / "job").rglob("part.json"))  # told before any part is made


def test_a_part_for_every_part(tmp_path):
    raw = write(tmp_path / "raw", documents(["a"]), documents(["b"]))
    inputs = {"documents": [clean.InputFile(f.path, raw / f.path, f.xxh3) for f in artifact(raw).manifest.files]}
    assert [task.name for task in clean.parts(inputs, CleaningSpec())] == ["00000", "00001"]


def test_an_unneeded_threshold_changes_no_file(tmp_path):
    raw = write(tmp_path / "raw", documents([f"text number {number}" for number in range(50)]))
    for name, bound in (("a", 1), ("b", 2)):
        run(
            clean.build,
            tmp_path / name,
            {"documents": raw},
            cleaning=CleaningSpec(rules=rules(min_words=(bound, None))),
        )
    assert digests(tmp_path / "a" / "out") == digests(tmp_path / "b" / "out")


@settings(max_examples=40, deadline=None)
@given(texts=st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=30), max_size=12))
def test_nothing_is_lost_or_doubled(tmp_path_factory, texts):
    work = tmp_path_factory.mktemp("clean")
    frame = documents(texts)
    raw = write(work / "raw", frame)
    cleaning = CleaningSpec(
        preset="c4", redactions=("emails",), rules={"sentences": None, "min_words": RuleSpec(min=2)}
    )
    stats = run(clean.build, work / "job", {"documents": raw}, cleaning=cleaning)
    kept, dropped = read(work / "job" / "out" / "parts"), read(work / "job" / "out" / "dropped")
    assert sorted([*kept["doc_id"], *dropped["doc_id"]]) == sorted(frame["doc_id"])
    assert kept["row"].is_sorted()
    assert dropped["row"].is_sorted()
    assert stats["documents"] + stats["dropped"] == stats["documents_in"] == len(texts)
    assert accounted(stats) == stats["bytes_in"]
