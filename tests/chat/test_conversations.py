import gzip
import json

import polars as pl
import pytest
import zstandard

from llm_core.chat.conversations import turns_of
from llm_core.chat.reading import Conversation, ConversationReader, conversations
from llm_core.data.records import document_id
from llm_core.errors import PedigreeError
from llm_core.experiment.preference import PreferenceSource
from llm_core.experiment.suites import MultipleChoiceSuite
from llm_core.experiment.tuning import ConversationSource
from tests.chat.stages import PERSONA, lines, read, source, talks
from tests.judged import judged

SPEAKERS = {"#A#:": "user", "#B#:": "assistant"}


def kept(work, name="parts"):
    return pl.concat([pl.read_parquet(path) for path in sorted((work / "out" / name).glob("*.parquet"))])


def said(work):
    return [[tuple(turn) for turn in turns] for turns in turns_of(kept(work))]


def test_the_three_forms_of_a_record(tmp_path):
    asked = lines(tmp_path / "asked.jsonl", [{"q": {"text": "Two?"}, "a": 3, "s": "Be brief."}])
    shared = lines(
        tmp_path / "shared.jsonl",
        [
            {
                "said": [
                    {"from": "human", "value": " Hi <eos>"},
                    {"from": "gpt", "value": "Ho<eos>"},
                    {"from": "human", "value": "?"},
                ]
            }
        ],
    )
    spoken = lines(tmp_path / "spoken.jsonl", [{"d": "#A#: One.\n#A#: Two.\nThree.\n\n#B#: Yes.\n#A#: And?\n#B#: No."}])
    stats = read(
        tmp_path / "job",
        source(asked, name="a", prompt="Q: {q.text}", answer="{a}", system="{s}"),
        source(shared, name="b", messages="said", role_key="from", content_key="value", remove=["<eos>"]),
        source(spoken, name="c", dialogue="d", speakers=SPEAKERS, system="Talk."),
    )
    assert said(tmp_path / "job") == [
        [("system", "Be brief."), ("user", "Q: Two?"), ("assistant", "3")],
        [("user", "Hi"), ("assistant", "Ho")],
        [
            ("system", "Talk."),
            ("user", "One.\nTwo.\nThree."),
            ("assistant", "Yes."),
            ("user", "And?"),
            ("assistant", "No."),
        ],
    ]
    assert (stats["conversations"], stats["turns"], stats["turns_left_out"]) == (3, 10, 1)
    first = kept(tmp_path / "job").row(0, named=True)
    assert first["doc_id"] == document_id("a", "asked.jsonl", 0)


FAULTS = {
    "no answer": [{"role": "user", "content": "Hi"}],
    "empty turn": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": " "}],
    "unknown role": [{"role": "tool", "content": "Hi"}, {"role": "assistant", "content": "Ho"}],
    "only a system line": [{"role": "system", "content": "Be kind."}],
    "turns do not alternate": [{"role": "assistant", "content": "Hi"}],
    "no turn": [],
    "content is no text": [{"role": "user", "content": ["Hi"]}, {"role": "assistant", "content": "Ho"}],
    "messages is no list of messages": "Hi",
    "no field messages": None,
}


def test_faulty_records_are_dropped_with_their_reason(tmp_path):
    records = [*talks(10), *({"messages": messages} for messages in FAULTS.values()), [1], {"messages": "x" * 600}]
    path = lines(tmp_path / "talks.jsonl", records)
    path.write_bytes(path.read_bytes() + b"{\xff}\n{broken\n\n")
    stats = read(tmp_path / "job", source(path, max_record_bytes=500))
    reasons = dict.fromkeys([*FAULTS, "not an object", "longer than max_record_bytes", "not UTF-8", "not JSON"], 1)
    assert stats["dropped_by_reason"] == reasons
    assert (stats["conversations"], stats["records"], stats["dropped"]) == (10, 23, 13)
    dropped = kept(tmp_path / "job", "dropped")
    assert dict(dropped.select("rule", "row").iter_rows())["empty turn"] == 11
    check = next(check for check in judged("instruct_conversations", stats) if check.name == "dropped_share")
    assert check.blocking
    assert not check.passed
    assert "no answer (1)" in check.message
    assert "the first: talks/talks.jsonl, row 10: no answer" in check.message


