"""What a run will need, by formula and before any GPU is paid for; and whether it can run at all."""

from dataclasses import dataclass
from pathlib import Path

from llm_core.errors import PedigreeError
from llm_core.experiment.continuation import LongContextSpec
from llm_core.experiment.experiment import Experiment
from llm_core.experiment.model import ModelSpec
from llm_core.experiment.runtime import ComputeSpec
from llm_core.experiment.training import TrainingSpec
from llm_core.model.accounting import FLOPS_CONVENTION, ParameterCount, flops_per_token, parameter_count
from llm_core.tokens.batch_sizes import batch_sizes, tokens_before
from llm_core.train.data import mean_sequence_length
from llm_core.train.device_memory import (
    Memory,
    accumulation_of,
    backend_of,
    estimate_memory,
    micro_batch_of,
    state_bytes,
    too_large,
)
from llm_core.train.hardware import Hardware, hardware_of
from llm_core.train.spec import TrainerSpec

RUNTIME_ONLY = True

SHUTDOWN_SECONDS = 100


@dataclass(frozen=True)
class Preflight:
    """Figures of the full run. FLOPs after ``flops_convention``; memory in bytes a device.

    ``host_snapshot``: bytes of main memory, over all ranks, that checkpoints are written from while training goes on.

    ``hours`` is training alone at ``expected_mfu`` of the devices' peak; it and what follows from it are None where
    the peak is not known (a CPU).
    """

    experiment: str
    hardware: str
    ranks: int
    parallel: str
    parameters: ParameterCount
    memory: Memory
    host_snapshot: int
    usable_memory: int
    device_memory: int
    sequence_length: int
    batch_sequences: int
    batch_tokens: int
    micro_batch: int
    accumulation_steps: int
    steps: int
    tokens: int
    flops_convention: str
    flops_per_token: int
    flops: int
    peak_flops: float | None
    expected_mfu: float
    tokens_per_second: float | None
    hours: float | None
    gpu_hours: float | None
    cost: float | None
    price_per_gpu_hour: float
    command: str


def preflight(experiment: Experiment) -> Preflight:
    """Examine the full run of ``experiment`` on its compute target.

    Raises ``PedigreeError`` for one that can't run: more ranks than devices, a batch that the ranks can't share
    equally, or more memory than a device has; the message says what to turn down, and by how much.
    """
    compute, training = experiment.compute, experiment.training
    hardware = hardware_of(compute.target)
    ranks = compute.ranks or hardware.devices
    if ranks > hardware.devices and not hardware.on_cpu:
        raise PedigreeError(
            f"compute.ranks {ranks}: {hardware.name} has {hardware.devices} devices; set it to at most that"
        )
    usable, memory = _checked(experiment, hardware, ranks)
    if experiment.long_context:
        _checked(_longer(experiment, experiment.long_context), hardware, ranks, "long_context.")

    length = round(mean_sequence_length(training))
    per_token = flops_per_token(experiment.model, experiment.tokenizer.vocab_size, length)
    tokens, flops = tokens_before(training, training.steps), per_token * _positions(training, training.steps)
    hours = run_hours(flops, compute, hardware, ranks)
    gpu_hours = None if hours is None else hours * ranks
    return Preflight(
        experiment=experiment.name,
        hardware=hardware.name,
        ranks=ranks,
        parallel=compute.parallel,
        parameters=parameter_count(experiment.model, experiment.tokenizer.vocab_size),
        memory=memory,
        host_snapshot=state_bytes(experiment),
        usable_memory=usable,
        device_memory=hardware.memory,
        sequence_length=training.sequence_length,
        batch_sequences=training.batch_size,
        batch_tokens=training.batch_tokens,
        micro_batch=micro_batch_of(experiment, compute, ranks),
        accumulation_steps=accumulation_of(experiment, compute, ranks),
        steps=training.steps,
        tokens=tokens,
        flops_convention=FLOPS_CONVENTION,
        flops_per_token=per_token,
        flops=flops,
        peak_flops=hardware.peak_flops,
        expected_mfu=compute.expected_mfu,
        tokens_per_second=None if hours is None else tokens / hours / 3600,
        hours=hours,
        gpu_hours=gpu_hours,
        cost=None if gpu_hours is None else gpu_hours * compute.price_per_gpu_hour,
        price_per_gpu_hour=compute.price_per_gpu_hour,
        # torchrun kills ranks that are not gone some time after a signal; by default there is none for a checkpoint.
        command=(
            f"TORCH_ELASTIC_SHUTDOWN_TIMEOUT={SHUTDOWN_SECONDS} "
            f"torchrun --standalone --nproc-per-node {ranks} -m llm_core.train spec.json"
        ),
    )


