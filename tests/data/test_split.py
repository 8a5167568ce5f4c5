import numpy as np
import polars as pl
import pytest

from llm_core.data import split, unique
from llm_core.data.dedup.signatures import sign, write_signatures
from llm_core.errors import PedigreeError
from llm_core.experiment.dedup import DedupSpec, MinHashSpec, SplitSpec
from llm_core.experiment.evaluation import EvaluationSpec
from llm_core.experiment.runtime import ComputeSpec
from llm_core.graph.job import Job, Runtime
from tests.data.stages import artifact, digests, documents, read, run, write
from tests.data.test_unique import edited, prose
from tests.judged import judged

SPEC = SplitSpec(heldout_share=0.2)
MINHASH = MinHashSpec()
EVALUATION = EvaluationSpec(context_characters=10, continuation_characters=5)


def texts(count):
    return [f"document number {number}" for number in range(count)]


def signed(folder, *frames):
    """``folder`` as the documents that a split reads: parts, and their signatures."""
    write(folder, *frames)
    for number, frame in enumerate(frames):
        write_signatures(folder / "signatures" / f"{number:05d}.npy", sign(frame, MINHASH))
    return folder


def cut(work, folder, spec=SPEC, evaluation=EVALUATION):
    return run(split.build, work, {"documents": folder}, split=spec, minhash=MINHASH, evaluation=evaluation)


def sides(out):
    return {side: set(read(out / side)["text"]) for side in ("train", "heldout")}


def heldout_where(monkeypatch, condition):
    """Hold out the documents whose number in their part meets ``condition``."""
    monkeypatch.setattr(split, "is_heldout", lambda keys, _: condition(np.arange(len(keys))))


def verdicts(stats):
    return {check.name: check for check in judged("pretraining_documents", stats)}


def test_the_split_stays_when_the_corpus_grows(tmp_path):
    small = signed(tmp_path / "small", documents(texts(300)))
    large = signed(tmp_path / "large", documents(texts(900)[::-1], origin="new"), documents(texts(50), origin="old"))
    stats = cut(tmp_path / "a", small)
    cut(tmp_path / "b", large)
    before, after = sides(tmp_path / "a" / "out"), sides(tmp_path / "b" / "out")
    assert before["train"] <= after["train"]
    assert before["heldout"] <= after["heldout"]
    assert not after["train"] & after["heldout"]
    assert len(after["heldout"]) / 900 == pytest.approx(0.2, abs=0.04)
    assert (stats["train_documents"], stats["heldout_documents"]) == (len(before["train"]), len(before["heldout"]))
    assert stats["documents"] == 300
    assert all(check.passed for check in judged("pretraining_documents", stats))


def test_equal_texts_stand_on_one_side_and_the_salt_moves_them(tmp_path):
    twice = signed(tmp_path / "d", documents([*texts(200), *(text.upper() + "!" for text in texts(200))]))
    stats = cut(tmp_path / "a", twice)
    cut(tmp_path / "b", twice, SplitSpec(heldout_share=0.2, salt="other"))
    assert stats["in_both_splits"] == 0
    assert stats["heldout_documents"] == len(read(tmp_path / "a" / "out" / "heldout"))
    assert sides(tmp_path / "a" / "out") != sides(tmp_path / "b" / "out")


def test_an_overlap_would_be_found(tmp_path, monkeypatch):
    twice = signed(tmp_path / "d", documents(["Same text.", "other", "same text", "same  TEXT"]))
    heldout_where(monkeypatch, lambda numbers: numbers == 0)
    stats = cut(tmp_path / "job", twice)
    assert stats["in_both_splits"] == 2
    assert not verdicts(stats)["no_overlap"].passed


def test_what_is_nearly_held_out_is_not_trained_on(tmp_path, monkeypatch):
    """In the part of its held-out twin or in another one; it is written down with the twin and the similarity."""
    heldout_where(monkeypatch, lambda numbers: numbers == 0)
    first = documents([prose(1), edited(prose(1), 0.02, 5), prose(2)])
    second = documents([prose(3), edited(prose(1), 0.03, 6), prose(4)], origin="b")
    stats = cut(tmp_path / "job", signed(tmp_path / "d", first, second))
    out = tmp_path / "job" / "out"
    assert sides(out) == {"train": {prose(2), prose(4)}, "heldout": {prose(1), prose(3)}}
    dropped = read(out / "dropped")
    assert dropped["doc_id"].to_list() == [first["doc_id"][1], second["doc_id"][1]]
    assert set(dropped["kept_doc_id"]) == {first["doc_id"][0]}
    assert dropped["value"].is_between(0.65, 1, closed="left").all()
    assert stats["dropped_by_rule"] == {"near_heldout": 2}
    assert (stats["nearly_in_both_splits"], verdicts(stats)["no_overlap"].passed) == (0, True)
    assert stats["funnel"]["made"]["documents_in"] == 6