def test_every_format_gives_the_same_conversations(tmp_path):
    records = talks(30)
    plain = lines(tmp_path / "a.jsonl", records)
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(plain.read_bytes()))
    (tmp_path / "c.jsonl.zst").write_bytes(zstandard.compress(plain.read_bytes()))
    pl.DataFrame(records).write_parquet(tmp_path / "d.parquet")
    names = ["a.jsonl", "b.jsonl.gz", "c.jsonl.zst", "d.parquet"]
    read(tmp_path / "job", *(source(tmp_path / name, name=name[0]) for name in names))
    found = said(tmp_path / "job")
    assert len(found) == 120
    assert found[:30] == found[30:60] == found[60:90] == found[90:]


def test_where_and_share_choose_records(tmp_path):
    path = lines(tmp_path / "t.jsonl", [{**record, "score": number} for number, record in enumerate(talks(200))])
    stats = read(tmp_path / "job", source(path, where=["score >= 100"], share=0.5))
    assert 30 < stats["conversations"] < 70
    assert stats["conversations"] + stats["skipped"] < 130
    assert set(kept(tmp_path / "job")["row"]) <= set(range(100, 200))


def test_a_wrong_field_is_an_error_with_file_and_keys(tmp_path):
    path = lines(tmp_path / "asked.jsonl", [{"question": "Two?", "answer": "Three."}] * 3)
    with pytest.raises(PedigreeError, match=r"asked\.jsonl.*no field prompt \(3\).*the keys question, answer"):
        read(tmp_path / "job", source(path, prompt="{prompt}", answer="{answer}"))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (json.dumps(talks(500)), "not an object per line; it has a list of 500 records in one line; convert it"),
        ("\n" + json.dumps(talks(5), indent=1), "not an object per line; convert it"),
        ("[\n" + ",\n".join(map(json.dumps, talks(5))) + "\n]", "not an object per line; convert it"),
        (json.dumps(talks(1)[0], indent=1), "not an object per line; convert it"),
        ('"a text"\n5\n', r"none of its 2 records is a conversation: not an object \(2\); .* the keys none"),
        ("messages\nHi\n", r"none of its 2 records is a conversation: not JSON \(2\)"),
        ("\n \n", "has no record"),
        ("", "has no record"),
        ('{"a\\ud800é": 1}', r"the keys a\\ud800é\. Name"),
    ],
)
@pytest.mark.parametrize(
    "form",
    [
        ConversationSource(name="x", paths=("x",), messages="messages"),
        PreferenceSource(name="x", paths=("x",), chosen_messages="a", rejected_messages="b"),
    ],
)
def test_a_file_without_any_conversation_is_an_error(content, told, form, tmp_path):
    path = tmp_path / "all.json"
    path.write_text(content)
    with pytest.raises(PedigreeError, match=rf"all\.json.*{told}") as error:
        list(conversations(path, form))
    str(error.value).encode()


def test_an_empty_table_is_an_error_and_one_without_wanted_records_is_not(tmp_path):
    path = tmp_path / "t.parquet"
    pl.DataFrame({"messages": []}).write_parquet(path)
    with pytest.raises(PedigreeError, match="has no record"):
        read(tmp_path / "job", source(path))
    stats = read(tmp_path / "other", source(lines(tmp_path / "t.jsonl", [{"n": 1}]), where=["n > 1"]))
    assert (stats["conversations"], stats["skipped"]) == (0, 1)


def test_odd_values_are_dropped_or_kept_and_never_stop_a_stage(tmp_path):
    deep = "[" * 900 + "]" * 900
    odd = [
        '{"q": "a", "n": ' + "9" * 400 + "}",
        '{"q": "a", "n": 1, "n": 2}',
        '{"q": "a", "n": NaN}',
        '{"q": "a", "n": -Infinity}',
        '{"q": "a", "n": 1e999}',
        '{"q": "a", "n": true}',
        '{"q": "a", "n": ' + "9" * 5000 + "}",
        '{"q": "a", "n": ' + deep + "}",
        '{"q": "a\\ud800", "n": 1}',
        '{"q": "a", "\\ud800": 1}',
        '{"q": "' + "a" * 1_000_000 + '"}',
    ]
    path = tmp_path / "t.jsonl"
    path.write_text("\n".join(odd))
    stats = read(tmp_path / "job", source(path, prompt="{q}", answer="{n}"))
    assert [turns[-1][1] for turns in said(tmp_path / "job")] == ["9" * 400, "2"]
    assert stats["dropped_by_reason"] == {
        "n is neither text nor a number": 5,
        "no field n": 2,
        "not JSON": 1,
        "lone surrogate": 1,
    }
    path.write_text(f'{{"messages": [{{"role": {deep}, "content": "a"}}]}}\n' + json.dumps(talks(1)[0]))
    stats = read(tmp_path / "other", source(path))
    assert (stats["conversations"], stats["dropped"]) == (1, 1)


