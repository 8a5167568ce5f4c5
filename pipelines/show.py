"""Plans, runs and preflights, for the terminal."""

import json
import math
import os
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from functools import cache, partial
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TextColumn
from rich.table import Table
from rich.text import Text

from llm_core.graph.consent import bound_text, needs_consent
from llm_core.graph.execute import materialize
from llm_core.graph.job import Runtime
from llm_core.graph.plan import PlanItem, Planner
from llm_core.graph.price import Price, duration, price, total
from llm_core.graph.requirements import check_requirements
from llm_core.graph.stage import Check
from llm_core.train.preflight import Preflight
from pipelines.machine import before_run
from pipelines.progress import Lines, RunProgress
from pipelines.session import Session

COLOURS = {"hit": "green", "run": "yellow", "maybe": "cyan", "blocked": "red"}
MEANINGS = {
    "hit": "reused",
    "run": "to be made",
    "maybe": "made only if an input changes",
    "blocked": "a blocking check of an input or of a gate fails",
}
"""Verdict → what it means, in a few words."""
REASONS_SHOWN = 6


def planned(session: Session) -> list[PlanItem]:
    """The whole plan. A stage that needs consent says so in its notes."""
    planner, compute = session.planner(), session.experiment.compute
    items = []
    for item in planner.plan():
        cost = needs_consent(planner, item, compute)
        if cost is not None and compute.ask_above is not None:
            bound = bound_text(compute.ask_above)
            line = f"waits for a yes (--yes): only code has changed, and it costs more than {bound}"
            item = replace(item, notes=[*item.notes, line])
        items.append(item)
    return items


def prices(session: Session, items: list[PlanItem]) -> dict[str, Price]:
    """Stage → its price, for all stages that would be made, also when their gate opens."""
    compute, graph = session.experiment.compute, session.graph
    to_make = [item for item in items if item.verdict in ("run", "maybe") or (item.verdict == "blocked" and item.gates)]
    return {item.stage: price(graph[item.stage], item.previous, compute) for item in to_make}


def plan_record(item: PlanItem, cost: Price | None) -> dict[str, Any]:
    """An item of a plan, as JSON data."""
    cost = cost or Price()
    return {
        "stage": item.stage,
        "verdict": item.verdict,
        "reasons": item.reasons,
        "identity": item.identity,
        "seconds": item.seconds,
        "price_hours": cost.hours,
        "price_dollars": cost.dollars,
        "priced_by": cost.source,
        "notes": item.notes,
        "gates": {gate.stage: gate.state for gate in item.gates},
        "parts": None if item.parts is None else {"found": item.parts[0], "to_make": item.parts[1]},
    }


def plan_table(items: list[PlanItem], costs: Mapping[str, Price]) -> Table:
    """A plan as a table, with the sums in its caption."""
    number: Counter[str] = Counter(item.verdict for item in items)
    counts = [f"{number[verdict]} {verdict} ({MEANINGS[verdict]})" for verdict in MEANINGS if number[verdict]]
    caption = f"{len(items)} stage{'s' * (len(items) != 1)}: {', '.join(counts)}"
    if costs:
        caption += f"\nprice (expected time and cost): {told_total(costs.values())}"
        maybe = [costs[item.stage] for item in items if item.verdict == "maybe"]
        caption += f"; of this, maybe: {told_total(maybe)}" if maybe else ""
    table = Table(box=None, pad_edge=False, caption=caption, caption_justify="left", header_style="bold")
    table.add_column("stage", no_wrap=True)
    table.add_column("verdict")
    table.add_column("last took", justify="right", no_wrap=True)
    if costs:
        table.add_column("price", justify="right", no_wrap=True)
    table.add_column("why", overflow="fold")
    for item in items:
        lines = item.reasons[:REASONS_SHOWN]
        if len(item.reasons) > REASONS_SHOWN:
            lines.append(f"and {len(item.reasons) - REASONS_SHOWN} more (--json lists all)")
        took = duration(item.seconds) if item.seconds is not None else ""
        verdict = f"[{COLOURS[item.verdict]}]{item.verdict}[/]"
        asked = [str(costs[item.stage]) if item.stage in costs else ""] if costs else []
        table.add_row(item.stage, verdict, took, *asked, escape("\n".join([*lines, *item.notes])))
    return table


def told_total(costs: Iterable[Price]) -> str:
    """The sum of the known prices, and the number of unknown ones."""
    known, unknown = total(costs)
    if known.hours is None:
        return "unknown"
    return f"{known}" + (f", and {unknown} stage{'s' * (unknown > 1)} unknown" if unknown else "")


