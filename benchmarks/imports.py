"""Models of ``transformers`` here, and ours there: how far apart the logits are, architecture by architecture.

    python -m benchmarks.imports [MODEL_TYPE …]

Prints a Markdown table of the cases in ``tests/model/hf/parity.py``. Weights are random and large, so that every part
of an architecture shows in the logits; everything is fp32.
"""

import argparse
import tempfile
from pathlib import Path

import torch

from llm_core.registries import HF_FAMILIES
from tests.model.hf.parity import CASES, parity


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", metavar="MODEL_TYPE", choices=[[], *HF_FAMILIES], help="default: all")
    kinds = parser.parse_args().kinds or list(HF_FAMILIES)
    torch.set_num_threads(1)
    differences = "their weights here | our weights there | std of logits"
    print(f"| architecture | `model_type` | {differences} | greedy tokens | there and back |")
    print("|---|---|---:|---:|---:|---|---|")
    for case in CASES:
        if case.kind not in kinds:
            continue
        with tempfile.TemporaryDirectory() as folder:
            found = parity(case, Path(folder))
        answers = " | ".join("equal" if yes else "DIFFERENT" for yes in (found.greedy, found.returned))
        apart = f"{found.imported:.1e} | {found.exported:.1e} | {found.spread:.1f}"
        print(f"| {case.name} | `{case.kind}` | {apart} | {answers} |", flush=True)


if __name__ == "__main__":
    main()