@pytest.mark.parametrize(
    ("speakers", "line", "found"),
    [
        ({}, "#Person3#: Me too.", "another speaker"),
        ({}, "#Person10#: Me too.", "another speaker"),
        ({"#Person3#:": "user"}, "#Person3#: Me too.", "Hi.\nMe too."),
        ({"#Person10#:": "user"}, "#Person10#: Me too.", "Hi.\nMe too."),
        ({"Moderator:": None}, "Moderator: Begin.", "another speaker"),
        ({}, "Moderator: Begin.", "Hi.\nModerator: Begin."),
        ({}, "I met #Person3#: twice.", "Hi.\nI met #Person3#: twice."),
        ({"Person 1": "user"}, "Person 10 Me too.", "another speaker"),
    ],
)
def test_other_speakers_of_a_dialogue(speakers, line, found, tmp_path):
    path = tmp_path / "t.jsonl"
    lines(path, [{"d": f"#Person1#: Hi.\n{line}\n#Person2#: Ho."}])
    form = source(path, dialogue="d", speakers={"#Person1#:": "user", "#Person2#:": "assistant", **speakers})
    (made,) = [ConversationReader(form).conversation(0, record) for record in map(json.loads, path.open())]
    assert (made.turns[0].content if isinstance(made, Conversation) else made.reason) == found


def test_files_of_other_kinds_are_refused(tmp_path):
    (tmp_path / "talks.csv").write_text("messages\nx\n")
    with pytest.raises(PedigreeError, match="are read from jsonl files"):
        read(tmp_path / "job", source(tmp_path / "talks.csv"))


def test_conversations_with_eval_items_are_dropped(tmp_path):
    item = "The heron that stands at the old mill by the river eats seven small fish every single morning"
    suite = MultipleChoiceSuite(
        name="birds",
        path=str(lines(tmp_path / "birds.jsonl", [{"query": item, "choices": ["yes", "no"], "gold": 0}])),
    )
    planted = {
        "messages": [
            {"role": "user", "content": f"I read this. {item}. True?"},
            {"role": "assistant", "content": "Yes."},
        ]
    }
    path = lines(tmp_path / "talks.jsonl", [*talks(9), planted])
    stats = read(tmp_path / "job", source(path), suites=(suite,))
    assert (stats["conversations"], stats["contaminated"], stats["contaminated_by_suite"]) == (9, 1, {"birds": 1})
    (row,) = kept(tmp_path / "job", "dropped").to_dicts()
    assert (row["row"], row["rule"], row["suite"]) == (9, "contaminated", "birds")


def test_the_persona_is_a_source_with_and_without_its_system_line(tmp_path):
    stats = read(tmp_path / "job", source(lines(tmp_path / "t.jsonl", talks(3))), persona=PERSONA)
    assert stats["conversations_by_source"] == {"talks": 3, "persona": 4}
    line = ("system", "You are Ada. You are brief.")
    own = [turns for turns in said(tmp_path / "job") if turns[-1][1] == "I am Ada."]
    assert own == [[line, ("user", "Who?"), ("assistant", "I am Ada.")], [("user", "Who?"), ("assistant", "I am Ada.")]]


def test_json_that_is_nested_too_deeply_is_no_record(tmp_path):
    path = lines(tmp_path / "t.jsonl", talks(5))
    path.write_text(path.read_text() + "[" * 100_000 + "\n" + json.dumps({"messages": [1]}) + "\n")
    stats = read(tmp_path / "job", source(path))
    assert stats["dropped_by_reason"] == {"not JSON": 1, "messages is no list of messages": 1}


def test_lines_that_python_printed_are_read_where_the_source_says_so(tmp_path):
    records = [
        *talks(3),
        {"messages": [{"role": "user", "content": 'It\'s "2"?'}, {"role": "assistant", "content": "é\n"}]},
    ]
    json_lines, printed = lines(tmp_path / "a.jsonl", records), tmp_path / "b.jsonl"
    faulty = ["{'messages': open('x')}", "[" * 100_000, "{'messages': ["]
    printed.write_text("\n".join([*map(repr, records), *faulty]))
    stats = read(tmp_path / "job", source(json_lines, name="a"), source(printed, name="b", syntax="python"))
    assert said(tmp_path / "job")[:4] == said(tmp_path / "job")[4:]
    assert stats["dropped_by_reason"] == {"not a Python literal": 3}
    mixed = tmp_path / "c.jsonl"
    mixed.write_text(json_lines.read_text() + repr(records[0]))
    stats = read(tmp_path / "again", source(mixed))
    assert stats["dropped_by_reason"] == {"not JSON (it looks like Python's form: syntax: python reads that)": 1}
