"""The stage ``generation_samples``: texts that the model generates, for people to read."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from tokenizers import Tokenizer

from llm_core.errors import PedigreeError
from llm_core.evals.results import GenerationSamples
from llm_core.experiment.evaluation import SamplingSpec
from llm_core.experiment.model import ModelSpec
from llm_core.graph.job import Job
from llm_core.model.files import check_model, load_model
from llm_core.model.generate import Sampling, generate
from llm_core.tokens.prompts import prompt_tokenizer
from llm_core.tokens.tokenizer import end_of_text, vocabulary_size

SAMPLES = "samples.jsonl"


def build(job: Job, sampling: SamplingSpec, model: ModelSpec, seed: int) -> GenerationSamples:
    """One sample for every prompt and temperature; rows {prompt, temperature, text, tokens, seed}.

    Runs on the CPU, in fp32 and one thread, so that the texts are the same in every run. Each sample has its own random
    generator, so that adding or removing a prompt does not change the other samples.
    """
    folder = job.path("model")
    check_model(folder, model)
    network, info = load_model(folder)
    path = job.path("tokenizer", "tokenizer.json")
    tokenizer = prompt_tokenizer(path)
    eot = end_of_text(tokenizer, path)
    if vocabulary_size(tokenizer) > info["vocab_size"]:
        raise PedigreeError(f"{path}: has {vocabulary_size(tokenizer)} ids, but the model has {info['vocab_size']}")

    expected = len(sampling.prompts) * len(sampling.temperatures)
    steps = len(sampling.prompts) * sampling.max_new_tokens
    done = 0

    def advance() -> None:
        nonlocal done
        done += 1
        job.runtime.progress(done, steps, "tokens")

    rows: list[dict[str, Any]] = []
    ids: list[list[int]] = []
    start = perf_counter()
    with one_thread():
        for prompt in sampling.prompts:
            seeds = [generation_seed(seed, prompt, temperature) for temperature in sampling.temperatures]
            line = prompt_ids(tokenizer, prompt, eot)
            _check_positions(model, prompt, len(line) + sampling.max_new_tokens - 1)
            new = generate(
                network,
                [line] * len(seeds),
                Sampling(
                    sampling.max_new_tokens,
                    sampling.temperatures,
                    sampling.top_k,
                    sampling.top_p,
                    sampling.repetition_penalty,
                    stop=((eot,),),
                ),
                generators=[torch.Generator().manual_seed(value) for value in seeds],
                advance=advance,
            )
            for value, temperature, tokens in zip(seeds, sampling.temperatures, new, strict=True):
                text = tokenizer.decode(tokens, skip_special_tokens=False)
                rows.append(
                    {"prompt": prompt, "temperature": temperature, "text": text, "tokens": len(tokens), "seed": value}
                )
            ids += new
    seconds = perf_counter() - start
    job.runtime.progress(steps, steps, "tokens")
    _write_rows(job.out / SAMPLES, rows)
    return GenerationSamples(
        samples=len(rows),
        expected=expected,
        empty=sum(not tokens for tokens in ids),
        tokens=sum(map(len, ids)),
        tokens_per_second=sum(map(len, ids)) / seconds,
        temperatures={
            f"{temperature:g}": _describe(ids[place :: len(sampling.temperatures)])
            for place, temperature in enumerate(sampling.temperatures)
        },
    )


def _check_positions(model: ModelSpec, prompt: str, tokens: int) -> None:
    longest = model.longest()
    if longest is not None and tokens > longest:
        raise PedigreeError(
            f"sampling: the prompt {prompt!r} and what follows it are {tokens} tokens, and the model can "
            f"read {longest}: set sampling.max_new_tokens {tokens - longest} lower"
        )


def generation_seed(seed: int, prompt: str, temperature: float) -> int:
    """The seed of one sample: a non-negative 63-bit number that depends only on the arguments."""
    digest = sha256(json.dumps([seed, prompt, float(temperature)]).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def prompt_ids(tokenizer: Tokenizer, prompt: str, eot: int) -> list[int]:
    """The ids of a prompt at the beginning of a document: after an end-of-text token, as in training.

    Special tokens that are spelled out in the prompt are ordinary text.
    """
    return [eot, *tokenizer.encode(prompt, add_special_tokens=False).ids]


@contextmanager
def one_thread() -> Iterator[None]:
    """Use one thread, so that sums have the same order on every machine. Restores the number of threads afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _describe(generations: Sequence[Sequence[int]]) -> dict[str, float]:
    """Mean length, and mean share of distinct tokens of non-empty samples (low: the model repeats itself)."""
    shares = [len(set(tokens)) / len(tokens) for tokens in generations if tokens]
    return {
        "mean_tokens": sum(map(len, generations)) / len(generations),
        "distinct_token_share": sum(shares) / len(shares) if shares else 0.0,
    }


def _write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
