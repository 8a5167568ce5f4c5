"""Plans, runs and preflights as people see them in a terminal."""

import math
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from llm_core.graph.execute import materialize
from llm_core.graph.job import Runtime
from llm_core.graph.plan import PlanItem
from llm_core.graph.price import Price, duration, price, total
from llm_core.train.preflight import Preflight
from pipelines.session import Session

COLOURS = {"hit": "green", "run": "yellow", "maybe": "cyan", "blocked": "red"}
REASONS_SHOWN = 6


def prices(session: Session, items: list[PlanItem]) -> dict[str, Price]:
    """Stage → what it costs, of all stages that would be made."""
    compute, graph = session.experiment.compute, session.graph
    to_make = [item for item in items if item.verdict in ("run", "maybe")]
    return {item.stage: price(graph[item.stage], item.previous, compute) for item in to_make}


def plan_record(item: PlanItem, cost: Price | None) -> dict[str, Any]:
    """A plan's item as JSON data."""
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
        "parts": None if item.parts is None else {"found": item.parts[0], "to_make": item.parts[1]},
    }


def plan_table(items: list[PlanItem], costs: Mapping[str, Price]) -> Table:
    """A plan as a table, with its sums below."""
    caption = f"{sum(item.verdict == 'hit' for item in items)} hits, {len(costs)} to make"
    if costs:
        maybe = [costs[item.stage] for item in items if item.verdict == "maybe"]
        caption += f"; price: {_told_total(costs.values())}"
        caption += f", of which only maybe: {_told_total(maybe)}" if maybe else ""
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


def _told_total(costs: Iterable[Price]) -> str:
    """The sum, and how many stages it does not know the price of."""
    known, unknown = total(costs)
    if known.hours is None:
        return "unknown"
    return f"{known}" + (f" and {unknown} unknown" if unknown else "")


def run(
    console: Console,
    session: Session,
    only: set[str] | None,
    *,
    again: Collection[str] = (),
    agree: Callable[[str], bool] = lambda _: False,
) -> None:
    """Materialize the plan's stages in order, with a bar for the one at work.

    ``again``: stages that are made though they are there. ``agree``: see ``Runtime``.
    """
    names = [item.stage for item in session.planner().plan(only)]
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[unit]}"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[figures]}"),
    )
    with Progress(*columns, console=console, transient=True) as bars:
        for name in names:
            task = bars.add_task(name, total=None, unit="", figures="")

            def progress(done: float, total: float, unit: str, task: Any = task) -> None:
                bars.update(task, completed=int(done), total=int(total), unit=unit)

            def observe(figures: Mapping[str, float], task: Any = task) -> None:
                bars.update(task, figures=live_figures(figures))

            def asked(question: str) -> bool:
                bars.stop()
                try:
                    return agree(question)
                finally:
                    bars.start()

            runtime = Runtime(
                compute=session.experiment.compute,
                tracking=session.experiment.tracking,
                progress=progress,
                observe=observe,
                log=lambda line: console.print(line, markup=False),
                agree=asked,
            )
            outcome = materialize(session.planner(), name, runtime, again=name in again)
            bars.remove_task(task)
            took = "" if outcome.cache == "hit" else f" in {duration(outcome.artifact.manifest.seconds)}"
            console.print(f"[{'green' if outcome.cache == 'hit' else 'yellow'}]{outcome.cache:>4}[/] {name}{took}")
            if outcome.finding:
                console.print(f"     [bold red]finding[/] {escape(outcome.finding)}")
            for check in outcome.checks:
                if not check.passed:
                    mark = "[red]gate[/]" if check.name in session.graph[name].gates else "[yellow]note[/]"
                    console.print(f"     {mark} {check.name}: {escape(check.message)}")


def live_figures(figures: Mapping[str, float | None]) -> str:
    """What stands beside the bar of a training run; a skipped step may have no loss."""
    loss, speed = figures.get("loss"), figures.get("tokens_per_second") or 0.0
    return f"{'no loss' if loss is None else f'loss {loss:.3f}'}, {speed:,.0f} tokens/s"


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
    usable = f"of {report.usable_memory / 1e9:,.1f} GB usable ({report.device_memory / 1e9:,.0f} GB a device)"
    table.add_row("memory: in all", f"[bold]{report.memory.total / 1e9:,.2f} GB[/]", f"{usable}, {report.parallel}")
    table.add_row("host: snapshot", f"{report.host_snapshot / 1e9:,.2f} GB", "from which checkpoints are written")
    table.add_section()
    table.add_row("FLOPs", f"{report.flops:.3g}", f"{report.flops_per_token:.3g} a token: {report.flops_convention}")
    if report.hours is not None and report.tokens_per_second is not None and report.peak_flops is not None:
        peak = f"at {report.expected_mfu:.0%} MFU of {report.peak_flops / 1e12:,.0f} TFLOP/s a device"
        table.add_row("tokens per second", f"{report.tokens_per_second:,.0f}", peak)
        table.add_row("time", f"[bold]{report.hours:,.1f} h[/]", f"{report.gpu_hours:,.0f} GPU-hours")
        table.add_row("cost", f"[bold]${report.cost:,.0f}[/]", f"at ${report.price_per_gpu_hour:.2f} a GPU-hour")
    else:
        table.add_row("time", "unknown", "this device's peak is not in the table; measure with a short run")
    table.add_section()
    table.add_row("command", "", report.command)
    return table


def finite(value: Any) -> Any:
    """JSON has no NaN and no infinity: they become null."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, list):
        return [finite(item) for item in value]
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    return value
