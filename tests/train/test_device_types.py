"""What every device type must keep to; and the GPU of Apple silicon, by a stand-in."""

import json
import platform
import re
import subprocess
import sys

import pytest
import torch
from pydantic import ValidationError

from llm_core.contracts.settings import entries_of, torch_after_loading
from llm_core.errors import PedigreeError
from llm_core.experiment.runtime import ComputeSpec
from llm_core.model.build import build_model
from llm_core.registries import DEVICE_TYPES
from llm_core.store.home import PROJECT
from llm_core.train.capabilities import TrainingRun, examine_run
from llm_core.train.device_locks import Device
from llm_core.train.devices.cpu import CPU
from llm_core.train.devices.cuda import CUDA
from llm_core.train.devices.device_type import DeviceType
from llm_core.train.devices.mps import MPS
from llm_core.train.distribution import open_world
from llm_core.train.launching import rank_count
from llm_core.train.matmul_rates import MatmulRates
from llm_core.train.out_of_memory import explain_out_of_memory
from llm_core.train.precision import autocast
from llm_core.train.this_machine import chosen_device_type, device_type, hardware_of, require_devices
from tests.model.shapes import MODELS, named, tokens
from tests.train.metal import MEMORY, NAME, Metal, Operators, runs_on_metal
from tests.train.planted import plant
from tests.train.runs import ALONE, model_spec, records, run, trainer_spec, training_spec, weights

every_type = pytest.mark.parametrize("name", DEVICE_TYPES)


@pytest.fixture
def metal(monkeypatch: pytest.MonkeyPatch) -> Metal:
    return Metal(monkeypatch)


def test_all_load_and_are_counted_without_torch() -> None:
    assert not torch_after_loading(entries_of("DEVICE_TYPES"))


@every_type
def test_it_is_whole_and_documented(name: str) -> None:
    found = device_type(name)
    assert isinstance(found, DeviceType)
    assert type(found).__doc__
    assert found.shared or found.process_group or found.count() <= 1
    assert re.search(rf"^\| `{name}` \|", (PROJECT / "docs" / "training.md").read_text(), re.MULTILINE)
    assert ComputeSpec(device_type=name).device_type == name


@pytest.mark.parametrize("name", ["mps", "cpu"])
def test_what_is_here_describes_itself(name: str, metal: Metal) -> None:
    found = device_type(name)
    assert found.count() == len(found.devices()) == found.machine().devices == 1
    assert found.machine().device_type == name
    assert found.machine().memory > 0
    assert found.devices()[0].lock.name == f"pedigree-device-{name}.lock"
    assert all(isinstance(value, str) for value in found.environment(found.devices()).values())
    device = torch.device(name)
    assert found.name(device)
    assert found.peak_memory(device) > 0
    assert found.open(0, 1) == device


def test_auto_takes_cuda_then_the_cpu_and_mps_only_by_name(metal: Metal, monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(DEVICE_TYPES)[:3] == ["cuda", "mps", "cpu"]
    assert chosen_device_type() is CPU
    assert chosen_device_type("mps") is MPS
    monkeypatch.setattr(CUDA, "count", lambda: 2)
    assert chosen_device_type() is CUDA
    assert chosen_device_type("cpu") is CPU


def test_a_device_that_is_not_here_is_named_with_the_one_that_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CUDA, "count", lambda: 0)
    for wanted in ("mps", "cuda"):
        with pytest.raises(PedigreeError, match=rf"device_type {wanted}: .*write auto, which takes CPU with"):
            require_devices(ComputeSpec(device_type=wanted))
    with pytest.raises(ValidationError, match="unknown device type 'tpu'; known: cpu, cuda, mps"):
        ComputeSpec(device_type="tpu")


def test_the_memory_of_a_cpu_is_that_of_this_process_alone() -> None:
    parents = b"x" * 300_000_000  # Linux counts it into ru_maxrss of processes that this one starts
    code = "from llm_core.train.devices.cpu import CPU; print(CPU.peak_memory(None))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 5_000_000 < int(done.stdout) < len(parents) / 2


def test_a_planned_gpu_is_no_apple_gpu_and_no_cpu() -> None:
    for machine in ({"device": "H100"}, {"target": "h100x8"}):
        assert ComputeSpec(**machine, device_type="cuda").device_type == "cuda"
        with pytest.raises(ValidationError, match=rf"device_type 'mps' and {next(iter(machine))} are two machines"):
            ComputeSpec(**machine, device_type="mps")


