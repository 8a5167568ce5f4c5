"""What a device does badly in a run, or not at all: known, or measured, before any work.

``plan``, ``preflight``, ``run`` and the stages that train all ask here. What can't run is an error; what would run at
less than half of the speed of another precision is advice, with both rates and what to write.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from llm_core.errors import PedigreeError
from llm_core.experiment.model import ModelSpec
from llm_core.experiment.runtime import ComputeSpec
from llm_core.experiment.training import TrainingSpec
from llm_core.extras import is_installed, missing
from llm_core.model.backends import choose_backend
from llm_core.train.hardware import (
    BF16_CAPABILITY,
    TRITON_CAPABILITY,
    Capability,
    Hardware,
    hardware_of,
    require_devices,
    this_machine,
)
from llm_core.train.matmul_rates import MatmulRates, measured_rates

WORTH_SAYING = 2.0
"""Another precision that is faster by more than this is told of."""


@dataclass(frozen=True)
class TrainingRun:
    """A run that is to be made. ``place`` stands before the names of its sections in messages: ``proxies.``, say."""

    place: str
    model: ModelSpec
    training: TrainingSpec


@dataclass(frozen=True)
class Findings:
    """Messages: ``errors`` of what can't run, ``advice`` about what would run badly."""

    errors: tuple[str, ...] = ()
    advice: tuple[str, ...] = ()

    def check(self) -> None:
        """``PedigreeError`` where there are errors."""
        if self.errors:
            raise PedigreeError("\n".join(self.errors))


def examine(runs: Sequence[TrainingRun], compute: ComputeSpec, *, here: bool) -> Findings:
    """What a machine does badly or not at all in ``runs``: this one (``here``), or the one that ``compute`` plans for.

    What several runs have in common is said once. Measures a CPU, and a GPU whose rates are not in the table, unless
    the store remembers them.
    """
    hardware = this_machine() if here else hardware_of(compute)
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
    """Before a trainer is launched: ``PedigreeError`` for what its machine can't do, a line for what it does badly."""
    require_devices(compute)
    findings = examine([run], compute, here=compute.target.here)
    findings.check()
    for line in findings.advice:
        log(line)


def rates_of(hardware: Hardware, *, here: bool) -> MatmulRates | None:
    """Rates of a device of ``hardware``, by its data sheet or else, where it is ``here``, measured.

    None for a planned device whose data sheet isn't known in full. ``PedigreeError`` where the measurement fails.
    """
    if hardware.fp32_flops is not None and hardware.peak_flops is not None:
        return MatmulRates(fp32=hardware.fp32_flops, bf16=hardware.peak_flops)
    if not here:
        return None
    kind = "cpu" if hardware.on_cpu else "cuda"
    return measured_rates(kind, "" if hardware.on_cpu else hardware.name)


def backend_for(model: ModelSpec, precision: str, compute: ComputeSpec, hardware: Hardware) -> str:
    """What does the attention on ``hardware``; ``PedigreeError`` where the wanted backend can't."""
    device = "cpu" if hardware.on_cpu else "cuda"
    return choose_backend(model, device, compute.attention_backend, half=precision != "fp32")


def examine_run(run: TrainingRun, compute: ComputeSpec, hardware: Hardware, rates: MatmulRates | None) -> Findings:
    """What ``hardware`` does badly or not at all in one run; without ``rates``, nothing is said of speed."""
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
    if not hardware.on_cpu and precision != "fp32":
        model = run.model
        feeds = [layer.feed_forward for layer in model.layers if layer.feed_forward is not None]
        found = (error for feed in feeds for error in feed.half_precision_errors(model.d_model))
        errors += dict.fromkeys(f"model: {error}" for error in found)
    return Findings(tuple(errors), tuple(_precision_advice(run, hardware, rates)))


def _precision_advice(run: TrainingRun, hardware: Hardware, rates: MatmulRates | None) -> list[str]:
    place, precision = f"{run.place}training.precision", run.training.precision
    old = not hardware.on_cpu and not hardware.can(BF16_CAPABILITY)
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
    # Only here: without it, nobody who plans needs torch.
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
    has = "unknown" if hardware.capability is None else ".".join(map(str, hardware.capability))
    return f"compute capability {has}; {'.'.join(map(str, needed))} is needed"


def _flops(rate: float) -> str:
    """1.7 GFLOP/s, 989 TFLOP/s."""
    value, unit = (rate / 1e12, "TFLOP/s") if rate >= 1e12 else (rate / 1e9, "GFLOP/s")
    return f"{value:,.0f} {unit}" if value >= 10 else f"{value:.1g} {unit}" if value < 0.1 else f"{value:.1f} {unit}"
