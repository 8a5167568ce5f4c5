"""The section about test-time compute: accuracy over k and over tokens, and what a point of accuracy costs."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from llm_core.graph.job import Job
from llm_core.report import read
from llm_core.report.blocks import Block, Heading, Section, Table, note, text
from llm_core.report.formatting import NONE, bounds, count, exact, percent, signed
from llm_core.report.style import AMBER, BLUE, MUTED, ROSE, TEAL, Picture, draw
from llm_core.report.training_plots import FULL
from llm_core.test_time.results import ANY, MAJORITY, PLAIN, REASONING, RETRIEVED, RepeatedSampling

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WAYS = {PLAIN: "", REASONING: ", with a chain of thought", RETRIEVED: ", with retrieved passages"}
METHODS = {MAJORITY: "the most frequent answer", ANY: "any is right (a perfect judge)"}
COLOURS = (BLUE, TEAL, AMBER, ROSE)
TRAINING_FLOPS = 3
"""FLOPs per token and parameter in training (6), as a multiple of those in generation (2)."""

Way = Mapping[str, Any]


def repeated_sampling(job: Job) -> Section | None:
    """Per task: what sampling brings, its curve, all methods, and what a point costs in each way."""
    if read.TEST_TIME not in job.inputs:
        return None
    found = job.inputs[read.TEST_TIME].results(RepeatedSampling)
    trained = read.trained(job.inputs).tokens if read.TRAINED in job.inputs else None
    blocks: list[Block] = []
    for task, questions in found.questions.items():
        ways = {way["way"]: way for way in found.ways if way["task"] == task}
        blocks += [
            *([Heading(task)] if len(found.questions) > 1 else []),
            text(_said(ways[PLAIN], found.samples)),
            _picture(task, ways[PLAIN]),
            _methods(ways),
            Table(
                ("A point of accuracy", "Tokens more per question", "Points more", "95%", "Tokens per point"),
                _costs(ways),
            ),
            note(_how(found, task, questions, ways[PLAIN], trained)),
        ]
    return Section("Test-time compute", blocks)


def _said(way: Way, samples: int) -> str:
    last = way["curves"][MAJORITY][-1]
    told = f"{_points(last['gain'])} points ({_between(last['gain_interval'])})"
    what = f"the most frequent of {samples} answers"
    if last["gain_interval"] is None and last["gain"] == 0:
        return f"No difference on these questions: {what} is right as often as the greedy one."
    if last["gain_interval"] is None:
        return "All questions are of one document, so nothing can be said about others."
    low, high = last["gain_interval"]
    if low > 0:
        return f"Repeated sampling helps: {what} is right more often than the greedy one, by {told}."
    if high < 0:
        return f"Repeated sampling harms: {what} is right less often than the greedy one, by {told}. Answer greedily."
    return f"Whether repeated sampling helps is undecided: {what} differs from the greedy one by {told}."


def _methods(ways: Mapping[str, Way]) -> Table:
    rows = []
    for name, way in ways.items():
        rows.append(
            (f"greedy{WAYS[name]}", "1", exact(round(way["greedy_tokens"])), *_accuracy(way["greedy"]), NONE, NONE)
        )
        for method, curve in way["curves"].items():
            last = curve[-1]
            told = METHODS.get(method, f"the best by {method.replace('_', ' ')}")
            tokens = exact(round(last["k"] * way["sample_tokens"]))
            gain = _points(last["gain"]), _between(last["gain_interval"])
            rows.append((f"{told}{WAYS[name]}", str(last["k"]), tokens, *_accuracy(last), *gain))
    columns = ("The answer that is given", "Samples", "Tokens", "Accuracy", "95%", "Points more than greedy", "95%")
    return Table(columns, rows, pinned=True)


def _costs(ways: Mapping[str, Way]) -> list[tuple[str, ...]]:
    plain, last = ways[PLAIN], ways[PLAIN]["curves"][MAJORITY][-1]
    rows = [
        _cost(f"by sampling ({last['k']} answers)", last["k"] * plain["sample_tokens"] - plain["greedy_tokens"], last)
    ]
    for name, told in ((RETRIEVED, "by retrieval"), (REASONING, "by a chain of thought")):
        if name in ways:
            way = ways[name]
            more = sum(way[tokens] - plain[tokens] for tokens in ("prompt_tokens", "greedy_tokens"))
            rows.append(_cost(told, more, way["greedy"]))
    return [*rows, ("by longer training", NONE, NONE, NONE, "not decided")]


def _cost(told: str, tokens: float, gained: Mapping[str, Any]) -> tuple[str, ...]:
    interval = gained["gain_interval"]
    cost = "not decided"
    if interval is not None and interval[0] > 0:
        cost = f"{exact(round(tokens / (100 * gained['gain'])))}"
    elif interval is not None and interval[1] < 0:
        cost = "it costs accuracy"
    return told, exact(round(tokens)), _points(gained["gain"]), _between(interval), cost


def _how(found: RepeatedSampling, task: str, questions: int, plain: Way, trained: int | None) -> str:
    left = found.left_out[task]
    scale = ""
    if trained is not None:
        more = found.samples * plain["sample_tokens"] - plain["greedy_tokens"]
        asked = exact(round(TRAINING_FLOPS * trained / more))
        scale = (
            f" For scale: {found.samples} answers to each of {asked} questions take as much compute as the whole "
            "training."
        )
    return (
        f"{count(questions, 'question')}{f', {exact(left)} more do not fit' if left else ''}. {found.samples} answers "
        f"to each were drawn once, at temperature {found.temperature:g}; a value for k is the mean over all subsets of "
        "k. Tokens are those that the model reads and writes, a prompt once. No fit links the loss of longer training "
        f"to this accuracy, so its price is not decided.{scale}"
    )


def _picture(task: str, way: Way) -> Picture:
    def paint(axes: "Axes") -> None:
        from matplotlib.ticker import PercentFormatter

        for (method, curve), colour in zip(way["curves"].items(), (COLOURS * len(way["curves"])), strict=False):
            tokens = [point["k"] * way["sample_tokens"] for point in curve]
            axes.plot(
                tokens, [point["accuracy"] for point in curve], "o-", color=colour, markersize=3, label=_label(method)
            )
            if method == MAJORITY and curve[0]["interval"] is not None:
                low, high = zip(*(point["interval"] for point in curve), strict=True)
                axes.fill_between(tokens, low, high, color=colour, alpha=0.15, linewidth=0)
        axes.axhline(way["greedy"]["accuracy"], color=MUTED, linewidth=1, linestyle="--", label="greedy, one answer")
        axes.set_xscale("log", base=2)
        axes.set_xticks(tokens, [f"{point['k']}\n{exact(round(at))}" for point, at in zip(curve, tokens, strict=True)])
        axes.minorticks_off()
        axes.set_xlabel("answers, and generated tokens per question")
        axes.set_ylabel("accuracy")
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.legend(frameon=False, fontsize=8)

    return draw(f"test_time_{task}", "Accuracy over samples, with 95% intervals", (FULL, 2.8), paint)


def _label(method: str) -> str:
    return {MAJORITY: "most frequent", ANY: "any is right"}.get(method, f"best by {method.replace('_', ' ')}")


def _accuracy(told: Mapping[str, Any]) -> tuple[str, str]:
    return percent(told["accuracy"]), bounds(told["interval"], percent)


def _points(share: float) -> str:
    return signed(100 * share, 1)


def _between(interval: Sequence[float] | None) -> str:
    return NONE if interval is None else " to ".join(map(_points, interval))
