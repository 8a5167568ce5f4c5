import json

from llm_core.experiment.runtime import TrackingSpec
from tests.train.runs import run, trainer_spec


def test_a_trace_of_the_steps_is_written(tmp_path):
    spec = trainer_spec(tmp_path, 5, tracking=TrackingSpec(callbacks={"profile": {"from_step": 2, "steps": 2}}))
    run(spec)
    (path,) = (spec.work / "profile").iterdir()
    assert path.name == "steps_2_to_3.json"
    names = {event.get("name") for event in json.loads(path.read_text())["traceEvents"]}
    assert "aten::mm" in names


def test_a_run_that_ends_earlier_leaves_what_there_was(tmp_path):
    spec = trainer_spec(tmp_path, 3, tracking=TrackingSpec(callbacks={"profile": {"from_step": 3, "steps": 9}}))
    run(spec)
    assert [path.name for path in (spec.work / "profile").iterdir()] == ["steps_3_to_3.json"]
