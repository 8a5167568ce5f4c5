"""What ``pedigree why -d`` says of a document and the steps that read it."""

from llm_core.tokens.trace import TrainedRange
from pipelines.follow import trained_station


def read(step: int, tokens: int) -> TrainedRange:
    return TrainedRange(step, 0, 0, 0, 0, tokens, "d", "files", "1.jsonl", 7)


def test_steps_that_were_skipped_taught_nothing() -> None:
    told = trained_station([read(3, 10), read(4, 5), read(4, 6)], {4, 9})
    assert (told.verdict, told.facts) == ("trained on", {"times a target": 10, "steps": "3", "skipped steps": "4"})
    told = trained_station([read(4, 5)], {4})
    assert (told.verdict, told.facts) == ("not trained on", {"times a target": 0, "skipped steps": "4"})
    assert trained_station([], set()).verdict == "not come to"


def test_steps_that_nobody_knows_to_be_skipped_are_told_as_such() -> None:
    told = trained_station([read(3, 10)], None, "metrics.jsonl is damaged")
    assert told.facts == {"times a target": 10, "steps": "3", "skipped steps": "not known: metrics.jsonl is damaged"}
