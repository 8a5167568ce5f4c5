"""The sections that say where and how a run happens. They change no result and are no part of any identity."""

from typing import Annotated, Literal

from pydantic import Field

from llm_core.experiment.base import Count, Spec

RUNTIME_ONLY = True

Positive = Annotated[float, Field(gt=0)]


class KeepSpec(Spec):
    """Which checkpoints of a run stay; the others are removed once a newer one is whole."""

    last: Count = 2
    """So many of the newest, which a killed run goes on from."""
    best: Annotated[int, Field(ge=0)] = 0
    """So many with the lowest validation loss, among those of steps that were validated."""
    every: Count | None = None
    """Those of all steps that are multiples of this."""


class ComputeSpec(Spec):
    """The machines that make data parts and that train, and how the model is spread over them."""

    workers: Count | None = None
    """Processes that make the parts of data stages; by default one per core."""
    map: Literal["local", "ray"] = "local"
    """Who makes parts: processes of this machine, or a Ray cluster whose nodes all see the store and the sources."""
    ray_address: str | None = None
    """Where the Ray cluster is (``auto``, ``ip:port``); by default a Ray of this machine alone."""
    target: Literal["local", "h100x8"] = "local"
    """``local``: this machine's GPUs, or its CPU. ``h100x8``: one node with eight H100."""
    ranks: Count | None = None
    """Processes; by default one per GPU, and one on a CPU."""
    parallel: Literal["ddp", "fsdp2"] = "ddp"
    micro_batch: Count = 8
    """Sequences a rank holds at once; the rest of a batch is accumulated."""
    compile: bool = False
    activation_checkpointing: bool = False
    checkpoint_every: Count = 100
    """Steps between two checkpoints."""
    keep: KeepSpec = KeepSpec()
    watchdog_seconds: Positive = 900.0
    """A run that finishes no step for so long is ended."""
    price_per_gpu_hour: Annotated[float, Field(ge=0)] = 0.0
    """US dollars."""
    expected_mfu: Annotated[float, Field(gt=0, le=1)] = 0.4


class TrackingSpec(Spec):
    """Weights & Biases. A key comes from the environment only."""

    wandb: Literal["off", "offline", "online"] = "off"
    project: str = "pedigree"
