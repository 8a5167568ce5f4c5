"""The log of a Dagster run on the console: lines of the stages, and errors. Dagster's own events are in the UI."""

import logging
import re
import sys
import time
from typing import Any

import dagster as dg

_FAILED_STEPS = re.compile(r"Steps failed: \[(.+)\]")


class ConsoleFormatter(logging.Formatter):
    """Prints the time and the message. Errors for users come without a stack trace, others with it."""

    def format(self, record: logging.LogRecord) -> str:
        """The text of one record of a Dagster run."""
        level = "" if record.levelno < logging.WARNING else f"{record.levelname.lower()}: "
        return f"{time.strftime('%H:%M:%S', time.localtime(record.created))} {level}{self._text(record)}"

    def _text(self, record: logging.LogRecord) -> str:
        meta: dict[str, Any] = getattr(record, "dagster_meta", {})
        event: dg.DagsterEvent | None = meta.get("dagster_event")
        if event is not None and event.is_step_failure:
            stage, failure = _stage(event.step_key), event.step_failure_data
            if failure.user_failure_data is not None and failure.user_failure_data.description:
                return f"{stage} failed: {failure.user_failure_data.description}"
            if failure.error is not None and failure.error.cls_name == "DagsterAssetCheckFailedError":
                return (
                    f"{stage}: the check above blocks the stages that need it: change its inputs, or the bound (checks)"
                )
        if event is not None and event.is_run_failure and (failed := _FAILED_STEPS.search(str(event.message))):
            # The error of the run repeats the errors of the steps.
            names = ", ".join(_stage(key.strip(" '")) for key in failed[1].split(","))
            return f"the run failed: {names}. Stages after it were not made"
        return str(meta.get("orig_message") or record.getMessage()) if event is None else record.getMessage()


def is_for_people(record: logging.LogRecord) -> bool:
    """False for messages of Pipes about itself, and for the list of steps that a failed one prevents."""
    line = record.getMessage()
    if record.levelno < logging.WARNING:
        return "[pipes] " not in line
    return not ("Dependencies for step " in line and line.endswith("Not executing."))


def _stage(step_key: str | None) -> str:
    """``tiny__lr_sweep__1e_03`` as ``lr_sweep/1e_03``."""
    return "/".join((step_key or "").split("__")[1:]) or "the run"


@dg.logger(description="Messages for users.", config_schema=dg.Noneable(dg.Permissive()))
def console_logger(_: dg.InitLoggerContext) -> logging.Logger:
    """The logger ``console``. Runs that start from a command use it through ``console.yaml``."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(ConsoleFormatter())
    handler.addFilter(is_for_people)
    logger = logging.getLoggerClass()("pedigree", level=logging.INFO)
    logger.addHandler(handler)
    return logger
