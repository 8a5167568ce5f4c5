"""A stand-in for an Apple GPU: torch's functions for one, while tensors are on the CPU."""

import platform
import re
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import torchgen
from torch.utils._python_dispatch import TorchDispatchMode

from llm_core.model import backends
from llm_core.train import distribution
from llm_core.train.devices.cuda import CUDA
from llm_core.train.devices.mps import Mps

NAME, MEMORY = "Apple M9", 20 * 10**9


class Metal:
    """``held``: bytes that Metal has handed out; ``releases``: how often the cache was emptied; ``waits``: how often
    the host waited for the device."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, macos: int = 14) -> None:
        self.held, self.releases, self.waits = 100, 0, 0
        self.type = Mps()
        monkeypatch.setattr(sys, "platform", "darwin")
        monkeypatch.setattr(platform, "machine", lambda: "arm64")
        monkeypatch.setattr(CUDA, "count", lambda: 0)
        functions: list[tuple[Any, str, Any]] = [
            (torch.backends.mps, "is_available", lambda: True),
            (torch.backends.mps, "is_macos_or_newer", lambda major, _minor: macos >= major),
            (torch.backends.mps, "get_name", lambda: NAME),
            (torch.mps, "recommended_max_memory", lambda: MEMORY),
            (torch.mps, "driver_allocated_memory", lambda: self.held),
            (torch.mps, "empty_cache", self.release),
            (torch.mps, "synchronize", self.wait),
        ]
        for module, name, function in functions:
            monkeypatch.setattr(module, name, function)

    def release(self) -> None:
        self.releases += 1
        self.held = 50

    def wait(self) -> None:
        self.waits += 1

    def train_on_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """From here on, the trainer does with the CPU's tensors what it does with those of an Apple GPU."""
        monkeypatch.setattr(distribution, "device_type", lambda _: self.type)
        monkeypatch.setattr(backends, "_SDPA_DEVICES", ("cuda",))


class Operators(TorchDispatchMode):
    """Notes which operators run, and which of them make fp64."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()
        self.wide: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        name = func.name().removeprefix("aten::")
        self.seen.add(name)
        for tensor in made if isinstance(made, tuple | list) else [made]:
            if isinstance(tensor, torch.Tensor) and tensor.dtype == torch.float64:
                self.wide.add(name)
        return made


@cache
def operators_of_torch() -> dict[str, str]:
    """Name of an operator → its entry in torch's table of kernels."""
    table = Path(torchgen.__file__).parent / "packaged" / "ATen" / "native" / "native_functions.yaml"
    entries = re.split(r"^- func: ", table.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    return {entry.partition("(")[0]: entry for entry in entries}


def runs_on_metal(name: str) -> bool:
    """Whether an operator of torch has a Metal kernel, or is made of others; true for operators of this project."""
    if "::" in name:
        return True
    entry = operators_of_torch()[name]
    if delegate := re.search(r"structured_delegate: (\S+)", entry):
        entry = operators_of_torch()[delegate[1]]
    if "dispatch:" not in entry:
        return True
    keys = re.findall(r"^    ([\w, ]+):", entry.partition("dispatch:")[2], re.MULTILINE)
    return bool(re.search(r"\bMPS\b|CompositeExplicitAutograd|CompositeImplicitAutograd", " ".join(keys)))
