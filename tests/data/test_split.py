import numpy as np
import pytest

from llm_core.data import split
from llm_core.errors import PedigreeError
from llm_core.experiment.dedup import SplitSpec
from llm_core.experiment.evaluation import ChecksSpec, EvaluationSpec
from tests.data.stages import digests, documents, read, run, write

SPEC = SplitSpec(heldout_share=0.2)
EVALUATION = EvaluationSpec(context_characters=10, continuation_characters=5)


def texts(count):
    return [f"document number {number}" for number in range(count)]


def sides(out):
    return {side: set(read(out / side)["text"]) for side in ("train", "heldout")}


def test_the_split_stays_when_the_corpus_grows(tmp_path):
    small = write(tmp_path / "small", documents(texts(300)))
    large = write(tmp_path / "large", documents(texts(900)[::-1], origin="new"), documents(texts(50), origin="old"))
    stats = run(split.build, tmp_path / "a", {"documents": small}, split=SPEC, evaluation=EVALUATION)
    run(split.build, tmp_path / "b", {"documents": large}, split=SPEC, evaluation=EVALUATION)
    before, after = sides(tmp_path / "a" / "out"), sides(tmp_path / "b" / "out")
    assert before["train"] <= after["train"]
    assert before["heldout"] <= after["heldout"]
    assert not after["train"] & after["heldout"]
    assert len(after["heldout"]) / 900 == pytest.approx(0.2, abs=0.04)
    assert (stats["train_documents"], stats["heldout_documents"]) == (len(before["train"]), len(before["heldout"]))
    assert stats["documents"] == 300
    assert all(check.passed for check in split.checks(stats, ChecksSpec()))


def test_equal_texts_stand_on_one_side_and_the_salt_moves_them(tmp_path):
    twice = write(tmp_path / "d", documents([*texts(200), *(text.upper() + "!" for text in texts(200))]))
    stats = run(split.build, tmp_path / "a", {"documents": twice}, split=SPEC, evaluation=EVALUATION)
    run(
        split.build,
        tmp_path / "b",
        {"documents": twice},
        split=SplitSpec(heldout_share=0.2, salt="other"),
        evaluation=EVALUATION,
    )
    assert stats["in_both_splits"] == 0
    assert stats["heldout_documents"] == len(read(tmp_path / "a" / "out" / "heldout"))
    assert sides(tmp_path / "a" / "out") != sides(tmp_path / "b" / "out")


def test_an_overlap_would_be_found(tmp_path, monkeypatch):
    twice = write(tmp_path / "d", documents(["Same text.", "other", "same text", "same  TEXT"]))
    monkeypatch.setattr(split, "_is_heldout", lambda frame, _: np.arange(frame.height) == 0)
    stats = run(split.build, tmp_path / "job", {"documents": twice}, split=SPEC, evaluation=EVALUATION)
    assert stats["in_both_splits"] == 2
    verdicts = {check.name: check for check in split.checks(stats, ChecksSpec())}
    assert not verdicts["no_overlap"].passed


def test_an_empty_side_is_told(tmp_path):
    one = write(tmp_path / "d", documents(["only one"]))
    stats = run(
        split.build, tmp_path / "job", {"documents": one}, split=SplitSpec(heldout_share=0.001), evaluation=EVALUATION
    )
    verdict = split.checks(stats, ChecksSpec())[0]
    assert (verdict.name, verdict.passed) == ("not_empty", False)
    assert "0 held out: use more text" in verdict.message


def test_an_empty_training_side_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(split, "_is_heldout", lambda frame, _: np.ones(frame.height, dtype=bool))
    one = write(tmp_path / "d", documents(["only one"]))
    stats = run(split.build, tmp_path / "job", {"documents": one}, split=SPEC, evaluation=EVALUATION)
    verdict = split.checks(stats, ChecksSpec())[0]
    assert not verdict.passed
    assert "0 documents to train on, 1 held out: use more text, or a smaller split.heldout_share" in verdict.message


def test_too_few_documents_for_questions_close_the_gate(tmp_path, monkeypatch):
    monkeypatch.setattr(split, "_is_heldout", lambda frame, _: np.arange(frame.height) > 0)
    lengths = [30, 16, 17, 17, 18, 30]
    folder = write(tmp_path / "d", documents("é" * length for length in lengths))
    for choices, passed in ((4, True), (5, False)):
        evaluation = EvaluationSpec(context_characters=10, continuation_characters=5, choices=choices)
        assert evaluation.question_characters == 17
        work = tmp_path / str(choices)
        stats = run(split.build, work, {"documents": folder}, split=SPEC, evaluation=evaluation)
        assert (stats["heldout_usable"], stats["heldout_needed"]) == (4, choices)
        verdict = {check.name: check for check in split.checks(stats, ChecksSpec())}["heldout_usable"]
        assert verdict.passed == passed
    assert "4 held-out documents have the 17 characters" in verdict.message
    assert "lower evaluation.context_characters" in verdict.message


def test_the_evaluation_changes_no_file(tmp_path):
    folder = write(tmp_path / "d", documents(texts(50)))
    for name, evaluation in (("a", EVALUATION), ("b", EvaluationSpec())):
        run(split.build, tmp_path / name, {"documents": folder}, split=SPEC, evaluation=evaluation)
    assert digests(tmp_path / "a" / "out") == digests(tmp_path / "b" / "out")


def test_a_torn_part_is_named(tmp_path):
    folder = write(tmp_path / "d", documents(texts(10)))
    path = folder / "parts" / "00000.parquet"
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(PedigreeError, match=r"00000\.parquet: not a whole part"):
        run(split.build, tmp_path / "job", {"documents": folder}, split=SPEC, evaluation=EVALUATION)
    path.unlink()
    with pytest.raises(PedigreeError, match="holds no Parquet parts"):
        run(split.build, tmp_path / "again", {"documents": folder}, split=SPEC, evaluation=EVALUATION)