def run(
    console: Console,
    session: Session,
    only: set[str] | None,
    *,
    again: Collection[str] = (),
    agree: Callable[[str], bool] = lambda _: False,
) -> None:
    """Materialize the plan's stages in order. Shows a bar for the current stage; without a terminal, lines.

    One planner serves the whole run: all stages see the sources as they were at its start. ``again``: stages that are
    made again although they exist. ``agree``: see ``Runtime``.
    """
    planner = session.planner()
    if only is not None:  # what is forced is built, so it needs its gates
        only = only.union(*(planner.graph[name].gates for name in again))
    items = [_forced(planner, item) if item.stage in again else item for item in planner.plan(only)]
    agree = cache(agree)  # what was agreed to before the first stage is not asked again before its own
    here = Runtime(compute=session.experiment.compute, tracking=session.experiment.tracking, agree=agree)
    check_requirements(planner, items, here)
    for line in before_run(session, items):
        console.print(f"[yellow]note[/] {escape(line)}", soft_wrap=True)
    progress = RunProgress(items)
    made = set()
    for item in items:
        if only is not None and item.only_before_gate and item.stage not in planner.needed(only):
            progress.skip(item.stage)
            continue
        progress.begin(item.stage)
        with _watching(console, progress, agree) as watched:
            runtime = Runtime(
                compute=session.experiment.compute,
                tracking=session.experiment.tracking,
                log=lambda line: console.print(line, markup=False),
                **watched,
            )
            # Two stages may share an artifact: it is made again only once.
            outcome = materialize(planner, item.stage, runtime, again=item.stage in again and item.identity not in made)
        made.add(outcome.artifact.manifest.identity)
        progress.end()
        hit = outcome.cache == "hit"
        took = "" if hit else f" in {duration(outcome.artifact.manifest.seconds)}; {progress.left()}"
        console.print(f"{escape(progress.place)} [{'green' if hit else 'yellow'}]{outcome.cache}[/] {item.stage}{took}")
        if outcome.finding:
            console.print(f"     [bold red]finding[/] {escape(outcome.finding)}")
        failed_checks(console, outcome.checks)


def _forced(planner: Planner, item: PlanItem) -> PlanItem:
    """``item`` as one that will be made. --force is consent already."""
    if item.verdict == "hit":
        item = replace(item, verdict="run", reasons=["--force"], gates=planner.gates(item.stage))
    return replace(item, from_code=False)


def failed_checks(console: Console, checks: list[Check]) -> None:
    """Print the checks that a stage failed, one per line."""
    for check in checks:
        if not check.passed:
            mark = "[red]blocking check failed[/]" if check.blocking else "[yellow]check failed[/]"
            console.print(f"     {mark} {check.name}: {escape(check.message)}")


@contextmanager
def _watching(console: Console, progress: RunProgress, agree: Callable[[str], bool]) -> Iterator[dict[str, Any]]:
    """The fields of a ``Runtime`` that report what a stage does, and ask the user."""
    if not console.is_terminal:
        say = partial(console.print, markup=False)
        with Lines(progress, lambda line: say(f"  {line}")) as lines:
            yield {"status": lines.status, "progress": lines.count, "observe": lines.observe, "agree": agree}
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(20), _Telling(progress))
    with Progress(*columns, console=console, transient=True) as bars:
        task = bars.add_task(escape(progress.heading), total=None)

        def count(done: float, total: float, unit: str) -> None:
            progress.count(done, total, unit)
            bars.update(task, completed=done, total=total)

        def status(what: str) -> None:
            progress.status(what)
            bars.update(task, completed=0, total=None)

        def asked(question: str) -> bool:
            bars.stop()  # a question under a moving bar can't be read
            try:
                return agree(question)
            finally:
                bars.start()

        yield {"status": status, "progress": count, "observe": progress.observe, "agree": asked}


class _Telling(ProgressColumn):
    """The text beside the bar: what the stage does, for how long, and the time left."""

    def __init__(self, progress: RunProgress) -> None:
        super().__init__()
        self._progress = progress

    def render(self, _: Task) -> Text:
        return Text(self._progress.line())


def preflight_record(report: Preflight) -> dict[str, Any]:
    """A preflight as JSON data."""
    return {**asdict(report), "memory_total": report.memory.total}


