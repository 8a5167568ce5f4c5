"""What a device can't do in a run, or does slowly: looked up or measured before any work.

``plan``, ``preflight``, ``run`` and the stages that train use this. A run that can't work is an error. A precision that
is less than half as fast as another one gives advice, with both rates and what to write.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from llm_core.errors import PedigreeError
from llm_core.experiment.model import ModelSpec
from llm_core.experiment.runtime import ComputeSpec
from llm_core.experiment.training import TrainingSpec
from llm_core.extras import is_installed, missing
from llm_core.model.backends import choose_backend
from llm_core.train.hardware import BF16_CAPABILITY, TRITON_CAPABILITY, Capability, Hardware
from llm_core.train.matmul_rates import MatmulRates, measured_rates
from llm_core.train.this_machine import hardware_of, require_devices, this_machine

WORTH_SAYING = 2.0
"""Advice names another precision if it is faster by more than this factor."""


@dataclass(frozen=True)
class TrainingRun:
    """A planned run. ``place`` comes before the names of its sections in messages, for example ``study.``."""

    place: str
    model: ModelSpec
    training: TrainingSpec


@dataclass(frozen=True)
class Findings:
    """Messages: ``errors`` about what can't run, ``advice`` about what would run slowly."""

    errors: tuple[str, ...] = ()
    advice: tuple[str, ...] = ()

    def check(self) -> None:
        """``PedigreeError`` when there are errors."""
        if self.errors:
            raise PedigreeError("\n".join(self.errors))


def examine(runs: Sequence[TrainingRun], compute: ComputeSpec, *, here: bool) -> Findings:
    """What a machine can't do in ``runs``, or does slowly. It is this machine (``here``), or the one that ``compute``
    plans for.

    A message that several runs share comes once. Measures a CPU, and a GPU that is not in the table, unless the store
    remembers its rates.
    """
    hardware = this_machine(compute.device_type) if here else hardware_of(compute)
    rates, advice = None, []
    try:
        rates = rates_of(hardware, here=here or compute.planned_here)
    except PedigreeError as error:
        advice = [f"{hardware.name}: {error}"]
    found = [examine_run(run, compute, hardware, rates) for run in runs]
    if here and not is_installed("torchao"):
        needing = [run.place for run in runs if run.training.precision == "fp8" and hardware.fp8]
        found += [Findings((str(missing(f"{place}training.precision fp8", "torchao", "fp8")),)) for place in needing]
    return Findings(
        tuple(dict.fromkeys(error for one in found for error in one.errors)),
        tuple(dict.fromkeys([*advice, *(line for one in found for line in one.advice)])),
    )


def check_stage(run: TrainingRun, compute: ComputeSpec, log: Callable[[str], None]) -> None:
    """Check a run before its trainer is launched. ``PedigreeError`` for what its machine can't do; logs the advice."""
    require_devices(compute)
    findings = examine([run], compute, here=compute.target.here)
    findings.check()
    for line in findings.advice:
        log(line)


def rates_of(hardware: Hardware, *, here: bool) -> MatmulRates | None:
    """The rates of a device of ``hardware``: from its data sheet, or measured if it is ``here``.

    None for a planned device without a full data sheet. ``PedigreeError`` when the measurement fails.
    """
    if hardware.fp32_flops is not None and hardware.peak_flops is not None:
        return MatmulRates(fp32=hardware.fp32_flops, bf16=hardware.peak_flops)
    if not here:
        return None
    return measured_rates(hardware.device_type, hardware.name)


def backend_for(model: ModelSpec, precision: str, compute: ComputeSpec, hardware: Hardware) -> str:
    """The backend of attention on ``hardware``. ``PedigreeError`` when it can't be ``compute.attention_backend``."""
    return choose_backend(model, hardware.device_type, compute.attention_backend, half=precision != "fp32")


