"""The section ``compute``: what contradicts itself, and what is written otherwise than it once was."""

from pathlib import Path

import pytest

from llm_core.errors import PedigreeError
from llm_core.experiment.load import load_experiment
from tests.experiment.test_load import MINIMAL


def load(folder: Path, compute: str):
    path = folder / "small.yaml"
    path.write_text(f"{MINIMAL}compute: {compute}\n")
    return load_experiment(path).compute


def test_what_can_be_chosen(tmp_path: Path) -> None:
    text = "{activation_checkpointing: every_nth, activation_checkpointing_every: 3, parallel: fsdp2, "
    text += "reshard_after_forward: never, checkpoint_every: 50, keep: {last: 1, best: 2, every: 100}}"
    compute = load(tmp_path, text)
    assert (compute.activation_checkpointing, compute.activation_checkpointing_every) == ("every_nth", 3)
    assert (compute.keep.last, compute.keep.best, compute.keep.every) == (1, 2, 100)


def test_off_is_what_yaml_makes_of_it(tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    path.write_text(f"{MINIMAL}tracking: {{wandb: off}}\n")
    assert load_experiment(path).tracking.wandb == "off"
    path.write_text(f"{MINIMAL}tracking: {{wandb: on}}\n")
    with pytest.raises(PedigreeError, match=r"tracking\.wandb: .*'offline' or 'online' \(it is True\)"):
        load_experiment(path)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            "{activation_checkpointing: true}",
            "activation_checkpointing: .*true is no longer a value here: write 'full'",
        ),
        (
            "{activation_checkpointing: false}",
            "activation_checkpointing: .*false is no longer a value here: write 'none'",
        ),
        ("{activation_checkpointing: every_nth}", "'every_nth' needs activation_checkpointing_every"),
        ("{activation_checkpointing_every: 2}", "and nothing else takes it"),
        ("{reshard_after_forward: always}", "goes with parallel 'fsdp2' only"),
        ("{keep: {every: 150}}", "keep.every 150 is no multiple of checkpoint_every 100"),
        ("{checkpoint_every: 75, keep: {best: 1}}", "checkpoint_every 75 a multiple of training.validate_every 50"),
        ("{keep: {last: 0}}", "keep.last"),
        ("{keep_checkpoints: 3}", "keep_checkpoints"),
        ("{attention_backend: fast}", "attention_backend"),
    ],
)
def test_what_can_not(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(PedigreeError, match=reason):
        load(tmp_path, text)
