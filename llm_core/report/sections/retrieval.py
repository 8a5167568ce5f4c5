"""The section about retrieval: how often the right passage is found, and what passages bring."""

from collections.abc import Mapping
from typing import Any

from llm_core.graph.job import Job
from llm_core.report import facts, read
from llm_core.report.blocks import Block, Heading, Section, Table, note, text
from llm_core.report.formatting import NONE, bounds, exact, percent, signed
from llm_core.retrieval.evaluation import CLOSED, GOLD, QUESTIONS, RETRIEVED
from llm_core.retrieval.results import RetrievalEval

NAMES = {
    CLOSED: "without passages",
    GOLD: "with the passage that holds the answer",
    RETRIEVED: "with the passages that the index finds",
}
SHOWN = 3
SHORT = 8
"""Characters of a ``doc_id``. ``pedigree why -d`` takes them."""


def retrieval(job: Job) -> Section | None:
    """The scores with and without passages, recall, and a few questions."""
    if read.RETRIEVAL not in job.inputs:
        return None
    found = job.inputs[read.RETRIEVAL].results(RetrievalEval)
    bits = "{:.3f}".format
    rows = [
        (
            NAMES[task],
            *_both(scores["accuracy"], percent),
            *_both(scores["bits_per_byte"], bits),
            _gain(found.gains.get(task)),
        )
        for task, scores in found.scores.items()
    ]
    no_model = (f"{percent(found.overlap_accuracy)}", bounds(found.overlap_accuracy_interval, percent))
    rows.append(("no model: letters shared with these passages", *no_model, NONE, NONE, NONE))
    columns = ("Questions answered", "Accuracy", "95%", "Bits per byte", "95%", "Change in bits per byte")
    recall = [(f"among the best {k}", *_both(share, percent)) for k, share in found.recall.items()]
    how = note(
        f"{exact(found.questions)} questions from held-out text: a sentence is cut after some words, and the model "
        f"chooses which words follow; chance is {percent(found.chance)}. Bits per byte are those of the right words. "
        f"On average, {found.passages_read:.1f} passages fit into the context. Questions of one document count as a "
        "cluster."
    )
    blocks: list[Block] = [
        text(_said(found)),
        Table(columns, rows, pinned=True),
        Table(("The right passage is", "Questions", "95%"), recall),
        how,
        *_examples(job),
    ]
    return Section("Retrieval", blocks)


def _said(found: RetrievalEval) -> str:
    gain = found.gains[RETRIEVED]["bits_per_byte"]
    value, interval = gain["value"], gain["interval"]
    if interval is None:
        return "All questions come from one document, so nothing can be said about others."
    low, high = interval
    told = f"{abs(value):.3f} bits per byte (95%: {signed(low, 3)} to {signed(high, 3)})"
    if high < 0:
        return f"Passages help this model: the right words cost {told} less."
    if low > 0:
        return f"Passages confuse this model: the right words cost {told} more. Serve it without them."
    return f"Whether passages help this model is undecided: the difference is {told}."


def _gain(gain: Mapping[str, Any] | None) -> str:
    if gain is None:
        return NONE
    value, interval = gain["bits_per_byte"]["value"], gain["bits_per_byte"]["interval"]
    spread = NONE if interval is None else f"{signed(interval[0], 3)} to {signed(interval[1], 3)}"
    return f"{signed(value, 3)} ({spread})"


def _both(told: Mapping[str, Any], wrote: Any) -> tuple[str, str]:
    return wrote(told["value"]), bounds(told["interval"], wrote)


def _examples(job: Job) -> list[Block]:
    lines = facts.json_lines(job.inputs[read.RETRIEVAL].path / QUESTIONS)[:SHOWN]
    rows = [
        (
            f"{line['query']} …",
            line["choices"][line["gold"]].strip(),
            "yes" if line[CLOSED]["correct"] else "no",
            "yes" if line[RETRIEVED]["correct"] else "no",
            ", ".join(document[:SHORT] for document in dict.fromkeys(line["read"])) or NONE,
        )
        for line in lines
    ]
    columns = ("Question", "Right words", "Right without", "Right with", "Documents read")
    return [Heading("The first questions"), Table(columns, rows, names=2)]