def test_apple_gpus_need_apple_silicon_and_macos_14(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MPS.count() == 0
    with monkeypatch.context() as patched:
        Metal(patched, macos=13)
        assert MPS.count() == 0
    Metal(monkeypatch)
    assert MPS.count() == 1
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    assert MPS.count() == 0


def test_what_an_apple_gpu_has_and_has_not(metal: Metal) -> None:
    hardware = hardware_of(ComputeSpec(device_type="mps"))
    assert (hardware.name, hardware.devices, hardware.memory) == (f"1 × {NAME}", 1, MEMORY)
    assert (hardware.flops("bf16"), hardware.fp8, hardware.on_cpu, hardware.on_cuda) == (None, False, False, False)

    def found(precision: str, **compute: object) -> tuple[str, ...]:
        run = TrainingRun("", model_spec(d_model=64, document_mask=True), training_spec(precision=precision))
        findings = examine_run(run, ComputeSpec(**compute), hardware, MatmulRates(fp32=2e12, bf16=2e12))
        return findings.errors + findings.advice

    assert found("bf16") == found("fp32") == ()
    assert found("bf16", attention_backend="eager") == ()
    for backend in ("sdpa", "flex", "varlen"):
        (error,) = found("bf16", attention_backend=backend)
        assert f"{backend} has no device of type mps" in error
        assert error.endswith("write auto, which takes eager here")
    assert "multiplies no 8-bit floats" in found("fp8", compile=True)[0]
    (error,) = found("bf16", compile=True)
    assert error == f"compute.compile: 1 × {NAME} can't run compiled kernels (that needs a CUDA GPU); write false"


def test_it_trains_in_one_process(metal: Metal, monkeypatch: pytest.MonkeyPatch) -> None:
    assert rank_count(ComputeSpec(device_type="mps")) == 1
    with pytest.raises(
        PedigreeError, match=r"ranks is 2, .* 1 GPU: lower compute\.ranks, or set .*device_type to cpu$"
    ):
        rank_count(ComputeSpec(ranks=2, device_type="mps"))
    assert rank_count(ComputeSpec(ranks=2, device_type="cpu")) == 2
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(PedigreeError, match="an Apple GPU trains in one process"), open_world("mps"):
        pass
    monkeypatch.delenv("WORLD_SIZE")
    with open_world("mps") as world:
        assert (world.device, world.device_type, world.sum_dtype) == (torch.device("mps"), MPS, torch.float32)


def test_operators_without_a_kernel_run_on_the_cpu() -> None:
    assert MPS.environment(MPS.devices()) == {"PYTORCH_ENABLE_MPS_FALLBACK": "1"}
    assert CUDA.environment([Device("GPU 1", "a", "1"), Device("GPU 3", "b", "3")]) == {"CUDA_VISIBLE_DEVICES": "1,3"}


@pytest.mark.parametrize("optimizer", [{}, {"kind": "muon", "lr": 0.01}], ids=["adamw", "muon"])
def test_a_run_is_that_of_a_cpu(optimizer: dict, tmp_path, metal: Metal, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bit for bit with the same tensors, although steps are skipped by the host. And it uses no fp64."""
    layers, training = (
        model_spec(document_mask=True),
        {"optimizer": {"lr": 0.01, **optimizer}, "guards": {"loss_floor": None}},
    )
    specs = [
        trainer_spec(tmp_path / name, steps=6, model=layers, training=training, attention_backend=backend)
        for name, backend in (("cpu", "eager"), ("mps", "auto"))
    ]
    for spec in specs:
        with monkeypatch.context() as patched:
            plant(patched, spec, {3: float("nan")})
            if spec is specs[1]:
                metal.train_on_it(patched)
                with Operators() as operators:
                    run(spec)
            else:
                run(spec)
    assert weights(specs[0]) == weights(specs[1])
    for cpu, mps in zip(records(specs[0]), records(specs[1]), strict=True):
        assert cpu["loss"] == mps["loss"]
        assert cpu["skipped"] == mps["skipped"] == (cpu["step"] == 3)
    assert operators.wide == set()
    assert metal.releases == 6
    assert metal.waits == 13, "at the beginning and end of each step, and once for a batch that does not come"
    summary = json.loads((specs[1].work / "summary.json").read_bytes())
    assert (summary["device"], summary["peak_memory_bytes"]) == (NAME, 100), "before the cache was released"
    assert {name for name in operators.seen if not runs_on_metal(name)} == set()
    assert len(operators.seen) > 50


def test_the_table_of_kernels_tells_apart() -> None:
    assert runs_on_metal("mm")
    assert runs_on_metal("_fused_adamw_")
    assert not runs_on_metal("_scaled_dot_product_flash_attention")


@pytest.mark.parametrize("name", MODELS)
def test_every_architecture_has_metal_kernels_for_all_it_does(name: str) -> None:
    built = build_model(named(name, document_mask=True), 64)
    built.attention_backend = "eager"
    x, ids = tokens(2, 16), torch.arange(16).expand(2, -1) // 6
    with Operators() as operators, autocast("bf16", torch.device("cpu")):
        built(x, x, ids).objective.backward()
        with torch.no_grad():
            built.eval()(x, document_ids_BT=ids)
    assert operators.wide == set()
    assert {operator for operator in operators.seen if not runs_on_metal(operator)} == set()


def test_full_memory_is_told_with_what_to_turn_down(tmp_path, metal: Metal, monkeypatch: pytest.MonkeyPatch) -> None:
    metal.train_on_it(monkeypatch)
    spec = trainer_spec(tmp_path)
    message = r"memory is full \(MPS backend out of memory \(MPS allocated: 9 GB\).*of 20\.0 GB at the peak\)"
    with pytest.raises(PedigreeError, match=message), explain_out_of_memory(spec, ALONE):
        raise RuntimeError("MPS backend out of memory (MPS allocated: 9 GB). Tried to allocate 2 GB. Use …")
    last = trainer_spec(tmp_path, micro_batch=1, activation_checkpointing="full")
    with (
        pytest.raises(PedigreeError, match="use a machine with more memory, or a smaller"),
        explain_out_of_memory(last, ALONE),
    ):
        raise RuntimeError("MPS backend out of memory")
    with pytest.raises(RuntimeError, match="another"), explain_out_of_memory(spec, ALONE):
        raise RuntimeError("another")


def test_a_bare_start_refuses_to_compile_there(tmp_path, metal: Metal, monkeypatch: pytest.MonkeyPatch) -> None:
    metal.train_on_it(monkeypatch)
    with pytest.raises(PedigreeError, match=r"compute\.compile: .*write false"):
        run(trainer_spec(tmp_path, compile=True))