def run_flops(model: ModelSpec, training: TrainingSpec, vocab_size: int, from_step: int = 0) -> int:
    """FLOPs of any training run, from the step ``from_step`` on, after ``FLOPS_CONVENTION``."""
    per_token = flops_per_token(model, vocab_size, round(mean_sequence_length(training)))
    return per_token * (_positions(training, training.steps) - _positions(training, from_step))


def run_hours(flops: float, compute: ComputeSpec, hardware: Hardware, ranks: int) -> float | None:
    """Hours of training on ``ranks`` devices at ``expected_mfu`` of their peak; None where the peak is not known."""
    if hardware.peak_flops is None:
        return None
    return flops / (ranks * hardware.peak_flops * compute.expected_mfu) / 3600


def _check_experts(model: ModelSpec) -> None:
    """The kernel that multiplies all experts' rows at once wants rows of whole 16 bytes."""
    widths = {} if model.moe is None else {"moe.d_ff": model.moe.d_ff, "d_model": model.d_model}
    for name, width in widths.items():
        if width % 8:
            raise PedigreeError(
                f"model.{name} {width}: products of experts in half precision want a multiple of 8 on a GPU; "
                f"{-(-width // 8) * 8} is one"
            )


def _checked(experiment: Experiment, hardware: Hardware, ranks: int, place: str = "") -> tuple[int, Memory]:
    """Usable bytes of a device, and what the full run takes of it; ``PedigreeError`` where it can't run.

    ``place`` stands before the names of sections.
    """
    compute, training = experiment.compute, experiment.training
    for _, sequences in batch_sizes(training).phases:
        if sequences % ranks:
            raise PedigreeError(
                f"{place}training.batch_tokens {sequences * training.sequence_length}: its {sequences} sequences can't "
                f"be shared equally by {ranks} ranks; "
                f"{_nearest_batches(sequences, ranks, training.sequence_length)} can"
            )
    if training.precision == "fp8" and not hardware.fp8:
        raise PedigreeError(
            f"{place}training.precision fp8: {hardware.name} multiplies no 8-bit floats (GPUs from Ada and Hopper on "
            "do); set it to bf16"
        )
    if training.precision == "fp8":
        # Only here: without it, a preflight needs no torch.
        from llm_core.model.build import build_model
        from llm_core.train.fp8 import check_float8

        check_float8(build_model(experiment.model, experiment.tokenizer.vocab_size, device="meta").all_blocks)
    backend_of(experiment, hardware)
    if not hardware.on_cpu and training.precision != "fp32":
        _check_experts(experiment.model)
    # Ranks on a CPU share its memory.
    usable = hardware.usable_memory // ranks if hardware.on_cpu else hardware.usable_memory
    memory = estimate_memory(experiment, compute, ranks, hardware)
    if memory.total > usable:
        raise PedigreeError(too_large(experiment, hardware, ranks, memory, usable))
    return usable, memory


def _longer(experiment: Experiment, longer: LongContextSpec) -> Experiment:
    """The experiment whose full run is the training on longer sequences."""
    changes = {"model": longer.model(experiment.model), "training": longer.training}
    return experiment.model_copy(update={**changes, "name": f"{experiment.name}'s long_context_model"})


def _positions(training: TrainingSpec, steps: int) -> int:
    """Tokens of the first ``steps`` steps, a bag of them counted once: it is one position."""
    tokens, bags = tokens_before(training, steps), training.superposition
    if bags is None:
        return tokens
    in_bags = tokens_before(training, min(bags.steps, steps))
    return tokens - in_bags + in_bags // bags.tokens


def trainer_spec(experiment: Experiment, shards: Path, work: Path) -> TrainerSpec:
    """What a bare machine is told, to train the full run of ``experiment``; relative paths start at the JSON file."""
    return TrainerSpec.of(
        experiment.compute,
        model=experiment.model,
        training=experiment.training,
        vocab_size=experiment.tokenizer.vocab_size,
        seed=experiment.seed,
        shards=shards,
        work=work,
        name=experiment.name,
        tracking=experiment.tracking,
    )


def _nearest_batches(sequences: int, ranks: int, sequence_length: int) -> str:
    below = sequences // ranks * ranks
    choices = [number for number in (below, below + ranks) if number]
    return " or ".join(str(number * sequence_length) for number in choices)
