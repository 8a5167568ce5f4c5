"""What a device does badly or not at all: told before any work, with both rates and what to write."""

import pytest
import torch

from llm_core.errors import PedigreeError
from llm_core.experiment.devices import DeviceSpec
from llm_core.experiment.runtime import ComputeSpec
from llm_core.model.feed_forwards.moe.spec import MixtureOfExperts
from llm_core.train import capabilities as module
from llm_core.train.capabilities import Findings, TrainingRun, check_stage, examine, examine_run, rates_of
from llm_core.train.devices.cuda import CUDA
from llm_core.train.hardware import Hardware
from llm_core.train.matmul_rates import MatmulRates
from llm_core.train.this_machine import hardware_of, require_devices, this_machine
from tests.train.runs import model_spec, training_spec

H100X8 = hardware_of(ComputeSpec(target="h100x8"))
CPU = Hardware("CPU with 2 cores", 1, 10**12, None, device_type="cpu")
AVX2 = MatmulRates(fp32=41e9, bf16=0.42e9)
TURING, PASCAL = (Hardware("1 × Tesla", 1, 10**11, None, capability=capability) for capability in ((7, 5), (6, 1)))
AMPERE = Hardware("1 × A40", 1, 10**11, 150e12, 37e12, capability=(8, 6))


@pytest.fixture(autouse=True)
def _no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CUDA, "count", lambda: 0)


def found(hardware: Hardware, rates: MatmulRates | None = None, model=None, place="", **fields) -> Findings:
    compute = ComputeSpec(**{name: fields.pop(name) for name in list(fields) if name in ComputeSpec.model_fields})
    return examine_run(
        TrainingRun(place, model or model_spec(d_model=64), training_spec(**fields)), compute, hardware, rates
    )


def test_the_slower_precision_of_a_cpu_is_told_with_both_rates() -> None:
    (line,) = found(CPU, AVX2, precision="bf16", place="study.").advice
    assert line == (
        "study.training.precision bf16 is slow on CPU with 2 cores: its products run at 0.4 GFLOP/s in bf16, and at "
        "41 GFLOP/s in fp32 on one core; write precision: fp32"
    )
    assert found(CPU, AVX2, precision="fp32") == Findings()
    (line,) = found(CPU, MatmulRates(fp32=100e9, bf16=350e9), precision="fp32").advice
    assert line.endswith("write precision: bf16")
    assert found(CPU, MatmulRates(fp32=100e9, bf16=190e9), precision="fp32") == Findings()
    assert found(CPU, precision="bf16") == Findings()


def test_a_gpu_is_known_by_its_data_sheet() -> None:
    rates = rates_of(H100X8, here=False)
    (line,) = found(H100X8, rates, precision="fp32").advice
    assert "67 TFLOP/s in fp32, and at 989 TFLOP/s in bf16 a device; write precision: bf16" in line
    assert found(H100X8, rates, precision="bf16") == found(H100X8, rates, precision="fp8") == Findings()


def test_gpus_before_ampere_have_no_bf16() -> None:
    (line,) = found(TURING, precision="bf16").advice
    assert "no units for bf16 (compute capability 7.5; 8.0 is needed)" in line
    assert found(TURING, precision="fp32") == found(AMPERE, precision="bf16") == Findings()
    (line,) = found(TURING, MatmulRates(fp32=8e12, bf16=1e12), precision="bf16").advice
    assert "1.0 TFLOP/s in bf16, and at 8.0 TFLOP/s in fp32" in line


def test_fp8_that_is_not_there_is_an_error() -> None:
    for hardware in (CPU, TURING, AMPERE):
        findings = found(hardware, precision="fp8", place="long_context.")
        (error,) = findings.errors
        assert error.startswith("long_context.training.precision fp8: ")
        with pytest.raises(PedigreeError, match="multiplies no 8-bit floats"):
            findings.check()
    odd = found(H100X8, model=model_spec(d_model=40, feed_forward={"d_ff": 72}), precision="fp8")
    assert "none of the" in odd.errors[0]


