"""The sections about how good the model is: the headline, all scores, and samples."""

from collections.abc import Mapping
from typing import Any

from llm_core.evals.scores import interval
from llm_core.graph.job import Job
from llm_core.report import facts, read, training_plots
from llm_core.report.blocks import (
    Block,
    Card,
    Cards,
    Facts,
    Heading,
    Marked,
    Row,
    Section,
    Table,
    Tile,
    Tiles,
    note,
    text,
    warning,
)
from llm_core.report.formatting import NONE, bounds, count, exact, in_bytes, percent, short, signed
from llm_core.report.sections.made import failed_checks
from llm_core.report.sections.suites import METRICS, decides, written

OURS = "heldout"
NAMES = {
    OURS: "held-out text, this model",
    "baseline_unigram": "held-out text, unigram tokens",
    "baseline_xz": "held-out text, xz",
    "continuation": "real continuation, this model",
    "baseline_overlap": "real continuation, shared letters",
}


def results(job: Job, headline: Mapping[str, Any]) -> Section:
    """The headline numbers, and bits per byte beside the baselines."""
    scores, gain = read.evaluated(job.inputs), headline["below_unigram"]
    spread = headline["bits_per_byte_interval"]
    likely = f"{bounds(spread, '{:.3f}'.format)} (95%), " if spread else ""
    beside = f"{percent(abs(gain))} {'below' if gain >= 0 else 'above'} unigram tokens"
    parameters, tokens = headline["parameters"], headline["tokens"]
    tiles = (
        Tile("Bits per byte", f"{headline['bits_per_byte']:.3f}", likely + beside),
        Tile("Parameters", short(parameters), exact(parameters)),
        *([Tile("Training tokens", short(tokens), f"{tokens / parameters:.2g} per parameter")] if tokens else []),
    )
    how = note(
        f"All numbers are over the same {exact(scores.documents)} held-out documents ({in_bytes(scores.heldout_bytes)} "
        "of UTF-8 text). Lower is better. No end-of-text token is counted. xz (", Marked("xz -9e", "code"),
        ") compresses the joined texts. The unigram model knows only how often each token occurs in the training text.",
    )  # fmt: skip
    blocks: list[Block] = [Tiles(tiles), training_plots.bits_per_byte(headline), how]
    return Section("Results", [*failures(job), *blocks])


def failures(job: Job) -> list[Block]:
    """A warning that checks failed, if any did."""
    failed, count = failed_checks(job.inputs)
    return [warning(f"{failed} of {count} checks failed: see ", Marked("checks", "a"), ".")] if failed else []


def evaluation(job: Job, headline: Mapping[str, Any]) -> Section:
    """All scores."""
    rows, judged = [], read.SUITE_SIGNAL in job.inputs
    for line in facts.json_lines(job.inputs[read.EVALUATED].path / "evals.jsonl"):
        told, chance = written(line["metric"]), line["chance"]
        cells = (
            NAMES.get(line["task"], line["task"]),
            METRICS.get(line["metric"], line["metric"]),
            told(line["value"]),
            bounds(interval(line), told),
            NONE if chance is None else told(chance),
            exact(line["n"]),
            *([decides(job.inputs, line["task"], line["metric"]) or NONE] if judged else []),
        )
        rows.append(Row(cells, "ours" if line["task"] == OURS else ""))
    suites = read.evaluated(job.inputs).suites
    units = "documents; in suites from files, paradigms where there are any, else items" if suites else "documents"
    shots = [
        note(
            f"{name}: {found['few_shot']} solved items before each question; "
            f"{exact(found['prompts_shortened'])} of {exact(found['items'])} prompts had room for fewer."
        )
        for name, found in suites.items()
        if "few_shot" in found
    ] + [
        note(
            f"{name}: {exact(found['chat_prompts_cut'])} of {exact(found['items'])} prompts are too long for the model "
            "and lose the beginning of the chat template."
        )
        for name, found in suites.items()
        if found.get("chat_prompts_cut")
    ]
    groups = [
        Facts(
            [
                (group, f"{percent(value)} ({bounds(found['intervals_by_group'][group], percent)})")
                for group, value in found["accuracy_by_group"].items()
            ],
            f"{name}: by group, with 95% intervals",
        )
        for name, found in suites.items()
        if "accuracy_by_group" in found
    ]
    columns = (
        "Task",
        "Metric",
        "Value",
        "95% interval",
        "Chance",
        "Items",
        *(["Decides in the study"] if judged else []),
    )
    how = note(
        f"Each question shows the beginning of a passage and {round(1 / headline['chance'])} continuations of equal "
        "length. One of them is the real one. The others are real continuations of other documents, chosen because "
        "they share many letters with the passage. The model chooses the continuation that gains most from the "
        "passage: log p(continuation | passage) − log p(continuation). “By likelihood alone” chooses the one with the "
        "fewest bits per byte, which mostly measures how common a text is. “Shared letters” is not a model: it chooses "
        "the continuation with the most trigrams of characters that also occur in the passage."
    )
    return Section(
        "Evaluation",
        [
            text(f"Held-out documents, on which no run was trained. What the intervals count as independent: {units}."),
            Table(columns, rows, names=2),
            *_centred(read.evaluated(job.inputs).centred),
            *shots,
            *groups,
            training_plots.accuracy(headline),
            how,
        ],
    )


def _centred(found: Mapping[str, Any] | None) -> list[Block]:
    if found is None:
        return []
    tasks = found["tasks"]
    spread = "" if found["low"] is None else f" (95%: {_signed(found['low'])} to {_signed(found['high'])})"
    return [
        text(
            f"Centred score over the {count(len(tasks), 'task')} here ({', '.join(tasks)}): "
            f"{_signed(found['value'])}{spread}."
        ),
        note(
            "The mean over the tasks of (accuracy − chance) / (1 − chance): 0% is chance, and 100% every answer right. "
            "DCLM's CORE (Li et al., 2024) is computed so, but over tasks of its own, so the two are not comparable."
        ),
    ]


def _signed(share: float) -> str:
    return f"{signed(100 * share, 1)}%"


def samples(job: Job) -> Section:
    """The generations by prompt and temperature."""
    prompts: dict[str, list[Card]] = {}
    for row in facts.json_lines(job.inputs["generation_samples"].path / "samples.jsonl"):
        head = f"temperature {float(row['temperature'])} · {row['tokens']} tokens"
        card = Card(head, (Marked(row["prompt"], "b"), row["text"]))
        prompts.setdefault(row["prompt"], []).append(card)
    blocks: list[Block] = [text("How the model continues each prompt. A higher temperature takes more risks.")]
    for prompt, cards in prompts.items():
        blocks += [Heading(prompt), Cards(cards)]
    return Section("Samples", blocks)
