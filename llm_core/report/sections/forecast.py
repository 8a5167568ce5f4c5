"""The sections about the forecast of the full run, the gate before it, and how good the forecast was."""

from llm_core.graph.job import Job
from llm_core.report import read
from llm_core.report.blocks import Block, Cell, Marked, Pair, Section, Table, Tile, Tiles, note, text, warning
from llm_core.report.formatting import NONE, count, duration, exact, percent, short, signed
from llm_core.report.sections.made import CLOCKED
from llm_core.report.study_plots import way
from llm_core.store.manifest import CheckRecord
from llm_core.study.results import Forecast, ForecastScore

CONDITIONS = {
    "half_width": ("The forecast is narrow", "Add a size nearer to the full run, or seeds to the largest size."),
    "coverage": ("Its intervals hold", "Add a size or a budget, so that laws of smaller runs can be tested."),
    "regret": ("The rate is near the best", "Launch at the best rate of the sweeps, or widen them."),
    "rate_inside": ("No best rate at an edge", "Add a rate beyond the edge to the sweep."),
    "runs_sound": (
        "All runs are sound",
        "Look at the named runs, and train them again at a lower rate or without them.",
    ),
    "same_recipe": (
        "The study is the launched recipe",
        "Give the study the launched values, or name the fields in study.gate.may_differ.",
    ),
    "epochs": ("The text is not repeated often", "Take more text, or train on fewer tokens."),
    "contamination": ("Suites were searched for", "Take suites with longer items, or search for shorter passages."),
    "preflight": ("The machine can run it", "Change training or compute as the message says."),
    "hours": ("It is short enough", "Take fewer tokens, a smaller model or more devices, or allow more hours."),
    "dollars": ("It is cheap enough", "Take fewer tokens, a smaller model or another machine, or allow more dollars."),
}
"""Check of ``launch_gate`` → the condition, and what to do where it does not hold."""
SHARES = ("half_width", "coverage", "regret", "contamination")


def forecast(job: Job) -> Section | None:
    """What the full run was expected to reach, the conditions for its launch, and the result."""
    told, score = read.forecast(job.inputs), read.score(job.inputs)
    if told is None:
        return None
    launched = job.inputs[read.FORECAST].manifest.config["launched"]
    share = percent(told.study_flops / told.flops)
    blocks: list[Block] = [
        text(
            f"{_expected(told)}. The study took {share} of its FLOPs. Hours and dollars are in ",
            Marked("made.html", "code"), " beside this page.",
        ),
        Tiles(
            (
                Tile("Forecast", f"{told.loss:.3f}", f"bits per byte, 90%: {told.low:.3f} to {told.high:.3f}"),
                *([_result(score)] if score is not None else []),
                Tile("Distance", f"{exact(told.beyond)} ×", "the FLOPs of the study's largest run"),
                Tile("Study", share, "of the full run's FLOPs"),
            )
        ),
    ]  # fmt: skip
    if score is not None:
        blocks.append(text(_scored(score)))
    blocks += _conditions(job, clocked=False)
    if told.curve:
        rows = [
            (
                short(band["share"] * launched["tokens"]),
                f"{band['loss']:.3f}",
                f"{band['low']:.3f} to {band['high']:.3f}",
            )
            for band in [*told.curve, {"share": 1.0, **told.model_dump(include={"loss", "low", "high"})}]
        ]
        beside = Table(("Tokens", "Expected", "90% interval"), rows, caption="Bits per byte on the way")
        blocks.append(Pair((way(told, launched["tokens"], score), beside)))
        blocks.append(note("A run outside its band on the way is not the run that was forecast: look at it."))
    return Section("Forecast", blocks)


def forecast_cost(job: Job) -> Section | None:
    """The same with time and money, and the conditions on them."""
    told = read.forecast(job.inputs)
    if told is None:
        return None
    hours, price = "", ""
    if told.hours is not None:
        hours = f", in about {duration(3600 * told.hours) if told.hours < 10 else f'{exact(told.hours)} hours'}"
    if told.dollars is not None:
        price = f"{' and' if hours else ', for'} ${exact(told.dollars)}"
    unpriced = " Set compute.price_per_gpu_hour to see what it costs." if told.dollars is None else ""
    spent = (
        f" The runs of the law took {duration(3600 * told.study_hours)} of training; all of the study took "
        f"{percent(told.study_flops / told.flops)} of the full run's FLOPs."
    )
    return Section("Forecast", [text(f"{_expected(told)}{hours}{price}.{spent}{unpriced}"), *_conditions(job, True)])


def _expected(told: Forecast) -> str:
    return f"The full run is expected to reach {told.loss:.3f} bits per byte (90%: {told.low:.3f} to {told.high:.3f})"


def _result(score: ForecastScore) -> Tile:
    return Tile("Result", f"{score.loss:.3f}", f"{signed(100 * score.error, 1)}%, {_within(score)}")


def _within(score: ForecastScore) -> str:
    return "within the interval" if score.within else "outside the interval"


def _scored(score: ForecastScore) -> str:
    side = "above" if score.error > 0 else "below"
    reached = (
        f"The run reached {score.loss:.3f} bits per byte, {percent(abs(score.error))} {side} the forecast, "
        f"{_within(score)} of {score.low:.3f} to {score.high:.3f}."
    )
    if not score.before:
        return f"{reached} The forecast was not made before the run, so this does not test it."
    honest = " The forecast was made before the run."
    return reached + honest + ("" if score.within else " Find out why before you trust the next forecast.")


def _conditions(job: Job, clocked: bool) -> list[Block]:
    """The conditions of the gate: those of time, money and machine, or the others."""
    checks = job.inputs[read.GATE].manifest.checks if read.GATE in job.inputs else []
    if not checks:
        return []
    found = [check for check in checks if (check.name in CLOCKED[read.GATE]) == clocked]
    closed = [check for check in found if not check.passed]
    of = "on time, money and machine" if clocked else "on the study"
    rest = "" if clocked else f" Those on time, money and machine ({len(CLOCKED[read.GATE])}) are in made.html."
    summary = (
        warning(f"{len(closed)} of {count(len(found), 'condition')} {of} did not hold: see what to do below.{rest}")
        if closed
        else text(f"All {len(found)} conditions {of} held before the launch.{rest}")
    )
    columns = ("Condition", "Value", "Bound", "Verdict", *(["What to do"] if closed else []))
    rows = [_row(check, bool(closed)) for check in sorted(found, key=lambda check: check.passed)]
    return [summary, Table(columns, rows, names=5)]


def _row(check: CheckRecord, advise: bool) -> tuple[str | Cell, ...]:
    condition, advice = CONDITIONS.get(check.name, (check.name, ""))
    bound = NONE if check.bound is None else percent(check.bound) if check.name in SHARES else f"{check.bound:g}"
    verdict = "passed" if check.passed else "failed"
    more = ["" if check.passed else advice] if advise else []
    return condition, check.message, bound, Cell(verdict, f"pill {verdict}"), *more
