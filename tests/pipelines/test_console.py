"""What a run in Dagster prints."""

import logging
import re

import dagster as dg
import pytest

from pipelines.console import ConsoleFormatter, console_logger, is_for_people


@dg.asset(key=["tiny", "lr_sweep", "good"])
def good(context: dg.AssetExecutionContext) -> None:
    context.log.info("[1/3] good: hit")
    context.log.warning("a check failed")


@dg.asset(key=["tiny", "for_people"])
def for_people() -> None:
    raise dg.Failure(description="raw.sources: no such file\nmend it")


@dg.asset(key=["tiny", "defect"])
def defect() -> None:
    raise ValueError("a defect of ours")


@dg.asset(key=["tiny", "gated"], check_specs=[dg.AssetCheckSpec("share", asset=["tiny", "gated"], blocking=True)])
def gated(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
    context.log.warning("gated: check share failed: too few")
    return dg.MaterializeResult(check_results=[dg.AssetCheckResult(check_name="share", passed=False)])


@dg.asset(key=["tiny", "after"], deps=[gated])
def after() -> None:
    pass


class Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.setFormatter(ConsoleFormatter())
        self.addFilter(is_for_people)

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@pytest.fixture
def kept() -> Kept:
    return Kept()


def printed(kept: Kept, *assets: dg.AssetsDefinition) -> list[str]:
    @dg.logger
    def keeping(_: dg.InitLoggerContext) -> logging.Logger:
        logger = logging.getLoggerClass()("kept", level=logging.INFO)
        logger.addHandler(kept)
        return logger

    definitions = dg.Definitions(assets, loggers={"console": keeping}, executor=dg.in_process_executor)
    job = definitions.resolve_implicit_global_asset_job_def()
    job.execute_in_process(raise_on_error=False, run_config={"loggers": {"console": {}}})
    return [re.sub(r"^\d\d:\d\d:\d\d ", "", line) for line in kept.lines]


def test_lines_are_as_they_were_said(kept: Kept) -> None:
    assert printed(kept, good) == ["[1/3] good: hit", "warning: a check failed"]


def test_an_error_for_people_comes_without_a_stack(kept: Kept) -> None:
    failure, end = printed(kept, for_people)
    assert failure == "error: for_people failed: raw.sources: no such file\nmend it"
    assert "Stack" not in end


def test_any_other_error_comes_with_its_stack_and_once(kept: Kept) -> None:
    failure, end = printed(kept, defect)
    assert "ValueError: a defect of ours" in failure
    assert "test_console.py" in failure
    assert "a defect of ours" not in end
    assert "failed" in end


def test_a_closed_gate_is_told_without_a_stack_and_without_what_it_blocks(kept: Kept) -> None:
    assert printed(kept, gated, after) == [
        "warning: gated: check share failed: too few",
        "error: gated: the check above blocks the stages that need it: change its inputs, or the bound (checks)",
        "error: the run failed: gated. Stages after it were not made",
    ]


def test_the_logger_writes_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    definitions = dg.Definitions([good], loggers={"console": console_logger}, executor=dg.in_process_executor)
    job = definitions.resolve_implicit_global_asset_job_def()
    job.execute_in_process(run_config={"loggers": {"console": {}}})
    captured = capsys.readouterr()
    assert "[1/3] good: hit\n" in captured.err
    assert not captured.out