def examine_run(run: TrainingRun, compute: ComputeSpec, hardware: Hardware, rates: MatmulRates | None) -> Findings:
    """What ``hardware`` can't do in one run, or does slowly. Without ``rates``, there is no advice about speed."""
    precision = run.training.precision
    errors: list[str] = []
    if precision == "fp8":
        errors += _fp8_errors(run, hardware)
    try:
        backend = backend_for(run.model, precision, compute, hardware)
    except PedigreeError as error:
        errors.append(str(error))
    else:
        errors += _kernel_errors(backend, compute, hardware)
    if hardware.on_cuda and precision != "fp32":
        model = run.model
        feeds = [layer.feed_forward for layer in model.layers if layer.feed_forward is not None]
        found = (error for feed in feeds for error in feed.half_precision_errors(model.d_model))
        errors += dict.fromkeys(f"model: {error}" for error in found)
    return Findings(tuple(errors), tuple(_precision_advice(run, hardware, rates)))


def _precision_advice(run: TrainingRun, hardware: Hardware, rates: MatmulRates | None) -> list[str]:
    place, precision = f"{run.place}training.precision", run.training.precision
    old = hardware.on_cuda and not hardware.can(BF16_CAPABILITY)
    if precision == "fp8" and not hardware.fp8:
        return []  # an error
    mine, other = ("fp32", "bf16") if precision == "fp32" else ("bf16", "fp32")
    if rates is not None and getattr(rates, other) > WORTH_SAYING * getattr(rates, mine):
        unit = " on one core" if hardware.on_cpu else " a device"
        return [
            f"{place} {precision} is slow on {hardware.name}: its products run at {_flops(getattr(rates, mine))} in "
            f"{mine}, and at {_flops(getattr(rates, other))} in {other}{unit}; write precision: {other}"
        ]
    if mine == "bf16" and old:
        return [
            f"{place} {precision}: {hardware.name} has no units for bf16 ({_has(hardware, BF16_CAPABILITY)}), and "
            "makes its products out of others; write precision: fp32"
        ]
    return []


def _fp8_errors(run: TrainingRun, hardware: Hardware) -> list[str]:
    if not hardware.fp8:
        return [
            f"{run.place}training.precision fp8: {hardware.name} multiplies no 8-bit floats (GPUs from Ada and Hopper "
            "on do); set it to bf16"
        ]
    # Imported here, because plans need no torch otherwise.
    from llm_core.model.build import build_model
    from llm_core.train.fp8 import check_float8

    try:
        check_float8(build_model(run.model, 256, device="meta").all_blocks)
    except PedigreeError as error:
        return [f"{run.place}{error}"]
    return []


def _kernel_errors(backend: str, compute: ComputeSpec, hardware: Hardware) -> list[str]:
    if hardware.on_cpu:
        return []
    errors = []
    if backend == "flex" and not hardware.can(TRITON_CAPABILITY):
        errors.append(
            f"compute.attention_backend {compute.attention_backend}: {hardware.name} can't run flex, which is compiled "
            f"({_has(hardware, TRITON_CAPABILITY)}); write eager"
        )
    if backend == "varlen" and not hardware.can(BF16_CAPABILITY):
        errors.append(
            f"compute.attention_backend varlen: {hardware.name} has no FlashAttention "
            f"({_has(hardware, BF16_CAPABILITY)}); write auto"
        )
    if compute.compile and not hardware.can(TRITON_CAPABILITY):
        errors.append(
            f"compute.compile: {hardware.name} can't run compiled kernels ({_has(hardware, TRITON_CAPABILITY)}); "
            "write false"
        )
    return errors


def _has(hardware: Hardware, needed: Capability) -> str:
    if hardware.capability is None:
        return "that needs a CUDA GPU"
    return f"compute capability {'.'.join(map(str, hardware.capability))}; {'.'.join(map(str, needed))} is needed"


def _flops(rate: float) -> str:
    """1.7 GFLOP/s, 989 TFLOP/s."""
    value, unit = (rate / 1e12, "TFLOP/s") if rate >= 1e12 else (rate / 1e9, "GFLOP/s")
    return f"{value:,.0f} {unit}" if value >= 10 else f"{value:.1g} {unit}" if value < 0.1 else f"{value:.1f} {unit}"
