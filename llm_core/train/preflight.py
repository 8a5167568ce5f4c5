"""What a run needs, by formula and before anyone pays for a GPU, and whether it can run at all."""

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
from llm_core.train.capabilities import TrainingRun, examine_run
from llm_core.train.data import mean_sequence_length
from llm_core.train.device_memory import (
    Memory,
    accumulation_of,
    estimate_memory,
    micro_batch_of,
    state_bytes,
    too_large,
)
from llm_core.train.hardware import Hardware
from llm_core.train.matmul_rates import MatmulRates
from llm_core.train.spec import TrainerSpec
from llm_core.train.this_machine import hardware_of

SHUTDOWN_SECONDS = 100


@dataclass(frozen=True)
class Preflight:
    """The needs of the full run. FLOPs follow ``flops_convention``; memory is in bytes per device.

    ``host_snapshot``: bytes of main memory, over all ranks, from which checkpoints are written during training.

    ``hours`` is training alone at ``expected_mfu`` of ``peak_flops``, the peak in the run's precision (for fp8 that of
    bf16). It and all that follows from it are None when the peak is unknown (a CPU). ``advice``: what the device does
    slowly.
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
    advice: tuple[str, ...]


def preflight(experiment: Experiment, rates: MatmulRates | None = None) -> Preflight:
    """Examine the full run of ``experiment`` on the machine that its section ``compute`` names.

    ``rates``: those of that machine (``llm_core.train.capabilities.rates_of``), for advice about the precision.

    Raises ``PedigreeError`` for a run that can't work: more ranks than devices, a batch that the ranks can't share
    equally, or more memory than a device has. The message says what to lower, and by how much.
    """
    compute, training = experiment.compute, experiment.base_training()
    hardware = hardware_of(compute)
    ranks = compute.ranks or hardware.devices
    if ranks > hardware.devices and not hardware.on_cpu:
        raise PedigreeError(
            f"compute.ranks {ranks}: {hardware.name} has {hardware.devices} devices; set it to at most that"
        )
    usable, memory, advice = _checked(experiment, hardware, ranks, rates)
    if experiment.long_context:
        longer = _longer(experiment, experiment.long_context)
        advice += _checked(longer, hardware, ranks, rates, "long_context.")[2]
    for name, tuning in experiment.tunings().items():
        changes = {"training": tuning.training, "name": f"{experiment.name}'s {name}_model"}
        advice += _checked(experiment.model_copy(update=changes), hardware, ranks, rates, f"{name}.")[2]

    length = round(mean_sequence_length(training))
    per_token = flops_per_token(experiment.model, experiment.tokenizer.vocab_size, length)
    tokens, flops = tokens_before(training, training.steps), per_token * _positions(training, training.steps)
    hours = run_hours(flops, compute, hardware, ranks, training.precision)
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
        peak_flops=hardware.flops(training.precision),
        expected_mfu=compute.expected_mfu,
        tokens_per_second=None if hours is None else tokens / hours / 3600,
        hours=hours,
        gpu_hours=gpu_hours,
        cost=None if gpu_hours is None else gpu_hours * compute.price_per_gpu_hour,
        price_per_gpu_hour=compute.price_per_gpu_hour,
        # torchrun kills ranks some time after a signal; the default is too short for a checkpoint.
        command=(
            f"TORCH_ELASTIC_SHUTDOWN_TIMEOUT={SHUTDOWN_SECONDS} "
            f"torchrun --standalone --nproc-per-node {ranks} -m llm_core.train spec.json"
        ),
        advice=advice,
    )


def run_flops(model: ModelSpec, training: TrainingSpec, vocab_size: int, from_step: int = 0) -> int:
    """FLOPs of any training run after the first ``from_step`` steps, by ``FLOPS_CONVENTION``."""
    per_token = flops_per_token(model, vocab_size, round(mean_sequence_length(training)))
    return per_token * (_positions(training, training.steps) - _positions(training, from_step))


def run_hours(flops: float, compute: ComputeSpec, hardware: Hardware, ranks: int, precision: str) -> float | None:
    """Hours of training on ``ranks`` devices at ``expected_mfu`` of their peak in ``precision`` (for fp8 that of bf16,
    because MFU counts so). None when the peak is unknown (a CPU)."""
    peak = hardware.flops(precision)
    return None if peak is None else flops / (ranks * peak * compute.expected_mfu) / 3600


def _checked(
    experiment: Experiment, hardware: Hardware, ranks: int, rates: MatmulRates | None, place: str = ""
) -> tuple[int, Memory, tuple[str, ...]]:
    """The usable bytes of a device, the memory of the full run, and advice. ``PedigreeError`` when it can't run.

    ``place`` comes before the names of sections in messages.
    """
    compute, training = experiment.compute, experiment.base_training()
    for _, sequences in batch_sizes(training).phases:
        if sequences % ranks:
            raise PedigreeError(
                f"{place}training.batch_tokens {sequences * training.sequence_length}: its {sequences} sequences can't "
                f"be shared equally by {ranks} ranks; "
                f"{_nearest_batches(sequences, ranks, training.sequence_length)} can"
            )
    findings = examine_run(TrainingRun(place, experiment.model, training), compute, hardware, rates)
    findings.check()
    # Ranks on a CPU share its memory.
    usable = hardware.usable_memory // ranks if hardware.on_cpu else hardware.usable_memory
    memory = estimate_memory(experiment, compute, ranks, hardware)
    if memory.total > usable:
        raise PedigreeError(too_large(experiment, hardware, ranks, memory, usable))
    return usable, memory, findings.advice


def _longer(experiment: Experiment, longer: LongContextSpec) -> Experiment:
    """The experiment whose full run is the training on longer sequences."""
    changes = {"model": longer.model(experiment.model), "training": longer.training}
    return experiment.model_copy(update={**changes, "name": f"{experiment.name}'s long_context_model"})


def _positions(training: TrainingSpec, steps: int) -> int:
    """Positions of the first ``steps`` steps: tokens, and bags of tokens."""
    tokens, bags = tokens_before(training, steps), training.superposition
    if bags is None:
        return tokens
    in_bags = tokens_before(training, min(bags.steps, steps))
    return tokens - in_bags + in_bags // bags.tokens


def trainer_spec(experiment: Experiment, shards: Path, work: Path) -> TrainerSpec:
    """The specification with which a bare machine trains the full run of ``experiment``. Relative paths start at the
    JSON file. ``PedigreeError`` for a run that starts from a model, which such a file does not contain."""
    if experiment.start is not None:
        raise PedigreeError("the run starts from a finished model: write a bundle, which contains it (--write FOLDER)")
    return TrainerSpec.of(
        experiment.compute,
        model=experiment.model,
        training=experiment.full_run(),
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
