"""The stage ``tokenizer``: trains or imports one, and reports how well it fits the text."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from llm_core.errors import PedigreeError
from llm_core.experiment.cleaning import TextForm
from llm_core.experiment.evaluation import ChecksSpec
from llm_core.experiment.tokens import TokenizerSpec
from llm_core.graph.job import Job
from llm_core.graph.part import InputFile, PartTask
from llm_core.graph.stage import Verdict
from llm_core.tokens.compare import Usage, measured, usage
from llm_core.tokens.encoders import fastest_encoder
from llm_core.tokens.importing import import_tokenizer, read_vocabulary
from llm_core.tokens.learn import train_tokenizer
from llm_core.tokens.prompt_form import write_form
from llm_core.tokens.results import TrainedTokenizer
from llm_core.tokens.sample import Sampled, key_tasks, limit, size_up_to, texts_up_to
from llm_core.tokens.tokenizer import learned_entries, special_tokens, unknown_id, vocabulary_size

OWN = "this one"

_LISTED = 30
# Text that the report measures on: enough for three digits, and fast with the slowest encoder.
_MEASURED_BYTES = 4 << 20


def parts(
    inputs: Mapping[str, Sequence[InputFile]],
    tokenizer: TokenizerSpec,  # noqa: ARG001
    form: TextForm,  # noqa: ARG001
) -> list[PartTask]:
    """One task per part of both splits; it writes the keys by which the sample is chosen."""
    return [*key_tasks(inputs["documents"], "train"), *key_tasks(inputs["documents"], "heldout")]


def build(job: Job, tokenizer: TokenizerSpec, form: TextForm) -> TrainedTokenizer:
    """Write ``tokenizer.json``, ``report.json``, and the normaliser that brings prompts into the ``form`` of documents.

    The report measures on 4 MiB of the training sample and on 4 MiB of held-out documents, with an equal part from each
    source (or on all text if there is less).
    """
    tasks = parts(job.files(), tokenizer, form)
    made = job.map(tasks, link=False)
    documents = [task.inputs["documents"] for task in tasks]
    keyed = [
        (file.name.split("/")[0], Sampled(part.stats["source"], file.path, part.folder / "keys.npy"))
        for file, part in zip(documents, made, strict=True)
        if part.stats["documents"]
    ]
    train = [part for split, part in keyed if split == "train"]
    heldout = [part for split, part in keyed if split == "heldout"]
    if not train:
        raise PedigreeError("tokenizer: the training split has no documents; use more text, or a milder cleaning")
    if tokenizer.kind == "imported":
        trained, sample = import_tokenizer(tokenizer).tokenizer(), (0, 0)
    else:
        highest = limit(train, tokenizer.sample_bytes)
        trained, sample = _trained(texts_up_to(train, highest), tokenizer), size_up_to(train, highest)
    path = job.out / "tokenizer.json"
    trained.save(str(path))
    write_form(job.out, form)
    job.runtime.log(f"{job.stage}: measuring with {fastest_encoder(path).name}")
    seen = usage(fastest_encoder(path), texts_up_to(train, limit(train, min(_MEASURED_BYTES, tokenizer.sample_bytes))))
    rows, unseen = _compared(job, path, vocabulary_size(trained), heldout, tokenizer)
    results = _results(trained, tokenizer, sample, seen, unseen)
    report = {**results.model_dump(), "vocabularies": rows, **_lists(trained, tokenizer, seen)}
    (job.out / "report.json").write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return results


def _trained(texts: Iterable[str], spec: TokenizerSpec) -> Tokenizer:
    trained = train_tokenizer(texts, spec)
    vocab_size = trained.get_vocab_size()
    if vocab_size > spec.vocab_size:
        raise PedigreeError(
            f"tokenizer.vocab_size: special tokens and bytes alone make {vocab_size} entries, more than "
            f"{spec.vocab_size}; raise vocab_size"
        )
    return trained


def _compared(
    job: Job, path: Path, vocab_size: int, heldout: list[Sampled], spec: TokenizerSpec
) -> tuple[list[dict[str, object]], Usage]:
    """(the rows of the comparison, this tokenizer's first; its token counts of the held-out text)."""
    sources = sorted({part.source for part in heldout})
    texts = {}
    for source in sources:
        own = [part for part in heldout if part.source == source]
        texts[source] = list(texts_up_to(own, limit(own, _MEASURED_BYTES // len(sources))))
    row, unseen = measured(OWN, vocab_size, fastest_encoder(path), texts)
    rows = [row]
    for name, vocabulary in sorted(spec.compare.items()):
        other = read_vocabulary(vocabulary).tokenizer()
        file = job.work / f"compared-{len(rows)}.json"
        other.save(str(file))
        rows.append(measured(name, vocabulary_size(other), fastest_encoder(file), texts)[0])
    return rows, unseen


def _results(
    tokenizer: Tokenizer, spec: TokenizerSpec, sample: tuple[int, int], seen: Usage, unseen: Usage
) -> TrainedTokenizer:
    unknown = unknown_id(tokenizer)
    unknowns = int(unseen.counts[unknown]) if unknown is not None and unknown < len(unseen.counts) else 0
    return TrainedTokenizer(
        kind=spec.kind,
        vocab_size=vocabulary_size(tokenizer),
        vocab_size_asked=spec.vocab_size,
        learned_entries=len(learned_entries(tokenizer)),
        sample_documents=sample[0],
        sample_bytes=sample[1],
        bytes_per_token=seen.bytes_per_token,
        heldout_documents=unseen.documents,
        heldout_bytes=unseen.bytes,
        heldout_bytes_per_token=unseen.bytes_per_token,
        unk_rate=unknowns / unseen.tokens if unseen.tokens else 0.0,
    )


def _lists(tokenizer: Tokenizer, spec: TokenizerSpec, seen: Usage) -> dict[str, Any]:
    """Examples of entries, for people to look at."""
    lengths = {number: len(name) for name, number in tokenizer.get_vocab().items()}
    longest = sorted(learned_entries(tokenizer), key=lambda number: (-lengths[number], number))
    most_used = np.argsort(-seen.counts, kind="stable").tolist()

    def listed(numbers: list[int]) -> list[str]:
        return [tokenizer.decode([number], skip_special_tokens=False) for number in numbers[:_LISTED]]

    names = spec.special_tokens if spec.kind == "imported" else special_tokens(spec)
    return {
        "special_tokens": {token: tokenizer.token_to_id(token) for token in names},
        "longest_entries": listed(longest),
        "most_used_entries": listed(most_used),
    }


def unk_rate(results: TrainedTokenizer, bounds: ChecksSpec) -> Verdict:
    """Hardly a held-out token is unknown."""
    return Verdict(
        results.unk_rate <= bounds.max_unk_rate,
        f"{results.unk_rate:.4%} of the held-out tokens are unknown; at most {bounds.max_unk_rate:.2%} may be",
        value=results.unk_rate,
        bound=bounds.max_unk_rate,
    )


def vocabulary_reached(results: TrainedTokenizer, bounds: ChecksSpec) -> Verdict:
    """The vocabulary has the size that was asked for. An imported one has as many entries as it has."""
    del bounds
    asked, reached = results.vocab_size_asked, results.vocab_size
    told = "" if reached == asked else ": the sample has no more repeated pairs; use more text or a smaller vocabulary"
    if results.kind == "imported":
        told = ": an imported vocabulary has as many as it has, and the model's rows above them stay unused"
    return Verdict(
        reached == asked or results.kind == "imported",
        f"{reached} entries of the {asked} asked for{told}",
        value=reached,
        bound=asked,
    )
