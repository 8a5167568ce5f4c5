"""What a run will need, by formula and before any GPU is paid for; and whether it can run at all."""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from llm_core.errors import PedigreeError
from llm_core.experiment.continuation import LongContextSpec
from llm_core.experiment.experiment import Experiment
from llm_core.experiment.model import ModelSpec
from llm_core.experiment.runtime import ComputeSpec
from llm_core.experiment.training import TrainingSpec
from llm_core.model.accounting import (
    FLOPS_CONVENTION,
    ParameterCount,
    activation_bytes_per_token,
    flops_per_token,
    layer_costs,
    loss_bytes,
    parameter_count,
)
from llm_core.model.backends import choose_backend
from llm_core.tokens.batch_sizes import batch_sizes, tokens_before
from llm_core.train.data import mean_sequence_length
from llm_core.train.hardware import Hardware, hardware_of, reshards
from llm_core.train.spec import TrainerSpec

RUNTIME_ONLY = True

FP32 = 4
SHUTDOWN_SECONDS = 100
GB = 1e9


@dataclass(frozen=True)
class Memory:
    """Bytes on one device at the fullest moment of a step, by what they hold.

    ``autocast_copies``: the matrices in bf16, which the backward pass needs once more. ``gathered``: what FSDP2 has
    whole for the moment: the matrices outside the blocks in fp32, and of blocks either two (one at work, one on its
    way) or all (``reshard_after_forward``), in bf16 where that is computed in. ``loss``: see ``loss_bytes``.
    ``snapshot``: on a CPU, the copy that a checkpoint is written from.
    """

    weights: int
    gradients: int
    optimizer: int
    autocast_copies: int
    gathered: int
    activations: int
    loss: int
    snapshot: int

    @property
    def total(self) -> int:
        """All of it."""
        return sum(asdict(self).values())


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
    tokens, flops = tokens_before(training, training.steps), per_token * _positions(training)
    useful = None if hardware.peak_flops is None else ranks * hardware.peak_flops * compute.expected_mfu
    hours = None if useful is None else flops / useful / 3600
    gpu_hours = None if hours is None else hours * ranks
    return Preflight(
        experiment=experiment.name,
        hardware=hardware.name,
        ranks=ranks,
        parallel=compute.parallel,
        parameters=parameter_count(experiment.model, experiment.tokenizer.vocab_size),
        memory=memory,
        host_snapshot=_state_bytes(experiment),
        usable_memory=usable,
        device_memory=hardware.memory,
        sequence_length=training.sequence_length,
        batch_sequences=training.batch_size,
        batch_tokens=training.batch_tokens,
        micro_batch=_micro_batch(experiment, compute, ranks),
        accumulation_steps=_accumulation(experiment, compute, ranks),
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


def _backend(experiment: Experiment, hardware: Hardware) -> str:
    """What does the attention there."""
    device, half = "cpu" if hardware.on_cpu else "cuda", experiment.training.precision != "fp32"
    return choose_backend(experiment.model, device, experiment.compute.attention_backend, half=half)


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
    _backend(experiment, hardware)
    if not hardware.on_cpu and training.precision != "fp32":
        _check_experts(experiment.model)
    # Ranks on a CPU share its memory.
    usable = hardware.usable_memory // ranks if hardware.on_cpu else hardware.usable_memory
    memory = estimate_memory(experiment, compute, ranks, hardware)
    if memory.total > usable:
        raise PedigreeError(_too_large(experiment, hardware, ranks, memory, usable))
    return usable, memory


def _longer(experiment: Experiment, longer: LongContextSpec) -> Experiment:
    """The experiment whose full run is the training on longer sequences."""
    changes = {"model": longer.model(experiment.model), "training": longer.training}
    return experiment.model_copy(update={**changes, "name": f"{experiment.name}'s long_context_model"})


def _positions(training: TrainingSpec) -> int:
    """Tokens of the run, a bag of them counted once: it is one position."""
    tokens, bags = tokens_before(training, training.steps), training.superposition
    if bags is None:
        return tokens
    in_bags = tokens_before(training, bags.steps)
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


def estimate_memory(experiment: Experiment, compute: ComputeSpec, ranks: int, hardware: Hardware) -> Memory:
    """Bytes on one of ``ranks`` devices, as ``llm_core.train`` trains: fp32 weights, gradients and moments.

    DDP holds all of them on every device. FSDP2 shards them; but while it accumulates gradients over micro-batches it
    keeps them whole, and reduces them once a step.
    """
    spec, vocab_size, training = experiment.model, experiment.tokenizer.vocab_size, experiment.training
    count, costs = parameter_count(spec, vocab_size), layer_costs(spec)
    blocks = [cost.parameters for cost in costs]
    element = 4 if training.precision == "fp32" else 2
    total, state = count.total * FP32, _state_bytes(experiment)
    head = vocab_size * spec.d_model
    # Autocast casts what is multiplied: the head, and of the blocks what FSDP2 does not gather in bf16 anyhow.
    copies = 2 * (count.total - count.norms - (0 if spec.tie_embeddings else count.embedding))
    weights, gathered, gradients = total, 0, total
    if compute.parallel == "fsdp2" and ranks > 1:
        outside = (count.total - sum(blocks)) * FP32
        reshard = reshards(compute.reshard_after_forward, sum(blocks) * element, hardware.memory)
        gathered = outside + element * (2 * max(blocks) if reshard else sum(blocks))
        weights, state, copies = (math.ceil(size / ranks) for size in (total, state, 2 * head * ranks))
        whole = total if _accumulation(experiment, compute, ranks) > 1 else outside + FP32 * 2 * max(blocks)
        gradients = weights + whole
    tokens = _micro_batch(experiment, compute, ranks) * training.sequence_length
    activations = activation_bytes_per_token(
        spec,
        training.sequence_length,
        precision=training.precision,
        checkpointing=compute.activation_checkpointing,
        every=compute.activation_checkpointing_every,
        probabilities=_backend(experiment, hardware) == "explicit",
    )
    return Memory(
        weights=weights,
        gradients=gradients,
        optimizer=state - weights,
        autocast_copies=copies if element == 2 else 0,
        gathered=gathered,
        activations=tokens * activations,
        loss=loss_bytes(spec, vocab_size, tokens, precision=training.precision),
        snapshot=math.ceil(_state_bytes(experiment) / ranks) if hardware.on_cpu else 0,
    )


def _state_bytes(experiment: Experiment) -> int:
    """All that a checkpoint holds: weights, and two moments of each (Muon: one of the matrices in blocks)."""
    spec = experiment.model
    numbers = 3 * parameter_count(spec, experiment.tokenizer.vocab_size).total
    if experiment.training.optimizer.kind == "muon":
        parts = [part for cost in layer_costs(spec) for part in (cost.mixer, cost.feed_forward)]
        numbers -= sum(part.matrices + part.idle for part in parts)
    return numbers * FP32


def _micro_batch(experiment: Experiment, compute: ComputeSpec, ranks: int) -> int:
    return min(compute.micro_batch, experiment.training.batch_size // ranks)


def _accumulation(experiment: Experiment, compute: ComputeSpec, ranks: int) -> int:
    return math.ceil(experiment.training.batch_size / ranks / compute.micro_batch)


def _nearest_batches(sequences: int, ranks: int, sequence_length: int) -> str:
    below = sequences // ranks * ranks
    choices = [number for number in (below, below + ranks) if number]
    return " or ".join(str(number * sequence_length) for number in choices)


def _too_large(experiment: Experiment, hardware: Hardware, ranks: int, memory: Memory, usable: int) -> str:
    parts = sorted(asdict(memory).items(), key=lambda item: -item[1])
    listed = ", ".join(f"{name.replace('_', ' ')} {size / GB:.1f}" for name, size in parts if size)
    text = (
        f"{experiment.name} does not fit: a rank needs {memory.total / GB:.1f} GB, and on {hardware.name} "
        f"{usable / GB:.1f} GB are usable ({listed})"
    )
    smallest: tuple[int, ComputeSpec] | None = None
    for compute in _thriftier(experiment.compute):
        needed = estimate_memory(experiment, compute, ranks, hardware).total
        if needed <= usable:
            return f"{text}; it would with {_changes(experiment.compute, compute)} ({needed / GB:.1f} GB)"
        if smallest is None or needed < smallest[0]:
            smallest = needed, compute
    assert smallest is not None
    needed, compute = smallest
    count = parameter_count(experiment.model, experiment.tokenizer.vocab_size).total
    return (
        f"{text}; even with {_changes(experiment.compute, compute)} it needs {needed / GB:.1f} GB: turn down "
        f"model.d_model, d_ff or n_layers, from {count / 1e9:.2f} to about {count * usable / needed / 1e9:.2f} "
        "billion parameters"
    )


def _thriftier(compute: ComputeSpec) -> Iterator[ComputeSpec]:
    """Ways to need less memory, from what costs least speed to what costs most."""
    spreads = ["ddp", "fsdp2"] if compute.parallel == "ddp" else ["fsdp2"]
    modes = ["none", "selective", "every_nth", "full"]
    for parallel in spreads:
        for mode in modes[modes.index(compute.activation_checkpointing) :]:
            same = mode == compute.activation_checkpointing
            every = compute.activation_checkpointing_every if same else 2 if mode == "every_nth" else None
            micro_batch = compute.micro_batch
            while micro_batch >= 1:
                yield compute.model_copy(
                    update={
                        "parallel": parallel,
                        "activation_checkpointing": mode,
                        "activation_checkpointing_every": every,
                        "micro_batch": micro_batch,
                    }
                )
                micro_batch //= 2


def _changes(before: ComputeSpec, after: ComputeSpec) -> str:
    fields = ("micro_batch", "activation_checkpointing", "activation_checkpointing_every", "parallel")
    changed = [name for name in fields if getattr(before, name) != getattr(after, name)]
    texts = [f"compute.{name} {_shown(getattr(before, name))} → {_shown(getattr(after, name))}" for name in changed]
    return ", ".join(texts) or "every setting as it is"


def _shown(value: object) -> str:
    return "null" if value is None else str(value)