def test_a_near_overlap_would_be_found(tmp_path, monkeypatch):
    heldout_where(monkeypatch, lambda numbers: numbers == 0)
    folder = signed(tmp_path / "d", documents([prose(1), edited(prose(1), 0.02, 5)]))
    select = split.select_part

    def careless(work, split):
        np.save(tmp_path / "nothing.npy", np.load(work.inputs["leaks"])[:0])
        inputs = {**work.inputs, "leaks": tmp_path / "nothing.npy"}
        return select(type(work)(work.name, inputs, work.settings, work.out), split)

    monkeypatch.setattr(split, "select_part", careless)
    stats = cut(tmp_path / "job", folder)
    assert (stats["in_both_splits"], stats["nearly_in_both_splits"]) == (0, 1)
    assert not verdicts(stats)["no_overlap"].passed


def test_clusters_that_deduplication_leaves_are_no_leak(tmp_path):
    """Whatever it is told to keep: here, everything."""
    frame = documents([edited(prose(number // 4), 0.02, number) for number in range(80)])
    kept = run(
        unique.build, tmp_path / "u", {"documents": write(tmp_path / "c", frame)}, dedup=DedupSpec(method="none")
    )
    stats = cut(tmp_path / "job", tmp_path / "u" / "out", SplitSpec(heldout_share=0.3))
    assert kept["dropped"] == 0
    assert stats["dropped"] > 10
    assert all(verdicts(stats)[name].passed for name in ("not_empty", "no_overlap", "doc_ids_differ"))


def test_repeated_identities_are_found(tmp_path):
    frame = documents(texts(20))
    stats = cut(tmp_path / "job", signed(tmp_path / "d", frame, frame.with_columns(text=pl.col("text") + " more")))
    assert stats["repeated_doc_ids"] == 20
    assert not verdicts(stats)["doc_ids_differ"].passed


def test_signatures_of_other_documents_are_noticed(tmp_path):
    folder = signed(tmp_path / "d", documents(texts(20)))
    write_signatures(folder / "signatures" / "00000.npy", sign(documents(texts(20), origin="other"), MINHASH))
    with pytest.raises(PedigreeError, match="not the signatures of part 00000"):
        cut(tmp_path / "job", folder)


def test_an_empty_side_is_told(tmp_path):
    one = signed(tmp_path / "d", documents(["only one"]))
    stats = cut(tmp_path / "job", one, SplitSpec(heldout_share=0.001))
    verdict = judged("pretraining_documents", stats)[0]
    assert (verdict.name, verdict.passed) == ("not_empty", False)
    assert "0 held-out documents: use more text" in verdict.message


def test_an_empty_training_side_is_told(tmp_path, monkeypatch):
    heldout_where(monkeypatch, lambda numbers: numbers >= 0)
    stats = cut(tmp_path / "job", signed(tmp_path / "d", documents(["only one"])))
    verdict = judged("pretraining_documents", stats)[0]
    assert not verdict.passed
    assert "0 training documents, 1 held-out documents: use more text" in verdict.message
    assert verdict.message.endswith("or a smaller split.heldout_share")


def test_too_few_documents_for_questions_close_the_gate(tmp_path, monkeypatch):
    heldout_where(monkeypatch, lambda numbers: numbers > 0)
    lengths = [30, 16, 17, 17, 18, 30]
    folder = signed(tmp_path / "d", documents("é" * length for length in lengths))
    for choices, passed in ((4, True), (5, False)):
        evaluation = EvaluationSpec(context_characters=10, continuation_characters=5, choices=choices)
        assert evaluation.question_characters == 17
        stats = cut(tmp_path / str(choices), folder, evaluation=evaluation)
        assert (stats["heldout_usable"], stats["heldout_needed"]) == (4, choices)
        verdict = verdicts(stats)["heldout_usable"]
        assert verdict.passed == passed
    assert "4 held-out documents have the 17 characters" in verdict.message
    assert "lower evaluation.context_characters" in verdict.message


def test_what_a_plan_knows_of_the_split_is_not_taken_for_its_documents(tmp_path):
    """Stages behind it ask for the files of its first map, and pick theirs by the folder."""
    folder = signed(tmp_path / "d", documents(texts(20)))
    work = tmp_path / "job"
    inputs = {"documents": artifact(folder)}
    job = Job("stage", "identity", inputs, work, work / "out", Runtime(compute=ComputeSpec(workers=1)))
    made = job.map(split.parts(job.files(), SPEC, MINHASH, EVALUATION), link=False)
    assert [file.path.split("/")[0] for part in made for file in part.files] == ["signatures"]


def test_the_evaluation_changes_no_file(tmp_path):
    folder = signed(tmp_path / "d", documents(texts(50)))
    for name, evaluation in (("a", EVALUATION), ("b", EvaluationSpec())):
        cut(tmp_path / name, folder, evaluation=evaluation)
    assert digests(tmp_path / "a" / "out") == digests(tmp_path / "b" / "out")


def test_a_torn_part_is_named(tmp_path):
    folder = signed(tmp_path / "d", documents(texts(10)))
    path = folder / "parts" / "00000.parquet"
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(PedigreeError, match=r"00000\.parquet: not a whole part"):
        cut(tmp_path / "job", folder)


def test_torn_signatures_are_named(tmp_path):
    folder = signed(tmp_path / "d", documents(texts(10)))
    path = folder / "signatures" / "00000.npy"
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(PedigreeError, match=r"00000\.npy: not a whole signature file"):
        cut(tmp_path / "job", folder)
