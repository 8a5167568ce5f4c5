"""Reading a prompt and writing tokens, beside ``transformers.generate`` and llama.cpp with the same weights.

    python -m benchmarks.generation [--repeats 7]

Models with random weights, exported by ``pedigree export``'s functions and loaded by ``transformers`` and, where it is
installed, by llama.cpp (llama-cpp-python); greedy, fp32, one thread. Times are seconds of processor time, which other
programs on the machine hardly change; all are measured in turn, and the ratios are medians over the repeats. Prints
Markdown tables.
"""

import argparse
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
import transformers
from torch import Tensor

from benchmarks.generation_llama import LlamaCpp
from llm_core.experiment.model import ModelSpec
from llm_core.extras import is_installed
from llm_core.model.build import build_model
from llm_core.model.decoder import Decoder
from llm_core.model.decoding_layout import lay_out_for_decoding
from llm_core.model.generate import Sampling, generate
from llm_core.model.hf.exporting import export_folder
from llm_core.model.state import new_state
from llm_core.serve.engine import Engine
from llm_core.serve.request import End, Request
from llm_core.serve.text import TextStream

PROMPT, NEW = 128, 33
BATCHES = (1, 8)
REQUESTS = 8
SHAPES = {
    "tiny": (256, 3, 4, 704, 4096),
    "40M": (512, 12, 8, 1408, 16384),
}
"""Width, layers, query heads (half as many key heads), hidden width, vocabulary."""


class Times(NamedTuple):
    """Seconds of reading the prompts and choosing one token, and of each token after it."""

    prefill: float
    decode: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    others = ["transformers", "llama.cpp"] if is_installed("llama_cpp") else ["transformers"]
    beside = " | ".join(f"× {other}" for other in others)
    print(
        f"| model | batch | prefill, tokens/s | {beside} | decode, tokens/s | {beside} "
        "| × own, not laid out | state, bytes per token | of transformers |"
    )
    print("|---" * (7 + 2 * len(others)) + "|")
    served = []
    for name, shape in SHAPES.items():
        plain, ours, theirs = models(*shape)
        for batch in BATCHES:
            prompts = torch.randint(1, shape[-1], (batch, PROMPT), generator=torch.Generator().manual_seed(batch))
            writers: dict[str, Callable[[int], list[list[int]]]] = {
                "ours": partial(write, ours, prompts),
                "plain": partial(write, plain, prompts),
                "transformers": partial(write_theirs, theirs, prompts),
            }
            if "llama.cpp" in others:
                writers["llama.cpp"] = partial(LlamaCpp(plain, batch, PROMPT + NEW).write, prompts)
            written = [writer(NEW) for writer in writers.values()]
            assert all(rows == written[0] for rows in written), "all write the same tokens"
            found: dict[str, list[Times]] = {writer: [] for writer in writers}
            for _ in range(repeats):
                for writer, function in writers.items():
                    found[writer].append(measured(function))
            own = Times(*(statistics.median(values) for values in zip(*found["ours"], strict=True)))
            cells = [
                f"{batch * PROMPT / own.prefill:,.0f}",
                *(ratio(found[other], found["ours"], "prefill") for other in others),
                f"{batch / own.decode:,.0f}",
                *(ratio(found[other], found["ours"], "decode") for other in others),
                ratio(found["plain"], found["ours"], "decode"),
                f"{state_bytes(ours, prompts):,}",
                f"{their_state_bytes(theirs, prompts):,}",
            ]
            print(f"| {name} | {batch} | {' | '.join(cells)} |", flush=True)
        served.append((name, [engine_gain(ours, shape[-1]) for _ in range(repeats)]))
    print(f"\n| model | {REQUESTS} requests together, × one after another |\n|---|---|")
    for name, gains in served:
        print(f"| {name} | {statistics.median(gains):.2f} ({min(gains):.2f} to {max(gains):.2f}) |")


def models(d_model: int, n_layers: int, heads: int, d_ff: int, vocabulary: int) -> tuple[Decoder, Decoder, Any]:
    """Ours, ours laid out, and that of ``transformers``."""
    spec = ModelSpec.model_validate({
        "d_model": d_model,
        "n_layers": n_layers,
        "mixer": {"kind": "attention", "n_heads": heads, "n_kv_heads": heads // 2, "qk_norm": True},
        "feed_forward": {"kind": "swiglu", "d_ff": d_ff},
    })  # fmt: skip
    plain, laid_out = (
        build_model(spec, vocabulary, generator=torch.Generator().manual_seed(0)).eval() for _ in range(2)
    )
    lay_out_for_decoding(laid_out)
    with tempfile.TemporaryDirectory(prefix="generation_") as folder:
        export_folder(plain, Path(folder), sequence_length=1024)
        theirs = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    return plain, laid_out, theirs


def write(model: Decoder, prompts: Tensor, new: int) -> list[list[int]]:
    return generate(model, prompts, Sampling(new))


@torch.inference_mode()
def write_theirs(model: Any, prompts: Tensor, new: int) -> list[list[int]]:
    rows = model.generate(prompts, max_new_tokens=new, min_new_tokens=new, do_sample=False, pad_token_id=0)
    tokens: list[list[int]] = rows[:, prompts.shape[1] :].tolist()
    return tokens


def measured(function: Callable[[int], Any]) -> Times:
    first, whole = seconds(lambda: function(1)), seconds(lambda: function(NEW))
    return Times(first, (whole - first) / (NEW - 1))


def seconds(function: Callable[[], Any]) -> float:
    start = time.process_time()
    function()
    return time.process_time() - start


def ratio(others: list[Times], own: list[Times], part: str) -> str:
    """The median, and the smallest and the largest."""
    found = [getattr(other, part) / getattr(mine, part) for other, mine in zip(others, own, strict=True)]
    return f"{statistics.median(found):.2f} ({min(found):.2f} to {max(found):.2f})"


@torch.inference_mode()
def state_bytes(model: Decoder, prompts: Tensor) -> int:
    """Bytes of a state with room for the prompts, per token."""
    state = new_state(model, *prompts.shape)
    tensors = [value for layer in state.layers for value in vars(layer).values() if isinstance(value, Tensor)]
    return sum(tensor.nbytes for tensor in tensors) // prompts.numel()


@torch.inference_mode()
def their_state_bytes(model: Any, prompts: Tensor) -> int:
    cache = model(prompts, use_cache=True).past_key_values
    return sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers) // prompts.numel()


def engine_gain(model: Decoder, vocabulary: int) -> float:
    """The time of requests that come one after another, over that of the same requests at once."""
    chance = torch.Generator().manual_seed(1)
    prompts = [torch.randint(1, vocabulary, (8,), generator=chance).tolist() for _ in range(REQUESTS)]
    engine = Engine(model)

    def ask(prompt: list[int]) -> threading.Event:
        done = threading.Event()
        text = TextStream(lambda ids: "x" * len(ids))
        engine.submit(Request(prompt, Sampling(NEW), 0, text, lambda event: isinstance(event, End) and done.set()))
        return done

    alone = seconds(lambda: [ask(prompt).wait() for prompt in prompts])
    together = seconds(lambda: [done.wait() for done in [ask(prompt) for prompt in prompts]])
    engine.close()
    return alone / together


if __name__ == "__main__":
    main()
