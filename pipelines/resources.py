"""What a run needs, but no result depends on: the store, the machines, consent, tracking."""

from pathlib import Path
from typing import Any, Literal

import dagster as dg

from llm_core.experiment.runtime import AskSpec, ComputeSpec, TrackingSpec
from llm_core.store.home import pedigree_home
from llm_core.store.store import Store


class StoreResource(dg.ConfigurableResource):
    """The artifact store; below ``PEDIGREE_HOME`` unless ``root`` is set."""

    root: str | None = None

    def open(self) -> Store:
        """The store."""
        return Store(Path(self.root).expanduser().resolve() if self.root else pedigree_home() / "store")


class KeepConfig(dg.Config):
    """Which checkpoints are kept; as ``compute.keep``."""

    last: int
    best: int
    every: int | None


class DeviceConfig(dg.Config):
    """A kind of GPU; as ``compute.device``."""

    name: str
    memory_gb: float
    tflops_bf16: float
    tflops_fp32: float | None
    compute_capability: float


class AskConfig(dg.Config):
    """The cost above which a run needs consent; as ``compute.ask_above``."""

    hours: float | None
    dollars: float | None


class ComputeResource(dg.ConfigurableResource):
    """The machines of a run. Fields and defaults are those of the experiment's section ``compute``."""

    workers: int | None
    map: Literal["local", "ray"]
    ray_address: str | None
    target: dict[str, Any]
    device: DeviceConfig | None
    devices: int | None
    ranks: int | None
    device_type: str
    parallel: Literal["ddp", "fsdp2"]
    micro_batch: int
    compile: bool
    attention_backend: Literal["auto", "sdpa", "flex", "varlen", "eager"]
    activation_checkpointing: Literal["none", "full", "every_nth", "selective"]
    activation_checkpointing_every: int | None
    reshard_after_forward: Literal["auto", "always", "never"]
    checkpoint_every: int
    keep: KeepConfig
    watchdog_seconds: float
    price_per_gpu_hour: float
    expert_products: Literal["grouped", "looped"]
    expected_mfu: float
    ask_above: AskConfig

    @classmethod
    def of(cls, compute: ComputeSpec) -> "ComputeResource":
        """The resource whose defaults are ``compute``."""
        asked = compute.ask_above or AskSpec(hours=None, dollars=None)
        return cls(**{**compute.model_dump(), "ask_above": asked.model_dump()})

    def spec(self) -> ComputeSpec:
        """The checked section."""
        fields = {name: getattr(self, name) for name in ComputeSpec.model_fields}
        nested = {
            "keep": self.keep.model_dump(),
            "device": None if self.device is None else self.device.model_dump(),
            "ask_above": self.ask_above.model_dump(),
        }
        return ComputeSpec.model_validate({**fields, **nested})


class ConsentResource(dg.ConfigurableResource):
    """Consent for one run, given in the Launchpad: train again where only the code changed, whatever it costs.

    It is a separate resource, because the configuration of a run replaces that of a resource as a whole. The field is
    not called ``yes``, because YAML reads that as true.
    """

    agreed: bool = False


class TrackingResource(dg.ConfigurableResource):
    """The tracking of a run. Fields as in the section ``tracking``. The key of W&B comes only from the environment."""

    wandb: Literal["off", "offline", "online"]
    project: str
    callbacks: dict[str, dict[str, Any]]

    def spec(self) -> TrackingSpec:
        """The checked section."""
        return TrackingSpec.model_validate({name: getattr(self, name) for name in TrackingSpec.model_fields})
