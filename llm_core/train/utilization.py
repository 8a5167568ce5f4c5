"""How a run uses its machine: device, peak memory, and model FLOPs utilisation."""

import platform
import resource
import sys
from typing import TYPE_CHECKING

from llm_core.experiment.model import ModelSpec
from llm_core.model.accounting import flops_per_token
from llm_core.runtime_only import runtime_only
from llm_core.train.hardware import peak_flops

if TYPE_CHECKING:  # the checks of a finished run import this module without torch
    import torch


def device_name(device: "torch.device") -> str:
    """The product name of the device."""
    if device.type != "cuda":
        return f"CPU ({platform.machine()})"
    from torch.cuda import get_device_name

    return str(get_device_name(device))


def peak_memory(device: "torch.device") -> float:
    """Peak bytes of memory of this process: on the GPU, or in main memory when it trains on a CPU."""
    if device.type == "cuda":
        from torch.cuda import max_memory_allocated

        return float(max_memory_allocated(device))
    unit = 1 if sys.platform == "darwin" else 1024
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)


@runtime_only("a speed, which is volatile")
def mfu(
    model: ModelSpec, vocab_size: int, sequence_length: int, tokens_per_second: float, device: str, ranks: int
) -> float | None:
    """Model FLOPs utilisation: the FLOP/s of ``flops_per_token``, divided by the bf16 peak of all devices.

    None where the peak is not known, as on a CPU.
    """
    peak = peak_flops(device)
    if peak is None:
        return None
    return tokens_per_second * flops_per_token(model, vocab_size, sequence_length) / (peak * ranks)
