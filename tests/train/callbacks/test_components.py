"""The contract of every callback, and a callback from outside."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Literal

import pytest
from pydantic import ValidationError

from llm_core.contracts.settings import entries_of, torch_after_loading, unexplained
from llm_core.errors import PedigreeError
from llm_core.experiment.callbacks import CallbackSpec, Phase, all_outputs
from llm_core.experiment.load import load_experiment
from llm_core.experiment.runtime import TrackingSpec
from llm_core.registries import CALLBACKS
from llm_core.store.home import PROJECT
from llm_core.train.callbacks.base import EVENTS, Callback
from llm_core.train.callbacks.build import build_callbacks
from llm_core.train.main import _recording_failure
from llm_core.train.spec import FAILURE, TrainerSpec
from llm_core.train.work_folder import recorded_outputs
from tests.experiment.test_load import MINIMAL
from tests.registered import built_in
from tests.train.runs import records, run, trainer_spec, weights
from tests.train.test_loop import StopAfter

PAGE = (PROJECT / "docs" / "callbacks.md").read_text()
CHOICES = [kind for kind in CALLBACKS if not CALLBACKS.load(kind).switch]

every_kind = pytest.mark.parametrize("kind", CALLBACKS)


def test_all_load_without_torch():
    assert not torch_after_loading(entries_of("CALLBACKS"))


@every_kind
def test_it_is_whole_and_documented(kind):
    component = CALLBACKS.load(kind)
    assert issubclass(component, CallbackSpec)
    assert component.model_fields["kind"].default == kind
    assert not unexplained(component)
    rows = [
        [cell.strip() for cell in line.split("|")] for line in PAGE.splitlines() if line.startswith(f"| `{kind}` |")
    ]
    ((_, _, phase, _, outputs, _, _),) = rows
    assert Phase[phase.upper().replace(" ", "_")] == component.phase
    assert re.findall("`(.*?)`", outputs) == list(component.outputs)
    assert isinstance(component().build(), Callback)


@every_kind
def test_it_comes_back_from_json_and_a_setting_that_it_does_not_have_is_named(kind):
    component = CALLBACKS.load(kind)
    assert component.model_validate_json(component().model_dump_json()) == component()
    with pytest.raises(ValidationError, match="nonsense"):
        component.model_validate({"nonsense": 1})


@every_kind
def test_an_experiment_names_those_that_it_may_choose(kind, tmp_path):
    (tmp_path / "it.yaml").write_text(f"{MINIMAL}tracking: {{callbacks: {{{kind}: {{}}}}}}\n")
    if kind in CHOICES:
        tracking = load_experiment(tmp_path / "it.yaml").tracking
        assert tracking.callbacks == {kind: CALLBACKS.load(kind)()}
        assert TrackingSpec.model_validate_json(tracking.model_dump_json()) == tracking
        assert TrackingSpec.model_validate(tracking.model_dump()) == tracking
        return
    with pytest.raises(
        PedigreeError, match=rf"tracking\.callbacks: {kind}: (every run has it|t\w+\.\S+ turns it on); remove it"
    ):
        load_experiment(tmp_path / "it.yaml")


@pytest.mark.parametrize(
    ("callbacks", "told"),
    [
        ("{sample: {}}", r"unknown callback 'sample'; known: bad_batches, .*, samples"),
        ("{samples: {evry: 1}}", r"samples: evry: there is no such key; look for a typo"),
        ("{samples: {every: 0}}", r"samples: every: .*greater than or equal to 1 \(it is 0\)"),
        ("{samples: 3}", r"samples: give its settings as a mapping; \{\} for the defaults"),
        ("[samples]", r"give a mapping from callbacks to their settings"),
    ],
)
def test_what_is_wrong_with_callbacks_is_told_with_their_place(tmp_path, callbacks, told):
    (tmp_path / "it.yaml").write_text(f"{MINIMAL}tracking: {{callbacks: {callbacks}}}\n")
    with pytest.raises(PedigreeError, match=rf"it\.yaml: tracking\.callbacks: {told}"):
        load_experiment(tmp_path / "it.yaml")


def test_what_extends_adds_and_takes_away(tmp_path):
    (tmp_path / "below.yaml").write_text(MINIMAL + "tracking: {callbacks: {samples: {every: 7}, profile: {}}}\n")
    (tmp_path / "it.yaml").write_text(
        "extends: below\ntracking: {callbacks: {samples: {documents: 2}, profile: null}}\n"
    )
    (samples,) = load_experiment(tmp_path / "it.yaml").tracking.callbacks.values()
    assert (samples.kind, samples.every, samples.documents) == ("samples", 7, 2)


def test_the_order_is_that_of_the_phases_whatever_the_experiments(tmp_path):
    choices = {kind: {} for kind in reversed(CHOICES)}
    names = [
        callback.name for callback in build_callbacks(trainer_spec(tmp_path, tracking=TrackingSpec(callbacks=choices)))
    ]
    assert names == built_in(CALLBACKS)
    assert [CALLBACKS.load(name).phase for name in names] == sorted(CALLBACKS.load(name).phase for name in names)


def test_what_they_leave_is_a_file_or_lies_in_a_folder_of_one_name():
    """So a work folder knows which files of others to rename."""
    assert all(re.fullmatch(r"[a-z_.]+(/\*)?", pattern) for pattern in all_outputs())


def test_weights_are_the_same_with_all_of_them(tmp_path):
    plain = trainer_spec(tmp_path, 6, work=tmp_path / "plain")
    every = {"samples": {"every": 2, "prompt_tokens": 4, "new_tokens": 2}, "profile": {"from_step": 2}}
    assert set(every) == set(CHOICES)
    watched = trainer_spec(tmp_path, 6, work=tmp_path / "watched", tracking=TrackingSpec(callbacks=every))
    run(plain)
    run(watched)
    assert weights(watched) == weights(plain)


# --- one from outside ------------------------------------------------------------------------------------------------


class Broken(CallbackSpec):
    """Raises at one event."""

    kind: Literal["broken"] = "broken"
    event: str
    """The event."""

    def build(self) -> Callback:
        def broken(*_, **__):
            raise KeyError("seven")

        callback = Callback()
        setattr(callback, self.event, broken)
        return callback


def broken(tmp_path, monkeypatch, event) -> TrainerSpec:
    monkeypatch.setitem(CALLBACKS._targets, "broken", "tests.train.callbacks.test_components:Broken")
    return trainer_spec(tmp_path, 4, tracking=TrackingSpec(callbacks={"broken": {"event": event}}))


@pytest.mark.parametrize("event", [*EVENTS, "state_dict"])
def test_one_that_raises_is_named_in_the_last_words(tmp_path, monkeypatch, event):
    spec = broken(tmp_path, monkeypatch, event)
    with pytest.raises(KeyError), _recording_failure(spec):
        run(spec)
    told = (spec.work / FAILURE).read_text()
    assert re.fullmatch(
        r"the trainer failed in the callback broken \(.*test_components\.py, line \d+\): KeyError.*", told
    )


def test_one_whose_state_is_no_json_is_named(tmp_path, monkeypatch):
    spec = broken(tmp_path, monkeypatch, "on_end")
    callback = Callback()
    monkeypatch.setattr(callback, "state_dict", lambda: {"set": {1}})
    monkeypatch.setattr(Broken, "build", lambda _: callback)
    with pytest.raises(TypeError) as caught:
        run(spec)
    assert caught.value.__notes__ == ["in the callback broken"]


def test_one_that_would_replace_a_metric_of_training_ends_the_run(tmp_path, monkeypatch):
    spec = broken(tmp_path, monkeypatch, "on_end")
    callback = Callback()
    monkeypatch.setattr(callback, "after_step", lambda run: {"loss": run.model.embedding.weight.sum()})
    monkeypatch.setattr(Broken, "build", lambda _: callback)
    with pytest.raises(ValueError, match="a step already has the metric loss: choose another name"):
        run(spec)


def resume_elsewhere(spec: TrainerSpec, folder: Path) -> None:
    """Resume in a process that knows the plug-in only from the specification."""
    path = folder / "spec.json"
    spec.write(path)
    environment = {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{PROJECT}"}
    done = subprocess.run(
        [sys.executable, "-m", "llm_core.train", str(path)], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_the_one_of_the_page_works_as_it_stands_there(tmp_path, plugin_folder):
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    (plugin_folder / "gradient_histogram.py").write_text(code)
    *_, chosen = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "it.yaml").write_text(MINIMAL + chosen.replace("every: 50", "every: 2"))
    tracking = load_experiment(tmp_path / "it.yaml").tracking
    assert tracking.plugins == ("gradient_histogram",)
    assert not unexplained(CALLBACKS.load("gradient_histogram"))
    spec = trainer_spec(tmp_path, 6, tracking=tracking, plugins=tracking.plugins)
    run(spec, StopAfter(4))
    resume_elsewhere(spec, plugin_folder)
    path = spec.work / "gradient_histogram.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4, 6]
    assert all(sum(line["counts"]) > 1000 for line in lines)
    assert path in recorded_outputs(spec.work)
    plain = trainer_spec(tmp_path, 6, work=tmp_path / "plain")
    run(plain)
    assert [line["loss"] for line in records(plain)] == [line["loss"] for line in records(spec)]
