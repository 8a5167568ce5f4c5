"""What every launcher must keep to, and one that somebody else writes."""

import re

import pytest
from pydantic import ValidationError

from llm_core.contracts.settings import entries_of, torch_after_loading, unexplained
from llm_core.errors import PedigreeError
from llm_core.experiment.launchers import LauncherSpec
from llm_core.experiment.load import load_experiment
from llm_core.experiment.runtime import ComputeSpec
from llm_core.registries import LAUNCHERS
from llm_core.store.home import PROJECT
from llm_core.train.launching import rank_count
from llm_core.train.this_machine import hardware_of
from llm_core.train.training_run import build
from tests.experiment.test_load import MINIMAL
from tests.train.test_training_run import job_in, sections

every_kind = pytest.mark.parametrize("kind", LAUNCHERS)


def test_all_load_without_torch():
    assert not torch_after_loading(entries_of("LAUNCHERS"))


@every_kind
def test_it_is_whole_and_documented(kind):
    component = LAUNCHERS.load(kind)
    assert issubclass(component, LauncherSpec)
    assert component.model_fields["kind"].default == kind
    assert not unexplained(component)
    assert re.search(rf"^\| `{kind}` \|", (PROJECT / "docs" / "gpu.md").read_text(), re.MULTILINE)


@every_kind
def test_it_comes_back_from_json_and_a_setting_that_it_does_not_have_is_named(kind, tmp_path):
    (tmp_path / "it.yaml").write_text(f"{MINIMAL}compute: {{target: {kind}}}\n")
    compute = load_experiment(tmp_path / "it.yaml").compute
    assert compute.target == LAUNCHERS.load(kind)()
    assert ComputeSpec.model_validate_json(compute.model_dump_json()) == compute
    assert compute.changed({"micro_batch": 3}).target == compute.target
    with pytest.raises(ValidationError, match=f"{kind}: nonsense: there is no such key"):
        ComputeSpec(target={"kind": kind, "nonsense": 1})


def test_an_unknown_one_is_told_with_the_known_ones(tmp_path):
    (tmp_path / "it.yaml").write_text(f"{MINIMAL}compute: {{target: slurm}}\n")
    with pytest.raises(
        PedigreeError, match=r"it\.yaml: compute\.target: unknown launcher 'slurm'; known: h100x8, .*local"
    ):
        load_experiment(tmp_path / "it.yaml")


PLUGIN = """
import json
from typing import ClassVar, Literal

from llm_core.errors import PedigreeError
from llm_core.experiment.devices import DEVICES
from llm_core.experiment.launchers import LauncherSpec

LAUNCHERS = {"queue": "queue_launcher:Queue"}


class Queue(LauncherSpec):
    \"\"\"A queue of other machines.\"\"\"

    kind: Literal["queue"] = "queue"
    here: ClassVar = False
    partition: str
    \"\"\"The queue's name.\"\"\"

    def machine(self):
        return DEVICES["A100 80GB"], 2

    def check(self, compute, gpus):
        if self.partition == "closed":
            raise PedigreeError("compute.target: the partition closed takes no jobs")

    def launch(self, spec, ranks, runtime):
        from llm_core.train.main import main

        path = spec.work / "spec.json"
        spec.write(path)
        (spec.work / "submitted.json").write_text(json.dumps([self.partition, ranks]))
        assert main([str(path)]) == 0
"""


def test_one_of_a_plugin_plans_for_its_machine_refuses_and_trains(tmp_path, plugin_folder):
    (plugin_folder / "queue_launcher.py").write_text(PLUGIN)
    text = f"{MINIMAL}plugins: [queue_launcher]\ncompute: {{target: {{kind: queue, partition: long}}, ranks: 4}}\n"
    (tmp_path / "it.yaml").write_text(text)
    compute = load_experiment(tmp_path / "it.yaml").compute
    assert rank_count(compute) == 4  # though there is no GPU here
    assert rank_count(compute.changed({"ranks": None})) == 2
    assert hardware_of(compute).name == "2 × A100 80GB (80 GB)"
    with pytest.raises(ValidationError, match="device 'H100' and target 'queue' are two machines"):
        compute.changed({"device": "H100"})
    job = job_in(tmp_path, compute=compute.changed({"ranks": 1}))
    assert build(job, **sections(4)).steps == 4
    assert (job.work / "submitted.json").read_text() == '["long", 1]'
    with pytest.raises(PedigreeError, match="the partition closed takes no jobs"):
        build(
            job_in(tmp_path, compute=compute.changed({"target": {"kind": "queue", "partition": "closed"}})),
            **sections(4),
        )
