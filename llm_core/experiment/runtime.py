"""The sections about where and how a run happens. They do not change results and are not part of any identity.

There are three exceptions. Rounding may differ. The choices of ``dropout`` in the model and its mixers depend on how a
batch is split into micro-batches and over ranks (in mixers, also on ``attention_backend``). The experts'
``balance_loss`` is computed per micro-batch.
"""

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from llm_core.experiment.base import Count, Name, Spec
from llm_core.experiment.callbacks import ChosenCallbacks
from llm_core.experiment.component import KindOf
from llm_core.experiment.devices import Device
from llm_core.experiment.launchers import LauncherSpec
from llm_core.registries import CALLBACKS, DEVICE_TYPES, LAUNCHERS

Positive = Annotated[float, Field(gt=0)]


def _device_type(name: str) -> str:
    return name if name == "auto" else Name((DEVICE_TYPES,))(name)


def _named(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError(f"{str(value).lower()} is no longer a value here: write '{'full' if value else 'none'}'")
    return value


Recomputation = Annotated[Literal["none", "full", "every_nth", "selective"], BeforeValidator(_named)]


class KeepSpec(Spec):
    """Which checkpoints of a run are kept. The others are removed when a newer one is complete."""

    last: Count = 2
    """The number of newest checkpoints to keep. A killed run resumes from them."""
    best: Annotated[int, Field(ge=0)] = 0
    """The number of checkpoints with the lowest validation loss to keep, among validated steps."""
    every: Count | None = None
    """Keep the checkpoints of all steps that are multiples of this."""


class SpreadSpec(Spec):
    """The part of ``compute`` for the trainer: how the model is spread over devices, and which checkpoints to keep."""

    device_type: Annotated[str, AfterValidator(_device_type)] = "auto"
    """What this machine trains on: ``cuda``, ``mps`` (the GPU of Apple silicon) or ``cpu``. ``auto``: ``cuda`` if the
    machine has it, otherwise ``cpu``. Weights are bit-identical only on devices of one type."""
    parallel: Literal["ddp", "fsdp2"] = "ddp"
    """``ddp``: every rank holds the whole model. ``fsdp2``: the ranks share its weights, gradients and moments."""
    micro_batch: Count = 8
    """Sequences per rank and forward pass. Gradients are accumulated over the rest of a batch."""
    compile: bool = False
    """Whether ``torch.compile`` makes kernels of the blocks."""
    attention_backend: Literal["auto", "sdpa", "flex", "varlen", "eager"] = "auto"
    """The attention kernel, see ``llm_core.model.backends``. All compute the same, except for rounding."""
    expert_products: Literal["grouped", "looped"] = "grouped"
    """How a GPU computes the products of experts. ``grouped``: all in one kernel. ``looped``: expert by expert; this is
    slower and waits for the device in every layer, but needs only standard kernels. A CPU always uses ``looped``."""
    activation_checkpointing: Recomputation = "none"
    """What the backward pass recomputes to save memory: nothing; every block; one block in
    ``activation_checkpointing_every``; or every block except the results of large products and of attention."""
    activation_checkpointing_every: Count | None = None
    """Only ``every_nth``: a number of blocks."""
    reshard_after_forward: Literal["auto", "always", "never"] = "auto"
    """Only ``fsdp2``: whether a block's gathered parameters are freed between its forward and backward pass. ``auto``
    decides by the share of device memory that they would take."""
    checkpoint_every: Count = 100
    """Steps between two checkpoints."""
    keep: KeepSpec = KeepSpec()

    @model_validator(mode="after")
    def _settings_agree(self) -> Self:
        if (self.activation_checkpointing == "every_nth") != (self.activation_checkpointing_every is not None):
            raise ValueError(
                "activation_checkpointing 'every_nth' needs activation_checkpointing_every (a number of blocks), and "
                "nothing else takes it"
            )
        if self.reshard_after_forward != "auto" and self.parallel != "fsdp2":
            raise ValueError(f"reshard_after_forward {self.reshard_after_forward!r} goes with parallel 'fsdp2' only")
        if self.keep.every is not None and self.keep.every % self.checkpoint_every:
            raise ValueError(
                f"keep.every {self.keep.every} is no multiple of checkpoint_every {self.checkpoint_every}: there is no "
                "checkpoint of such a step"
            )
        return self


class AskSpec(Spec):
    """The maximum cost of retraining for changed code only. A run that costs more waits for consent
    (``pedigree run --yes``). ``null``: no limit."""

    hours: Positive | None = 1.0
    """Hours of wall time."""
    dollars: Positive | None = 20.0
    """By ``price_per_gpu_hour``."""


class ComputeSpec(SpreadSpec):
    """The machines that build data parts and train, and how the model is spread over them."""

    workers: Count | None = None
    """Processes that build the parts of data stages; by default one per core."""
    map: Literal["local", "ray"] = "local"
    """Where parts are built: in processes of this machine, or on a Ray cluster that sees store and sources."""
    ray_address: str | None = None
    """The address of the Ray cluster (``auto``, ``ip:port``); by default, Ray is started on this machine only."""
    target: Annotated[LauncherSpec, KindOf(LAUNCHERS)] = "local"  # type: ignore[assignment]
    """Where runs train. ``local``: this machine's GPUs, or its CPU. ``h100x8``: one node with eight H100."""
    device: Device | None = None
    """The GPU to plan for, on any machine: a name of ``llm_core.experiment.devices``, or ``{name, memory_gb,
    tflops_bf16}``. A run starts only on a machine that has it."""
    devices: Count | None = None
    """The number of GPUs of type ``device``; by default one."""
    ranks: Count | None = None
    """Processes; by default one per GPU, and one on a CPU."""
    watchdog_seconds: Positive = 900.0
    """Seconds. A run that finishes no step for this long is ended."""
    price_per_gpu_hour: Annotated[float, Field(ge=0)] = 0.0
    """US dollars."""
    expected_mfu: Annotated[float, Field(gt=0, le=1)] = 0.4
    """The share of the GPUs' peak FLOPs that plans reckon with."""
    ask_above: AskSpec | None = AskSpec()

    @property
    def planned_here(self) -> bool:
        """Whether it names no machine, and so plans for the one that plans."""
        return self.target.machine() is None and self.device is None

    def changed(self, changes: Mapping[str, Any]) -> Self:
        """A copy with ``changes``; fields of ``keep`` are changed one by one. Raises ``ValidationError``."""
        fields = self.model_dump(mode="json")
        for name, value in changes.items():
            below = fields.get(name)
            fields[name] = {**below, **value} if isinstance(below, dict) and isinstance(value, Mapping) else value
        return type(self).model_validate_json(json.dumps(fields))

    @model_validator(mode="after")
    def _one_machine(self) -> Self:
        if self.device is None and self.devices is not None:
            raise ValueError(
                f"devices {self.devices} goes with device: name the kind of GPU. How many processes train on this "
                "machine is 'ranks'"
            )
        if self.device is not None and self.target.machine() is not None:
            raise ValueError(
                f"device {self.device.name!r} and target {self.target.kind!r} are two machines: write target 'local', "
                "or leave device out"
            )
        if not self.planned_here and self.device_type not in ("auto", "cuda"):
            named = "target" if self.device is None else "device"
            raise ValueError(
                f"device_type {self.device_type!r} and {named} are two machines: leave {named} out, which means GPUs, "
                "or write device_type 'auto'"
            )
        if self.device is not None and (self.ranks or 1) > (self.devices or 1):
            raise ValueError(
                f"ranks {self.ranks} on devices {self.devices or 1}: a rank has a GPU of its own; raise devices, or "
                "lower ranks"
            )
        return self


def _off(value: Any) -> Any:
    # YAML parses ``off`` as false.
    return "off" if value is False else value


class TrackingSpec(Spec):
    """What is reported about a live run, beside its metrics. W&B's key comes from the environment only."""

    wandb: Annotated[
        Literal["off", "offline", "online"],
        BeforeValidator(_off, json_schema_input_type=Literal["off", "offline", "online", False]),
    ] = "off"
    """Weights & Biases: not at all, into files of this machine, or to its server."""
    project: str = "pedigree"
    """The project in Weights & Biases."""
    callbacks: ChosenCallbacks = Field(default_factory=dict)
    """Kind → settings of optional callbacks, beside those of every run."""

    @property
    def plugins(self) -> tuple[str, ...]:
        """The plug-ins of the callbacks, which no code digest names."""
        return tuple(sorted({plugin for kind in self.callbacks if (plugin := CALLBACKS.plugin(kind))}))
