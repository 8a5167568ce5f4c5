import numpy as np
import pytest

from llm_core.data import split
from llm_core.errors import PedigreeError
from llm_core.experiment.data import SplitSpec
from llm_core.experiment.evaluation import ChecksSpec
from tests.data.stages import documents, read, run, write

SPEC = SplitSpec(heldout_share=0.2)


def texts(count):
    return [f"document number {number}" for number in range(count)]


def sides(out):
    return {side: set(read(out / side)["text"]) for side in ("train", "heldout")}


def test_the_split_stays_when_the_corpus_grows(tmp_path):
    small = write(tmp_path / "small", documents(texts(300)))
    large = write(tmp_path / "large", documents(texts(900)[::-1], origin="new"), documents(texts(50), origin="old"))
    stats = run(split.build, tmp_path / "a", {"documents": small}, split=SPEC)
    run(split.build, tmp_path / "b", {"documents": large}, split=SPEC)
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
    stats = run(split.build, tmp_path / "a", {"documents": twice}, split=SPEC)
    run(split.build, tmp_path / "b", {"documents": twice}, split=SplitSpec(heldout_share=0.2, salt="other"))
    assert stats["in_both_splits"] == 0
    assert stats["heldout_documents"] == len(read(tmp_path / "a" / "out" / "heldout"))
    assert sides(tmp_path / "a" / "out") != sides(tmp_path / "b" / "out")


def test_an_overlap_would_be_found(tmp_path, monkeypatch):
    twice = write(tmp_path / "d", documents(["Same text.", "other", "same text", "same  TEXT"]))
    monkeypatch.setattr(split, "_is_heldout", lambda frame, _: np.arange(frame.height) == 0)
    stats = run(split.build, tmp_path / "job", {"documents": twice}, split=SPEC)
    assert stats["in_both_splits"] == 2
    verdicts = {check.name: check for check in split.checks(stats, ChecksSpec())}
    assert not verdicts["no_overlap"].passed


def test_an_empty_side_is_told(tmp_path):
    one = write(tmp_path / "d", documents(["only one"]))
    stats = run(split.build, tmp_path / "job", {"documents": one}, split=SplitSpec(heldout_share=0.001))
    verdict = split.checks(stats, ChecksSpec())[0]
    assert (verdict.name, verdict.passed) == ("not_empty", False)
    assert "0 held out: use more text" in verdict.message


def test_a_torn_part_is_named(tmp_path):
    folder = write(tmp_path / "d", documents(texts(10)))
    path = folder / "parts" / "00000.parquet"
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(PedigreeError, match=r"00000\.parquet: not a whole part"):
        run(split.build, tmp_path / "job", {"documents": folder}, split=SPEC)
    path.unlink()
    with pytest.raises(PedigreeError, match="holds no Parquet parts"):
        run(split.build, tmp_path / "again", {"documents": folder}, split=SPEC)
