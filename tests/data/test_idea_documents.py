"""No form of the launched held-out text is in the training text of an idea."""

import numpy as np
import polars as pl
import pytest

from llm_core.data import idea_documents, split
from llm_core.data.dedup.signatures import sign, write_signatures
from llm_core.experiment.dedup import MinHashSpec, SplitSpec
from llm_core.experiment.evaluation import EvaluationSpec
from tests.data.stages import digests, documents, read, run, write
from tests.data.test_unique import prose

SPLIT = SplitSpec(heldout_share=0.3)
MINHASH = MinHashSpec()
EVALUATION = EvaluationSpec(context_characters=10, continuation_characters=5)


def signed(folder, frame, minhash=MINHASH):
    write(folder, frame)
    write_signatures(folder / "signatures" / "00000.npy", sign(frame, minhash))
    return folder


def texts(count):
    return [prose(seed) for seed in range(count)]


def cut_down(text):
    """What a stricter rule leaves of a document: too little to be a near duplicate of it."""
    return text[: len(text) // 3]


def side(folder, name):
    return read(folder / name)


def made(tmp_path, frame, minhash=MINHASH):
    """The launched split of 60 documents, and that of an idea with ``frame``."""
    launched = signed(tmp_path / "launched", documents(texts(60)))
    run(split.build, tmp_path / "a", {"documents": launched}, split=SPLIT, minhash=MINHASH, evaluation=EVALUATION)
    idea = signed(tmp_path / "idea", frame, minhash)
    inputs = {"documents": idea, "launched": tmp_path / "a" / "out"}
    stats = run(idea_documents.build, tmp_path / "b", inputs, split=SPLIT, minhash=minhash)
    return stats, tmp_path / "a" / "out", tmp_path / "b" / "out"


@pytest.mark.parametrize("minhash", [MINHASH, MinHashSpec(shingle_words=3, bands=10)])
def test_held_out_documents_are_not_trained_on_in_any_form(tmp_path, minhash):
    plain = documents(texts(60))
    changed = plain.with_columns(text=pl.Series([cut_down(text) for text in plain["text"]]))
    # Near duplicates under other names, as an idea without deduplication keeps them.
    near = documents([f"{text} And one more sentence." for text in plain["text"]], origin="copies.jsonl")
    stats, launched, out = made(tmp_path, pl.concat([changed, near]), minhash)
    heldout = side(launched, "heldout")
    held_ids, train = set(heldout["doc_id"]), side(out, "train")
    # The hash of the text alone would let them in.
    keys = sign(changed.filter(pl.col("doc_id").is_in(held_ids)), minhash)["key"]
    assert not split.is_heldout(keys, SPLIT).all()
    assert not held_ids & set(train["doc_id"])
    assert not any(cut_down(text) in mine for text in heldout["text"] for mine in train["text"])
    assert stats["leaked"] == 0
    assert idea_documents.no_leakage(idea_documents.IdeaDocuments(**stats), None).passed
    assert stats["dropped_by_rule"]["heldout_document"] > 0
    assert stats["dropped_by_rule"]["near_heldout"] > 0
    assert stats["documents"] + stats["dropped"] == 120 == stats["documents_in"]
    assert stats["documents"] == train.height > 40


def test_the_held_out_text_is_the_launched_one_byte_for_byte(tmp_path):
    changed = documents([text.upper() for text in texts(60)])
    _, launched, out = made(tmp_path, changed)
    assert digests(out / "heldout") == digests(launched / "heldout")


def test_an_idea_that_changes_no_text_trains_on_the_launched_text(tmp_path):
    _, launched, out = made(tmp_path, documents(texts(60)))
    assert side(out, "train").equals(side(launched, "train"))


def test_leakage_is_counted_from_the_written_files(tmp_path, monkeypatch):
    monkeypatch.setattr(idea_documents._Leaks, "rules", lambda _, rows, split: np.zeros(len(rows), np.uint8))
    stats, launched, _ = made(tmp_path, documents(texts(60)))
    assert stats["leaked"] == side(launched, "heldout").height
    verdict = idea_documents.no_leakage(idea_documents.IdeaDocuments(**stats), None)
    assert not verdict.passed