def test_fp8_without_its_extra_is_an_error_on_the_machine_that_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "this_machine", lambda _: H100X8)
    monkeypatch.setattr(module, "is_installed", lambda package: package != "torchao")
    run = TrainingRun("study.", model_spec(d_model=64), training_spec(precision="fp8"))
    (error,) = examine([run], ComputeSpec(), here=True).errors
    assert error.startswith("study.training.precision fp8 needs torchao, which is not installed: run `pip install")
    assert "'.[fp8]'" in error
    monkeypatch.setattr(module, "is_installed", lambda _: True)
    assert examine([run], ComputeSpec(), here=True).errors == ()


def test_backends_and_compilers_that_are_not_there_are_errors() -> None:
    masked = model_spec(d_model=64, document_mask=True)
    assert found(TURING, model=masked).errors == ()
    (error,) = found(PASCAL, model=masked).errors
    assert error.startswith("compute.attention_backend auto: 1 × Tesla can't run flex")
    (error,) = found(PASCAL, compile=True).errors
    assert error.startswith("compute.compile: ")
    (error,) = found(TURING, precision="bf16", attention_backend="varlen").errors
    assert "no FlashAttention (compute capability 7.5; 8.0 is needed)" in error
    assert found(AMPERE, precision="bf16", attention_backend="varlen").errors == ()
    (error,) = found(CPU, attention_backend="flex").errors
    assert "flex has no device of type cpu; write auto" in error


def test_every_width_of_experts_that_does_not_fit_is_named() -> None:
    model = model_spec(
        d_model=36,
        mixer={"n_heads": 2, "n_kv_heads": 1},
        feed_forward=MixtureOfExperts(experts=2, top_k=1, d_ff=20),
        pattern=({}, {"feed_forward": {"d_ff": 28}}),
    )
    errors = found(AMPERE, model=model, precision="bf16").errors
    assert [error.split(": products")[0] for error in errors] == [
        "model: feed_forward.d_ff 20",
        "model: d_model 36",
        "model: feed_forward.d_ff 28",
    ]
    assert found(CPU, model=model, precision="bf16").errors == ()


def test_what_runs_have_in_common_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "measured_rates", lambda *_: AVX2)
    runs = [TrainingRun(place, model_spec(), training_spec(precision="bf16")) for place in ("", "study.", "study.")]
    assert len(examine(runs, ComputeSpec(), here=True).advice) == 2


def test_what_cannot_be_measured_is_told_and_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: str) -> MatmulRates:
        raise PedigreeError("the speed of products could not be measured: no disk")

    monkeypatch.setattr(module, "measured_rates", failing)
    (line,) = examine([TrainingRun("", model_spec(), training_spec())], ComputeSpec(), here=True).advice
    assert "could not be measured: no disk" in line


def test_a_stage_that_trains_asks_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "measured_rates", lambda *_: AVX2)
    lines: list[str] = []
    run = TrainingRun("rate_runs/a: ", model_spec(), training_spec(precision="bf16"))
    check_stage(run, ComputeSpec(), lines.append)
    assert lines[0].startswith("rate_runs/a: training.precision bf16 is slow on CPU")
    with pytest.raises(PedigreeError, match="planned for 1 × Card, and this machine is CPU"):
        check_stage(run, ComputeSpec(device=DeviceSpec(name="Card", memory_gb=1, tflops_bf16=1)), lines.append)


def test_a_planned_device_must_be_here(monkeypatch: pytest.MonkeyPatch) -> None:
    class Found:
        name, major, minor, total_memory = "NVIDIA GeForce RTX 4090", 8, 9, 25 * 10**9

    monkeypatch.setattr(CUDA, "count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: Found)
    require_devices(ComputeSpec(device="RTX 4090", devices=2))
    for compute in (ComputeSpec(device="RTX 4090", devices=3), ComputeSpec(device="H100")):
        with pytest.raises(PedigreeError, match=r"compute\.device: .* this machine is 2 × NVIDIA GeForce RTX 4090"):
            require_devices(compute)
    assert this_machine().fp32_flops == 82.6e12
