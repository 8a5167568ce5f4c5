"""The table of devices, and ``compute.device``: what is planned for, and what contradicts itself."""

from pathlib import Path

import pytest

from assets.graph import experiment_graph
from llm_core.errors import PedigreeError
from llm_core.experiment.devices import DEVICES, DeviceSpec, device_named, is_device, known_device
from llm_core.experiment.load import load_experiment
from llm_core.experiment.runtime import ComputeSpec
from tests.experiment.test_load import MINIMAL

GB = 10**9


def load(folder: Path, compute: str):
    path = folder / "small.yaml"
    path.write_text(f"{MINIMAL}compute: {compute}\n")
    return load_experiment(path)


def test_a_device_by_name_or_described(tmp_path: Path) -> None:
    named = load(tmp_path, "{device: rtx pro-4500, devices: 2}").compute
    assert (named.device, named.devices) == (DEVICES["RTX PRO 4500"], 2)
    described = load(tmp_path, "{device: {name: RTX 3090, memory_gb: 24, tflops_bf16: 71}}").compute
    assert described.device == DeviceSpec(name="RTX 3090", memory_gb=24, tflops_bf16=71)
    assert ComputeSpec.model_validate(described.model_dump()) == described


@pytest.mark.parametrize(
    ("compute", "message"),
    [
        (
            "{device: RTX 9999}",
            r"compute\.device: there is no device 'RTX 9999' in the table: A100 40GB, .*describe any",
        ),
        ("{device: A100}", r"compute\.device: there is no device 'A100' in the table: A100 40GB, A100 80GB"),
        ("{device: {name: X, memory_gb: 24}}", r"compute\.device\.tflops_bf16: Field required"),
        ("{device: {name: X, memory_gb: 0, tflops_bf16: 1}}", r"compute\.device\.memory_gb"),
        ("{device: {name: X, memory: 24, tflops_bf16: 1}}", r"compute\.device\.memory: there is no such key"),
        ("{device: 4090}", r"compute\.device"),
        ("{device: H100, target: h100x8}", r"device 'H100' and target 'h100x8' are two machines"),
        ("{devices: 2}", r"devices 2 goes with device"),
        ("{device: H100, ranks: 2}", r"ranks 2 on devices 1"),
        ("{device: H100, devices: 4, ranks: 8}", r"ranks 8 on devices 4"),
        ("{device: H100, devices: 0}", r"compute\.devices"),
    ],
)
def test_what_cannot_be_planned_is_an_error_with_the_field(tmp_path: Path, compute: str, message: str) -> None:
    with pytest.raises(PedigreeError, match=message):
        load(tmp_path, compute)


def test_the_machine_is_no_part_of_any_identity(tmp_path: Path) -> None:
    def stages(compute: str) -> list:
        return [(stage.name, stage.config, stage.bounds) for stage in experiment_graph(load(tmp_path, compute))]

    assert stages("{device: B200, devices: 3}") == stages("{}")


@pytest.mark.parametrize(
    ("name", "memory", "known"),
    [
        ("NVIDIA H100 80GB HBM3", 85 * GB, "H100"),
        ("NVIDIA H200 NVL", 150 * GB, "H200 NVL"),
        ("NVIDIA A100-SXM4-40GB", 42 * GB, "A100 40GB"),
        ("NVIDIA A100-SXM4-80GB", 85 * GB, "A100 80GB"),
        ("NVIDIA GeForce RTX 4090", 25 * GB, "RTX 4090"),
        ("NVIDIA RTX PRO 4500 Blackwell", 34 * GB, "RTX PRO 4500"),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", 17 * GB, None),
        ("NVIDIA GeForce RTX 5090 D", 34 * GB, None),
        ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", 5 * GB, None),
        ("NVIDIA GB200", 190 * GB, None),
        ("Tesla T4", 16 * GB, None),
    ],
)
def test_what_cuda_calls_a_device(name: str, memory: int, known: str | None) -> None:
    found = known_device(name, memory)
    assert (found and found.name) == known
    assert [device for device in DEVICES if is_device(device_named(device), name, memory)] == ([known] if known else [])


def test_a_described_device_is_found_by_its_name() -> None:
    mine = DeviceSpec(name="rtx 3090", memory_gb=24, tflops_bf16=71)
    assert is_device(mine, "NVIDIA GeForce RTX 3090", 25 * GB)
    assert not is_device(mine, "NVIDIA GeForce RTX 4090", 25 * GB)
    renamed = DeviceSpec(name="NVIDIA GeForce RTX 4090", memory_gb=24, tflops_bf16=165)
    assert is_device(renamed, "NVIDIA GeForce RTX 4090", 25 * GB)
