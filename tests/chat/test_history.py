import pytest

from llm_core.chat.history import conversation_history
from llm_core.data.records import document_id
from llm_core.errors import PedigreeError
from llm_core.tokens.trace import documents_of_step, steps_of_document
from tests.chat.stages import encode, lines, read, source, talks
from tests.chat.test_training import TRAINING
from tests.train.runs import training_spec

PLACE = "talks/talks.jsonl"


@pytest.fixture(scope="module")
def folders(made):
    return {"chat_conversations": made[0], "chat_shards": made[1]}


def test_a_conversation_from_its_record_to_its_targets(folders, made):
    found = conversation_history(folders, "chat", f"{PLACE}:3")
    assert found.doc_id == document_id("talks", "talks.jsonl", 3)
    kept, encoded = found.stations
    assert (kept.verdict, kept.facts["turns"]) == ("kept", 4)
    assert encoded.verdict in ("train", "heldout")
    assert 0 < encoded.facts["targets"] < encoded.facts["tokens"]
    again = conversation_history(folders, "chat", found.doc_id[:12])
    assert again == found


def test_a_dropped_and_a_long_one_are_told_with_the_reason(tokenizer, tmp_path):
    faulty = {"messages": [{"role": "user", "content": "Hi"}]}
    read(tmp_path / "read", source(lines(tmp_path / "talks.jsonl", [*talks(30), faulty])))
    encode(tmp_path / "encoded", tmp_path / "read" / "out", tokenizer, sequence_length=40)
    folders = {"chat_conversations": tmp_path / "read" / "out", "chat_shards": tmp_path / "encoded" / "out"}
    (station,) = conversation_history(folders, "chat", f"{PLACE}:30").stations
    assert (station.verdict, station.facts["rule"]) == ("dropped", "no answer")
    last = conversation_history(folders, "chat", f"{PLACE}:0").stations[-1]
    assert (last.verdict, last.facts) == ("left out", {"because": "it is longer than a sequence"})


def test_others_are_not_here_and_too_few_digits_are_an_error(folders):
    assert conversation_history(folders, "chat", "ffff" * 8) is None
    assert conversation_history(folders, "chat", f"{PLACE}:999") is None
    with pytest.raises(PedigreeError, match=r"is the start of 12\d conversations"):
        conversation_history(folders, "chat", "")


def test_steps_lead_to_conversations_and_back_with_their_targets(made):
    folder, training = made[1], training_spec(**TRAINING)
    for item in documents_of_step(folder, 2, training, 5)[:2]:
        assert 0 < item.targets < item.tokens
        assert item in [seen for seen in steps_of_document(folder, item.doc_id, training, 5) if seen.step == 2]