def preflight_table(report: Preflight) -> Table:
    """A preflight as a table: the model, the machine, memory, time and cost."""
    table = Table(
        title=f"{report.experiment} on {report.hardware}",
        title_justify="left",
        title_style="bold",
        box=None,
        show_header=False,
        pad_edge=False,
    )
    table.add_column(style="dim")
    table.add_column(justify="right", no_wrap=True)
    table.add_column(style="dim", overflow="fold")
    count = report.parameters
    table.add_row(
        "parameters", f"{count.total:,}", f"{count.total - count.embedding - count.head:,} without embeddings"
    )
    table.add_row("tokens", f"{report.tokens:,}", f"{report.steps:,} steps of {report.batch_tokens:,}")
    shared = (
        f"{report.accumulation_steps} micro-batches of {report.micro_batch} sequences on each of {report.ranks} ranks"
    )
    table.add_row("batch", f"{report.batch_sequences:,}", f"sequences of {report.sequence_length:,}; {shared}")
    table.add_section()
    for name, size in asdict(report.memory).items():
        table.add_row(f"memory: {name.replace('_', ' ')}", f"{size / 1e9:,.2f} GB")
    usable = f"of {report.usable_memory / 1e9:,.1f} GB usable ({report.device_memory / 1e9:,.0f} GB per device)"
    table.add_row("memory: total", f"[bold]{report.memory.total / 1e9:,.2f} GB[/]", f"{usable}, {report.parallel}")
    table.add_row(
        "host: snapshot",
        f"{report.host_snapshot / 1e9:,.2f} GB",
        "a copy of the state, from which checkpoints are written",
    )
    table.add_section()
    table.add_row("FLOPs", f"{report.flops:.3g}", f"{report.flops_per_token:.3g} per token: {report.flops_convention}")
    if report.hours is not None and report.tokens_per_second is not None and report.peak_flops is not None:
        peak = f"at {report.expected_mfu:.0%} MFU of {report.peak_flops / 1e12:,.0f} TFLOP/s per device"
        table.add_row("tokens per second", f"{report.tokens_per_second:,.0f}", peak)
        table.add_row("time", f"[bold]{report.hours:,.1f} h[/]", f"{report.gpu_hours:,.0f} GPU-hours")
        if report.price_per_gpu_hour:
            table.add_row("cost", f"[bold]${report.cost:,.0f}[/]", f"at ${report.price_per_gpu_hour:.2f} per GPU-hour")
        else:
            table.add_row("cost", "unknown", "compute.price_per_gpu_hour is 0")
    else:
        table.add_row("time", "unknown", "the peak FLOP/s of this device is not known; measure with a short run")
    table.add_section()
    table.add_row("command", "", report.command)
    for line in report.advice:
        table.add_row("[yellow]note[/]", "", escape(line))
    return table


def query_lines(columns: Sequence[str], chunks: Iterable[Sequence[Sequence[Any]]]) -> Iterator[str]:
    """Rows as lines of a table. No value is cut; a column becomes wider when a later chunk needs it."""
    widths = [cell_len(name) for name in columns]
    header = True
    for rows in filter(None, chunks):
        cells = [[_cell(value) for value in row] for row in rows]
        widths = [
            max(width, *map(cell_len, column)) for width, column in zip(widths, zip(*cells, strict=True), strict=True)
        ]
        if header:
            yield _line(columns, widths)
            yield "  ".join("─" * width for width in widths)
            header = False
        for row, values in zip(cells, rows, strict=True):
            yield _line(row, widths, [isinstance(value, int | float) for value in values])
    if header:
        yield _line(columns, widths)
        yield "no rows"


def _cell(value: Any) -> str:
    """A value on one line, with control characters escaped as in JSON."""
    text = "NULL" if value is None else str(value)
    return text if text.isprintable() else "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)


def _line(cells: Sequence[str], widths: Sequence[int], right: Sequence[bool] | None = None) -> str:
    sides = right or [False] * len(cells)
    padded = (
        " " * (width - cell_len(cell)) + cell if to_right else cell + " " * (width - cell_len(cell))
        for cell, width, to_right in zip(cells, widths, sides, strict=True)
    )
    return "  ".join(padded).rstrip()


def paged(lines: Iterable[str]) -> None:
    """Print through a pager (``PAGER``, or ``less``) if there is a terminal, else line by line."""
    command = os.environ.get("PAGER") or shutil.which("less")
    if not sys.stdout.isatty() or not command:
        for line in lines:
            print(line)
        return
    options = {"LESS": "-FRSX", **os.environ}  # -S: do not wrap lines; -F: no pager if all fits on the screen
    with subprocess.Popen(shlex.split(command), stdin=subprocess.PIPE, text=True, env=options) as pager:
        assert pager.stdin is not None
        with suppress(BrokenPipeError):  # closed before all was shown
            for line in lines:
                pager.stdin.write(f"{line}\n")
            pager.stdin.close()


def finite(value: Any) -> Any:
    """JSON has no NaN and no infinity: they become null."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, list):
        return [finite(item) for item in value]
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    return value
