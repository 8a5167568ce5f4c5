"""The sections about the forecast of the full run, the gate before it, and how good the forecast was."""

from llm_core.graph.job import Job
from llm_core.report import read
from llm_core.report.blocks import Block, Cell, Marked, Pair, Section, Table, Tile, Tiles, note, text, warning
from llm_core.report.formatting import NONE, count, dollars, duration, exact, percent, short, signed
from llm_core.report.read import Inputs
from llm_core.report.sections.suites import forecasts
from llm_core.report.study_plots import way
from llm_core.store.manifest import CheckRecord
from llm_core.study.results import Forecast, LaunchGate

CONDITIONS = {
    "half_width": ("The forecast is narrow", "Add a size nearer to the full run, or seeds to the largest size."),
    "coverage": ("Its intervals hold", "Add a size or a budget, so that laws of smaller runs can be tested."),
    "regret": ("The rate is near the best", "Launch at the best rate of the sweeps, or widen them."),
    "rate_inside": ("Every best rate is inside its sweep", "Add a rate beyond the edge to the sweep."),
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
PARTS = {
    "trunk": "trunks", "cooldown": "cooldowns", "rates": "learning rates", "batches": "batches", "orders": "orders",
    "ideas": "ideas",
}  # fmt: skip
"""Part of a study → the name of its runs."""
CLOCKED = ("preflight", "hours", "dollars")
"""Conditions that depend on the machine, the price or the day, and so are not on the page itself."""
SHARES = ("half_width", "coverage", "regret", "contamination")


def sealed(inputs: Inputs) -> Forecast | None:
    """The forecast with which the full run was launched. A study that has grown since has another one, which is what a
    run without a gate gets."""
    told, record = read.forecast(inputs), read.launched_with(inputs)
    if told is None or record is None:
        return told
    gate = LaunchGate.model_validate(record.results)
    fields = ("low", "high", "half_width", "curve", "beyond", "hours", "dollars")
    return told.model_copy(update={"loss": gate.forecast, **{name: getattr(gate, name) for name in fields}})


def forecast(job: Job) -> Section | None:
    """What the full run was expected to reach, the conditions for its launch, and the result."""
    told, now, result = sealed(job.inputs), read.forecast(job.inputs), read.result(job.inputs)
    if told is None or now is None:
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
                *([_result(told, result)] if result is not None else []),
                Tile("Distance", f"{exact(told.beyond)} ×", "the FLOPs of the study's largest run"),
                Tile("Study", share, "of the full run's FLOPs"),
            )
        ),
    ]  # fmt: skip
    if result is not None:
        blocks.append(text(_scored(told, result, read.launched_with(job.inputs) is not None)))
    if (now.loss, now.low, now.high) != (told.loss, told.low, told.high):
        blocks.append(text(f"The study has changed since; it now expects {now.loss:.3f}."))
    blocks += _conditions(job.inputs, clocked=False)
    if told.curve:
        bands = [*told.curve, {"share": 1.0, "loss": told.loss, "low": told.low, "high": told.high}]
        rows = [
            (
                short(band["share"] * launched["tokens"]),
                f"{band['loss']:.3f}",
                f"{band['low']:.3f} to {band['high']:.3f}",
            )
            for band in bands
        ]
        beside = Table(("Tokens", "Expected", "90% interval"), rows, caption="Bits per byte on the way")
        blocks.append(Pair((way(told, launched["tokens"], result), beside)))
        blocks.append(note("A run outside its band on the way is not the run that was forecast: look at it."))
    blocks += forecasts(job.inputs)
    return Section("Forecast", blocks)


def forecast_cost(job: Job) -> Section | None:
    """The same with time and money, and the conditions on them."""
    told = sealed(job.inputs)
    if told is None:
        return None
    hours, price = "", ""
    if told.hours is not None:
        hours = f", in about {duration(3600 * told.hours) if told.hours < 10 else f'{exact(told.hours)} hours'}"
    if told.dollars is not None:
        price = f"{' and' if hours else ', for'} ${exact(told.dollars)}"
    unpriced = " Set compute.price_per_gpu_hour to see what it costs." if told.dollars is None else ""
    said = text(f"{_expected(told)}{hours}{price}.{_spent(job.inputs, told)}{unpriced}")
    return Section("Forecast", [said, *_conditions(job.inputs, clocked=True)])


def _spent(inputs: Inputs, told: Forecast) -> str:
    spent = read.study_cost(inputs)
    if spent is None:
        return ""
    share = f"{percent(told.study_flops / told.flops)} of the full run's FLOPs"
    price = "" if spent.dollars is None else f" and {dollars(spent.dollars)}"
    parts = [f"{PARTS[part]} {duration(3600 * hours)}" for part, hours in spent.hours.items()]
    took = duration(3600 * sum(spent.hours.values()))
    return f" The study took {took} of training{price}, and {share} ({', '.join(parts)})."


def _expected(told: Forecast) -> str:
    return f"The full run is expected to reach {told.loss:.3f} bits per byte (90%: {told.low:.3f} to {told.high:.3f})"


def _result(told: Forecast, result: float) -> Tile:
    return Tile("Result", f"{result:.3f}", f"{signed(100 * (result / told.loss - 1), 1)}%, {_within(told, result)}")


def _within(told: Forecast, result: float) -> str:
    return "within the interval" if told.low <= result <= told.high else "outside the interval"


def _scored(told: Forecast, result: float, before: bool) -> str:
    error = result / told.loss - 1
    reached = (
        f"The run reached {result:.3f} bits per byte, {percent(abs(error))} {'above' if error > 0 else 'below'} the "
        f"forecast, {_within(told, result)} of {told.low:.3f} to {told.high:.3f}."
    )
    if not before:
        return f"{reached} It was launched without a gate, so the forecast may be younger, and this does not test it."
    missed = "" if told.low <= result <= told.high else " Find out why before you trust the next forecast."
    return f"{reached} The forecast was sealed before the run began.{missed}"


def _conditions(inputs: Inputs, clocked: bool) -> list[Block]:
    """The conditions at the launch: those of time, money and machine, or the others."""
    record = read.launched_with(inputs)
    if record is None:
        return []
    found = [check for check in record.checks if (check.name in CLOCKED) == clocked]
    closed = [check for check in found if not check.passed]
    of = "on time, money and machine" if clocked else "on the study"
    rest = "" if clocked else f" Those on time, money and machine ({len(CLOCKED)}) are in made.html."
    if closed:
        signed = record.overrule
        why = f" {signed.who} overruled the gate: {signed.why}." if signed is not None else ""
        held = f"{len(closed)} of {count(len(found), 'condition')} {of} did not hold at the launch.{why}"
        summary = warning(f"{held} The table says what to do.{rest}")
    else:
        summary = text(f"All {len(found)} conditions {of} held at the launch.{rest}")
    rows = [_row(check) for check in sorted(found, key=lambda check: check.passed)]
    return [summary, Table(("Condition", "Value", "Bound", "Verdict"), rows, names=4)]


def _row(check: CheckRecord) -> tuple[str | Cell, ...]:
    condition, advice = CONDITIONS.get(check.name, (check.name, ""))
    bound = NONE if check.bound is None else percent(check.bound) if check.name in SHARES else f"{check.bound:g}"
    verdict = "passed" if check.passed else "failed"
    value = Cell(check.message, more="" if check.passed else f"What to do: {advice}")
    return condition, value, bound, Cell(verdict, f"pill {verdict}")
