"""The peak memory of a step by formula, and which settings to lower when it is too large."""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from llm_core.experiment.experiment import Experiment
from llm_core.experiment.runtime import ComputeSpec
from llm_core.model.accounting import activation_bytes_per_token, layer_costs, loss_bytes, parameter_count
from llm_core.train.capabilities import backend_for
from llm_core.train.hardware import Hardware, reshards

FP32 = 4
GB = 1e9


@dataclass(frozen=True)
class Memory:
    """Bytes on one device at the peak of a step, by use.

    ``autocast_copies``: the matrices in bf16, which the backward pass needs again. ``gathered``: what FSDP2 has
    gathered: the parameters outside the blocks in fp32, and those of two blocks (one computes, the next one arrives) or
    of all blocks (``reshard_after_forward``), in bf16 where the run computes in it. ``loss``: see ``loss_bytes``.
    ``snapshot``: the copy from which a checkpoint is written, on a CPU and on a GPU that shares its memory.
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
        """The sum."""
        return sum(asdict(self).values())


def estimate_memory(experiment: Experiment, compute: ComputeSpec, ranks: int, hardware: Hardware) -> Memory:
    """Bytes on one of ``ranks`` devices. Weights, gradients and moments are fp32.

    DDP keeps all of them on every device. FSDP2 shards them. But if it accumulates gradients over micro-batches, it
    keeps whole gradients and reduces them once per step.
    """
    spec, vocab_size, training = experiment.model, experiment.tokenizer.vocab_size, experiment.base_training()
    count, costs = parameter_count(spec, vocab_size), layer_costs(spec)
    blocks = [cost.parameters for cost in costs]
    element = 4 if training.precision == "fp32" else 2
    total, state = count.total * FP32, state_bytes(experiment)
    head = vocab_size * spec.d_model
    # Autocast casts what is multiplied: the head, and the matrices of blocks unless FSDP2 gathers them in bf16.
    copies = 2 * (count.total - count.norms - count.tables - (0 if spec.tie_embeddings else count.embedding))
    weights, gathered, gradients = total, 0, total
    if compute.parallel == "fsdp2" and ranks > 1:
        outside = (count.total - sum(blocks)) * FP32
        reshard = reshards(compute.reshard_after_forward, sum(blocks) * element, hardware.memory)
        gathered = outside + element * (2 * max(blocks) if reshard else sum(blocks))
        weights, state, copies = (math.ceil(size / ranks) for size in (total, state, 2 * head * ranks))
        whole = total if accumulation_of(experiment, compute, ranks) > 1 else outside + FP32 * 2 * max(blocks)
        gradients = weights + whole
    tokens = micro_batch_of(experiment, compute, ranks) * training.sequence_length
    activations = activation_bytes_per_token(
        spec,
        training.sequence_length,
        precision=training.precision,
        checkpointing=compute.activation_checkpointing,
        every=compute.activation_checkpointing_every,
        backend=backend_of(experiment, hardware),
        on_cpu=hardware.on_cpu,
    )
    return Memory(
        weights=weights,
        gradients=gradients,
        optimizer=state - weights,
        autocast_copies=copies if element == 2 else 0,
        gathered=gathered,
        activations=tokens * activations,
        loss=loss_bytes(spec, vocab_size, tokens, precision=training.precision),
        snapshot=0 if hardware.on_cuda else math.ceil(state_bytes(experiment) / ranks),
    )


def state_bytes(experiment: Experiment) -> int:
    """The bytes of a checkpoint: weights and the moments of the optimiser."""
    spec = experiment.model
    parameters = parameter_count(spec, experiment.tokenizer.vocab_size).total
    parts = [part for cost in layer_costs(spec) for part in (cost.mixer, cost.feed_forward)]
    matrices = sum(part.matmul_parameters + part.inactive_parameters for part in parts)
    return (parameters + experiment.base_training().optimizer.moments(parameters, matrices)) * FP32


def micro_batch_of(experiment: Experiment, compute: ComputeSpec, ranks: int) -> int:
    """Sequences per rank and forward pass: never more than the rank's part of the batch."""
    return min(compute.micro_batch, experiment.base_training().batch_size // ranks)


def accumulation_of(experiment: Experiment, compute: ComputeSpec, ranks: int) -> int:
    """Micro-batches per rank and step."""
    return math.ceil(experiment.base_training().batch_size / ranks / compute.micro_batch)


def backend_of(experiment: Experiment, hardware: Hardware) -> str:
    """The backend of attention on ``hardware``."""
    return backend_for(experiment.model, experiment.base_training().precision, experiment.compute, hardware)


def too_large(experiment: Experiment, hardware: Hardware, ranks: int, memory: Memory, usable: int) -> str:
    """The message for a run that needs more than ``usable`` bytes, with the cheapest change that makes it fit."""
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
        f"model.d_model, feed_forward.d_ff or n_layers, from {count / 1e9:.2f} to about "
        f"{count * usable / needed / 1e9:.2f} billion parameters"
    )


def _thriftier(compute: ComputeSpec) -> Iterator[ComputeSpec]:
    """Settings that need less memory, in the order of the speed that they cost."""
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
