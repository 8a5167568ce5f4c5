"""The section about tuning: what the models learnt from which conversations, and what that changed."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from llm_core.chat.results import Conversations, ConversationShards, MaskGate
from llm_core.evals.preference_results import PreferenceMargins, Score
from llm_core.experiment.chat import BUILT_IN
from llm_core.graph.job import Job
from llm_core.report import read
from llm_core.report.blocks import (
    Block,
    Card,
    Cards,
    Cell,
    Facts,
    Heading,
    Marked,
    Row,
    Section,
    Table,
    note,
    text,
    warning,
)
from llm_core.report.formatting import NONE, count, exact, loss, percent, signed
from llm_core.report.sections.scores import NAMES
from llm_core.report.sections.suites import METRICS, written
from llm_core.science.tuning_comparison import BITS, HELDOUT, TuningComparison

COMPARED, MARGINS = "tuning_comparison", "preference_margins"
FORGOTTEN = {
    "worse": "the model has forgotten some of what it knew",
    "better": "it reads that text better than before",
    "undecided": "chance alone may explain the difference",
}


def tuning(job: Job) -> Section | None:
    """Every tuned model, and its scores beside those of the base model."""
    if COMPARED not in job.inputs:
        return None
    blocks: list[Block] = []
    for model in read.TUNED:
        if model in job.inputs:
            blocks += [Heading(model), *_learnt(job, model.removesuffix("_model"))]
    if MARGINS in job.inputs:
        blocks += [
            Heading("Preferences of held-out pairs"),
            *_preferred(job.inputs[MARGINS].results(PreferenceMargins)),
        ]
    return Section("Tuning", [*blocks, Heading("What tuning changed"), *_changed(job)])


def _learnt(job: Job, name: str) -> list[Block]:
    said = job.inputs[f"{name}_conversations"].results(Conversations)
    shards = job.inputs[f"{name}_shards"].results(ConversationShards)
    gate = job.inputs[f"{name}_mask_gate"].results(MaskGate)
    run = read.run(job.inputs[f"{name}_model"])
    before, after = run.start_validation_loss, run.final_validation_loss
    rows = [
        ("Records read", exact(said.records)),
        ("Conversations", _reasons(said.conversations_by_source)),
        ("Dropped for a fault", _reasons(said.dropped_by_reason)),
        ("Dropped as they contain an eval item", _reasons(said.contaminated_by_suite)),
        ("Turns after the last answer, left out", exact(said.turns_left_out)),
        ("Longer than a sequence, left out", f"{exact(shards.too_long)} ({percent(shards.too_long_share)})"),
        ("Tuned on, held out", f"{exact(shards.train_conversations)}, {exact(shards.heldout_conversations)}"),
        ("Tokens", f"{exact(gate.tokens)}, of which {percent(gate.target_share)} are targets"),
        ("Template", next((name for name, jinja in BUILT_IN.items() if jinja == shards.template), "Jinja")),
    ]
    if shards.persona_repeats:
        repeats = count(shards.persona_repeats, "time")
        rows.append(("Persona", f"{percent(shards.persona_share)} of the tokens; each exchange {repeats}"))
    of = "pair of held-out answers (a coin has 0.6931)" if name == "preference" else "token of held-out answers"
    blocks: list[Block] = [
        text(f"Loss per {of}: {loss(before)} before, {loss(after)} after {exact(run.steps)} steps."),
        Facts(rows),
        Cards(
            [_card(shown) for shown in gate.shown],
            "wide",
            caption="Five conversations as the model reads them. It learns to write only what is coloured.",
        ),
    ]
    if said.offenders:
        blocks.append(note(f"The first dropped records: {'; '.join(said.offenders)}"))
    return blocks


def _preferred(found: PreferenceMargins) -> list[Block]:
    rows = (
        ("Margin above 0", found.accuracy, percent),
        ("The longer answer is the chosen one", found.longer, percent),
        ("Chosen answer likelier, before", found.likelier_before, percent),
        ("Chosen answer likelier, after", found.likelier_after, percent),
        ("Difference of the two", found.likelier_change, _points),
        ("Margin", found.margin, signed),
        ("Log-likelihood of the chosen answer, change (nats)", found.chosen_change, signed),
        ("Log-likelihood of the rejected answer, change (nats)", found.rejected_change, signed),
    )
    low, high = found.accuracy.low, found.accuracy.high
    half = (
        "above" if low is not None and low > 0.5 else "below" if high is not None and high < 0.5 else "undecided from"
    )
    blocks: list[Block] = [
        text(
            f"preference_model gives the chosen answer the larger reward in {percent(found.accuracy.value)} of "
            f"{count(found.pairs, 'held-out pair')}, which is {half} one half."
        ),
        Table(
            ("Of held-out pairs", "Value", "95% interval"),
            [Row((name, shown(score.value), _between(score, shown))) for name, score, shown in rows],
            names=1,
        ),
    ]
    if found.chosen_change.high is not None and found.chosen_change.high < 0:
        blocks.append(
            note("The chosen answers became less likely, too: the loss asks only that the rejected ones lose more.")
        )
    return blocks


def _between(score: Score, shown: Callable[[float], str]) -> str:
    return NONE if score.low is None or score.high is None else f"{shown(score.low)} to {shown(score.high)}"


def _card(shown: dict[str, Any]) -> Card:
    pieces = tuple(Marked(piece, "mark") if target else piece for piece, target in shown["pieces"])
    return Card(shown["place"], pieces, said=f"{shown['more_tokens']} more tokens" if shown["more_tokens"] else "")


def _reasons(counts: dict[str, int]) -> str:
    return ", ".join(f"{reason} ({exact(number)})" for reason, number in counts.items()) or "none"


def _changed(job: Job) -> list[Block]:
    found = job.inputs[COMPARED].results(TuningComparison)
    blocks: list[Block] = []
    for scores, rows in found.models.items():
        kept = next(row for row in rows if (row["task"], row["metric"]) == (HELDOUT, BITS))
        told = (
            f"{scores.removesuffix('_eval_results')}_model: {kept['before']:.4f} bits per byte of the base model's "
            f"held-out text before, {kept['after']:.4f} after ({signed(100 * found.forgotten[scores], 1)}%); "
            f"{FORGOTTEN[kept['verdict']]}."
        )
        blocks.append(warning(told) if kept["verdict"] == "worse" else text(told))
    for scores, rows in found.models.items():
        caption = scores.removesuffix("_eval_results") + "_model"
        blocks.append(scores_beside(rows, "Base model", "Tuned", caption))
    return [*blocks, how_compared()]


def scores_beside(rows: Sequence[Mapping[str, Any]], before: str, after: str, caption: str) -> Table:
    """The rows of a comparison. ``before``, ``after``: the names of both models."""
    columns = ("Task", "Metric", before, after, "Difference", "95% interval", "Verdict", "Items")
    return Table(columns, [_line(row) for row in rows], names=2, caption=caption)


def how_compared() -> Block:
    """How two models are compared."""
    return note(
        "Both models answered the same items; the interval is that of the mean difference of single items, with "
        "the items of a document or a paradigm as one cluster. A verdict has p < 0.05 after Holm's adjustment for "
        "the number of scores of a model."
    )


def _line(row: Mapping[str, Any]) -> Row:
    told = written(row["metric"])
    accuracy = row["metric"] != BITS
    shown = _points if accuracy else signed
    interval = NONE if row["low"] in (None, row["high"]) else f"{shown(row['low'])} to {shown(row['high'])}"
    style = {"better": "pill passed", "worse": "pill failed"}.get(row["verdict"], "")
    return Row(
        (
            NAMES.get(row["task"], row["task"]).removesuffix(", this model"),
            METRICS.get(row["metric"], row["metric"]),
            told(row["before"]),
            told(row["after"]),
            f"{shown(row['difference'])}{' points' if accuracy else ''}",
            interval,
            Cell(row["verdict"], style),
            exact(row["items"]),
        )
    )


def _points(share: float) -> str:
    """Percentage points."""
    return signed(100 * share, 1)
