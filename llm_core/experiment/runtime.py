"""The sections that say where and how a run happens. They change no result and are no part of any identity.

No result, that is, but for rounding, and for two things that depend on how a batch is cut into micro-batches and shared
among ranks: what ``dropout`` of the model and of its mixers leaves out (the latter by ``attention_backend``, too), and
the experts' ``balance_loss``, whose shares are those of a micro-batch.
"""

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from llm_core.experiment.base import Count, Spec
from llm_core.experiment.callbacks import ChosenCallbacks
from llm_core.experiment.component import KindOf
from llm_core.experiment.devices import Device
from llm_core.experiment.launchers import LauncherSpec
from llm_core.registries import CALLBACKS, LAUNCHERS

Positive = Annotated[float, Field(gt=0)]


def _named(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError(f"write '{'full' if value else 'none'}' for {str(value).lower()}; there is more to choose now")
    return value


Recomputation = Annotated[Literal["none", "full", "every_nth", "selective"], BeforeValidator(_named)]


class KeepSpec(Spec):
    """Which checkpoints of a run stay; the others are removed once a newer one is whole."""

    last: Count = 2
    """So many of the newest, which a killed run goes on from."""
    best: Annotated[int, Field(ge=0)] = 0
    """So many with the lowest validation loss, among those of steps that were validated."""
    every: Count | None = None
    """Those of all steps that are multiples of this."""


class SpreadSpec(Spec):
    """How a model is spread over devices, and what a run keeps: what a trainer is told of ``compute``."""

    parallel: Literal["ddp", "fsdp2"] = "ddp"
    """``ddp``: every rank holds the whole model. ``fsdp2``: the ranks share its weights, gradients and moments."""
    micro_batch: Count = 8
    """Sequences a rank holds at once; the rest of a batch is accumulated."""
    compile: bool = False
    """Whether ``torch.compile`` makes kernels of the blocks."""
    attention_backend: Literal["auto", "sdpa", "flex", "varlen", "explicit"] = "auto"
    """The kernel of attention: see ``llm_core.model.backends``. All compute the same, up to rounding."""
    expert_products: Literal["grouped", "looped"] = "grouped"
    """How a GPU multiplies the rows of a mixture's experts: all in one kernel, or expert by expert, which is slower and
    waits for the device in every layer, but needs the plainest of kernels only. A CPU always does the latter."""
    activation_checkpointing: Recomputation = "none"
    """What the backward pass makes again, to hold less: nothing, all of every block, all of one block in
    ``activation_checkpointing_every``, or of every block all but the results of large products and of attention."""
    activation_checkpointing_every: Count | None = None
    """Only ``every_nth``: a number of blocks."""
    reshard_after_forward: Literal["auto", "always", "never"] = "auto"
    """Only ``fsdp2``: whether a block's gathered parameters are given back between its forward and backward pass;
    ``auto`` decides by how much of a device they would take."""
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
    """What a training run may cost that is made again for nothing but changed code; one that costs more waits for a yes
    (``pedigree run --yes``). ``null``: that is never asked about."""

    hours: Positive | None = 1.0
    """Of wall time."""
    dollars: Positive | None = 20.0
    """By ``price_per_gpu_hour``."""


class ComputeSpec(SpreadSpec):
    """The machines that make data parts and that train, and how the model is spread over them."""

    workers: Count | None = None
    """Processes that make the parts of data stages; by default one per core."""
    map: Literal["local", "ray"] = "local"
    """Who makes parts: processes of this machine, or a Ray cluster whose nodes all see the store and the sources."""
    ray_address: str | None = None
    """Where the Ray cluster is (``auto``, ``ip:port``); by default a Ray of this machine alone."""
    target: Annotated[LauncherSpec, KindOf(LAUNCHERS)] = "local"  # type: ignore[assignment]
    """Where runs train. ``local``: this machine's GPUs, or its CPU. ``h100x8``: one node with eight H100."""
    device: Device | None = None
    """The GPU to plan for, wherever the plan is made: a name of ``llm_core.experiment.devices``, or ``{name, memory_gb,
    tflops_bf16}``. Only a machine that has it starts a run."""
    devices: Count | None = None
    """How many of ``device``; by default one."""
    ranks: Count | None = None
    """Processes; by default one per GPU, and one on a CPU."""
    watchdog_seconds: Positive = 900.0
    """A run that finishes no step for so long is ended."""
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
        """This with other values of some fields; those of ``keep`` one by one. Raises ``ValidationError``."""
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
        if self.device is not None and (self.ranks or 1) > (self.devices or 1):
            raise ValueError(
                f"ranks {self.ranks} on devices {self.devices or 1}: a rank has a GPU of its own; raise devices, or "
                "lower ranks"
            )
        return self


def _off(value: Any) -> Any:
    # YAML reads ``off`` as false.
    return "off" if value is False else value


class TrackingSpec(Spec):
    """What is told of a run while it goes on, beside its metrics. W&B's key comes from the environment only."""

    wandb: Annotated[
        Literal["off", "offline", "online"],
        BeforeValidator(_off, json_schema_input_type=Literal["off", "offline", "online", False]),
    ] = "off"
    """Weights & Biases: not at all, into files of this machine, or to its server."""
    project: str = "pedigree"
    """The project in Weights & Biases."""
    callbacks: ChosenCallbacks = Field(default_factory=dict)
    """What happens beside training, more than every run has: kind → settings."""

    @property
    def plugins(self) -> tuple[str, ...]:
        """The plug-ins that bring the callbacks; no code digest names them."""
        return tuple(sorted({plugin for kind in self.callbacks if (plugin := CALLBACKS.plugin(kind))}))
