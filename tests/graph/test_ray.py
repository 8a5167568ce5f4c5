"""The map over parts on a Ray cluster of two nodes, both on this machine."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
from ray.cluster_utils import Cluster

from llm_core.errors import PedigreeError
from llm_core.experiment.runtime import ComputeSpec
from llm_core.graph.job import Job, Runtime
from llm_core.store.home import PROJECT
from tests.graph.part_functions import shouting
from tests.graph.test_parts import texts, written


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": 80 << 20})
    cluster.add_node(num_cpus=1, object_store_memory=80 << 20)
    try:
        yield cluster.address
    finally:
        ray.shutdown()
        cluster.shutdown()


def test_two_nodes_make_the_same_parts_as_this_process(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(PROJECT))
    source = texts(tmp_path / "source", **{f"t{number}": f"text {number}" for number in range(12)})
    jobs = {}
    for name, compute in {"here": ComputeSpec(workers=1), "ray": ComputeSpec(map="ray", ray_address=address)}.items():
        out = tmp_path / name / "out"
        out.mkdir(parents=True)
        jobs[name] = Job("stage", "i", {}, tmp_path / name, out, Runtime(compute=compute))
        jobs[name].map(shouting(source))
    assert len([node for node in ray.nodes() if node["Alive"]]) == 2
    assert written(jobs["ray"]) == written(jobs["here"])
    assert jobs["ray"].part_counts == {"found": 0, "made": 12}

    texts(source, t3="raise")
    with pytest.raises(PedigreeError, match="t3: asked to fail"):
        jobs["ray"].map(shouting(source), link=False)

    texts(source, t3="die")
    with pytest.raises(PedigreeError, match=r"Ray lost a part \(WorkerCrashedError.*lower\s+raw.documents_per_part"):
        jobs["ray"].map(shouting(source), link=False)


def test_a_cluster_that_does_not_answer_is_an_error_at_once(tmp_path: Path) -> None:
    if ray.is_initialized():
        ray.shutdown()
    source = texts(tmp_path / "source", a="one")
    out = tmp_path / "out"
    out.mkdir()
    compute = ComputeSpec(map="ray", ray_address="127.0.0.1:1")
    with pytest.raises(PedigreeError, match=r"ray_address 127\.0\.0\.1:1: nothing answers there"):
        Job("stage", "i", {}, tmp_path, out, Runtime(compute=compute)).map(shouting(source))
