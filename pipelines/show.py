"""Plans, runs and preflights as people see them in a terminal."""

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from llm_core.graph.execute import materialize
from llm_core.graph.job import Runtime
from llm_core.graph.plan import PlanItem
from llm_core.graph.stage import Check
from llm_core.train.preflight import Preflight
from pipelines.session import Session

COLOURS = {"hit": "green", "run": "yellow", "maybe": "cyan", "blocked": "red"}
REASONS_SHOWN = 6


def plan_record(item: PlanItem) -> dict[str, Any]:
    """A plan's item as JSON data."""
    return {
        "stage": item.stage,
        "verdict": item.verdict,
        "reasons": item.reasons,
        "identity": item.identity,
        "seconds": item.seconds,
        "notes": item.notes,
        "parts": None if item.parts is None else {"found": item.parts[0], "to_make": item.parts[1]},
    }


def plan_table(items: list[PlanItem]) -> Table:
    """A plan as a table, with its sums below."""
    to_make = [item for item in items if item.verdict in ("run", "maybe")]
    known = [item.seconds for item in to_make if item.seconds is not None]
    caption = f"{sum(item.verdict == 'hit' for item in items)} hits, {len(to_make)} to make"
    if known:
        caption += f"; those that ran before took {duration(sum(known))}"
    table = Table(box=None, pad_edge=False, caption=caption, caption_justify="left", header_style="bold")
    table.add_column("stage", no_wrap=True)
    table.add_column("verdict")
    table.add_column("last took", justify="right", no_wrap=True)
    table.add_column("why", overflow="fold")
    for item in items:
        lines = item.reasons[:REASONS_SHOWN]
        if len(item.reasons) > REASONS_SHOWN:
            lines.append(f"and {len(item.reasons) - REASONS_SHOWN} more (--json lists all)")
        took = duration(item.seconds) if item.seconds is not None else ""
        verdict = f"[{COLOURS[item.verdict]}]{item.verdict}[/]"
        table.add_row(item.stage, verdict, took, escape("\n".join([*lines, *item.notes])))
    return table


def run(console: Console, session: Session, only: set[str] | None) -> None:
    """Materialize the plan's stages in order, with a bar for the one at work."""
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

            runtime = Runtime(
                compute=session.experiment.compute,
                tracking=session.experiment.tracking,
                progress=progress,
                observe=observe,
                log=lambda line: console.print(line, markup=False),
            )
            outcome = materialize(session.planner(), name, runtime)
            bars.remove_task(task)
            took = "" if outcome.cache == "hit" else f" in {duration(outcome.artifact.manifest.seconds)}"
            console.print(f"[{'green' if outcome.cache == 'hit' else 'yellow'}]{outcome.cache:>4}[/] {name}{took}")
            failed_checks(console, session, name, outcome.checks)


def failed_checks(console: Console, session: Session, stage: str, checks: list[Check]) -> None:
    """The checks that a stage failed, a line each."""
    for check in checks:
        if not check.passed:
            mark = "[red]gate[/]" if check.name in session.graph[stage].gates else "[yellow]note[/]"
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


def duration(seconds: float) -> str:
    """3.2 s, 4 min 10 s, 5 h 02 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"
