import shutil

import numpy as np
import pytest

from tests.chat.stages import gate
from tests.judged import judged


def failed(results, **bounds):
    checks = judged("instruct_mask_gate", results, **bounds)
    assert all(check.blocking for check in checks)
    return {check.name: check.message for check in checks if not check.passed}


def planted(made, tmp_path, change):
    """The shards with another mask."""
    folder = tmp_path / "shards"
    shutil.copytree(made[1], folder)
    for split in ("train", "heldout"):
        path = folder / split / "targets.npy"
        np.save(path, change(np.load(path)))
    return folder


def test_the_mask_of_the_shards_passes(made, tokenizer):
    conversations, folder, stats = made
    results = gate(folder, stats, conversations, tokenizer)
    assert not failed(results)
    assert results.conversations == stats["train_conversations"] + stats["heldout_conversations"]
    assert results.target_share == pytest.approx(stats["target_share"])
    assert len(results.shown) == 5
    text, targets = zip(*results.shown[0]["pieces"], strict=True)
    assert targets[:2] == (False, True)
    assert text[1].endswith("<|endoftext|>")


@pytest.mark.parametrize(
    ("change", "names"),
    [
        (np.logical_not, {"targets_are_answers"}),  # user turns as targets
        (np.ones_like, {"targets_are_answers", "share_of_targets"}),
        (lambda mask: np.roll(mask, 1), {"targets_are_answers"}),
        (lambda mask: np.roll(mask, -1), {"targets_are_answers"}),
        (np.zeros_like, {"all_have_targets", "targets_are_answers", "share_of_targets"}),
    ],
    ids=["user_turns", "everything", "shifted_right", "shifted_left", "nothing"],
)
def test_a_wrong_mask_is_stopped(made, tokenizer, tmp_path, change, names):
    conversations, _, stats = made
    found = failed(gate(planted(made, tmp_path, change), stats, conversations, tokenizer))
    assert found.keys() == names
    assert "talks/talks.jsonl:" in found["targets_are_answers"]


def test_one_wrong_conversation_is_enough(made, tokenizer, tmp_path):
    conversations, _, stats = made

    def change(mask):
        mask[np.flatnonzero(mask)[-1]] = False  # an answer does not learn to end
        return mask

    results = gate(planted(made, tmp_path, change), stats, conversations, tokenizer)
    assert results.wrong_targets == 2  # one of each split
    assert "do not end with the end of the turn" in failed(results)["targets_are_answers"]


def test_lost_conversations_and_an_unlikely_share_are_told(made, tokenizer):
    conversations, folder, stats = made
    lost = gate(folder, {**stats, "too_long": -1}, conversations, tokenizer)
    assert "none_missing" in failed(lost)
    good = gate(folder, stats, conversations, tokenizer)
    assert failed(good, max_target_share=0.1).keys() == {"share_of_targets"}
    assert failed(good, min_target_share=0.9).keys() == {"share_of_targets"}
