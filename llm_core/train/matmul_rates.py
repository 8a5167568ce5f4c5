"""The speed of matrix products on this machine, in fp32 and in bf16.

A separate process measures it (``python -m llm_core.train.matmul_rates cpu``), so the caller imports no torch and uses
no GPU memory. The store caches the result by device and library.
"""

import json
import os
import platform
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from llm_core.errors import PedigreeError
from llm_core.store.files import write_atomically
from llm_core.store.home import pedigree_home

SETTINGS = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS")
"""Environment variables that select CPU instructions."""

LONG_ENOUGH = 0.002
"""Seconds. A product that takes longer is measured precisely, and no larger one is tried. At 0.1 GFLOP/s, the smallest
product takes 5 ms."""

ROUNDS = 2
PATIENCE = 0.008
"""Seconds per round for all repeats of a product."""

SIZES = {"cpu": (64, 128, 256, 512)}
GPU_SIZES = (512, 1024, 2048, 4096, 8192)
REPEATS = 8
TIMEOUT = 120.0
"""Seconds; on a busy machine, importing torch takes most of them."""


@dataclass(frozen=True)
class MatmulRates:
    """FLOP/s of matrix products, on one CPU core or one GPU."""

    fp32: float
    bf16: float


def measured_rates(kind: str, device: str) -> MatmulRates:
    """The rates of this machine's ``device``, measured or from the cache. ``kind``: a device type.

    Raises ``PedigreeError`` when they can't be measured.
    """
    key = _key(kind, device)
    cache = pedigree_home() / "store" / "stamps" / "rates" / f"{_digest(json.dumps(key))}.json"
    with suppress(OSError, ValueError, KeyError, TypeError):
        known = json.loads(cache.read_bytes())
        if known["of"] == key:
            return MatmulRates(**known["rates"])
    rates = _measured_in_process(kind)
    with suppress(OSError):  # without the cache, the next call measures again
        write_atomically(cache, json.dumps({"of": key, "rates": asdict(rates)}).encode())
    return rates


def _key(kind: str, device: str) -> dict[str, Any]:
    try:
        torch = version("torch")
    except PackageNotFoundError:
        raise PedigreeError("torch is not installed") from None
    settings = {name: os.environ.get(name) for name in SETTINGS}
    return {"kind": kind, "device": device, "cpu": cpu_model(), "torch": torch, **settings}


def cpu_model() -> str:
    """The name of this machine's CPU, and a digest of its instruction sets, of which virtual machines hide some."""
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n\n")[0].splitlines()
        fields = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        flags = fields.get("flags", fields.get("Features", ""))
        return f"{fields.get('model name', platform.machine())} {_digest(flags)}"
    return f"{platform.machine()} {platform.processor()}"


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:16]


def _measured_in_process(kind: str) -> MatmulRates:
    command = [sys.executable, "-m", "llm_core.train.matmul_rates", kind]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=True)
        return MatmulRates(**json.loads(done.stdout))
    except subprocess.CalledProcessError as error:
        reason = (error.stderr.strip().splitlines() or [f"exit code {error.returncode}"])[-1]
    except (OSError, ValueError, TypeError, subprocess.TimeoutExpired) as error:
        reason = str(error)
    raise PedigreeError(f"the speed of matrix products could not be measured: {reason}")


def measure(kind: str) -> MatmulRates:
    """Time products of square matrices in this process. Takes about 50 ms."""
    import torch

    # One thread: on a busy machine, threads wait for each other, which distorts the comparison.
    torch.set_num_threads(1)
    rates = {"fp32": 0.0, "bf16": 0.0}
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)) * ROUNDS:
        for size in SIZES.get(kind, GPU_SIZES):
            a, b = (torch.randn(size, size, device=kind).to(dtype) for _ in range(2))
            seconds = _fastest(a, b)
            rates[name] = max(rates[name], 2 * size**3 / seconds)
            if seconds > LONG_ENOUGH:
                break
    return MatmulRates(**rates)


def _fastest(a: Any, b: Any) -> float:
    """Seconds of the fastest of several products: slower ones waited for a busy processor."""
    times: list[float] = []
    while len(times) < REPEATS and sum(times) < PATIENCE:
        started = time.perf_counter()
        (a @ b)[0, 0].item()  # waits for the GPU
        times.append(time.perf_counter() - started)
    return min(times)


if __name__ == "__main__":
    print(json.dumps(asdict(measure(sys.argv[1]))))
