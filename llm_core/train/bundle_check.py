"""Checks a bundle on the machine that trains, before packages are installed: its files, the disk, and the GPUs.

``python -m llm_core.train.bundle_check spec.json --gpus N --disk BYTES``; once torch is installed, with ``--torch``.
This module imports only the standard library. It compares sizes of files; the trainer compares digests at its start.
"""

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

FETCH = "fetch.txt"
"""The file of a bundle that lists the files to copy, and their sources."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Print every problem; returns 0 when there is none."""
    parser = argparse.ArgumentParser(prog="python -m llm_core.train.bundle_check")
    parser.add_argument("spec", type=Path)
    parser.add_argument("--gpus", type=int, default=0, help="the number of GPUs that the run needs")
    parser.add_argument("--disk", type=int, default=0, help="bytes that the run writes to the disk")
    parser.add_argument("--torch", action="store_true", help="count the GPUs that torch sees")
    options = parser.parse_args(arguments)
    spec = json.loads(options.spec.read_bytes())
    folder = options.spec.resolve().parent
    if options.torch:
        wrong = _gpus_of_torch(options.gpus)
    else:
        wrong = [*_inputs(spec, folder), *_disk(folder, folder / spec["work"], options.disk), *_gpus(options.gpus)]
    for line in wrong:
        print(f"error: {line}", file=sys.stderr)
    return 1 if wrong else 0


def _inputs(spec: dict[str, Any], folder: Path) -> list[str]:
    places = {**spec, "tokenizer": spec["tokenizer"] and str(Path(spec["tokenizer"]).parent)}
    wrong = []
    for role, files in spec["bundle"]["inputs"].items():
        paths = {folder / places[role] / name: wanted["size"] for name, wanted in files.items()}
        for path, size in paths.items():
            if not path.is_file():
                wrong.append(f"{path} is missing: {FETCH} says where to copy it from")
            elif path.stat().st_size != size:
                wrong.append(f"{path} has {path.stat().st_size:,} bytes instead of {size:,}: copy it again ({FETCH})")
    return wrong


def _disk(folder: Path, work: Path, needed: int) -> list[str]:
    there = sum(path.stat().st_size for path in work.rglob("*") if path.is_file())
    free = shutil.disk_usage(folder).free
    if free + there >= needed:
        return []
    more = (needed - there - free) / 1e9
    return [
        f"{folder}: {free / 1e9:.1f} GB are free, and checkpoints and weights need {needed / 1e9:.1f} GB: free "
        f"{more:.1f} GB more, or lower compute.keep in the experiment and write the bundle again"
    ]


def _gpus(needed: int) -> list[str]:
    if not needed or shutil.which("nvidia-smi") is None:
        return []  # torch counts them, once it is installed
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False).stdout
    return _too_few(sum(line.startswith("GPU ") for line in listed.splitlines()), needed, "this machine has")


def _gpus_of_torch(needed: int) -> list[str]:
    try:
        import torch
    except ImportError as error:
        return [f"{sys.executable} has no working torch ({error}): install it there, or start run.sh without PYTHON"]
    return _too_few(torch.cuda.device_count(), needed, f"torch {torch.__version__} sees")


def _too_few(there: int, needed: int, who: str) -> list[str]:
    if there >= needed:
        return []
    return [f"{needed} GPUs are needed, and {who} {there}: rent another machine, or start with RANKS={max(there, 1)}"]


if __name__ == "__main__":
    raise SystemExit(main())
