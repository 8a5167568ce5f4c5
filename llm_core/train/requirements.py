"""The requirements of a training run in addition to its inputs (W&B). They are checked before any stage runs."""

import os
from contextlib import suppress
from importlib.util import find_spec
from netrc import NetrcParseError, netrc
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from llm_core.errors import PedigreeError
from llm_core.experiment.runtime import TrackingSpec
from llm_core.extras import advice

if TYPE_CHECKING:  # the trainer checks its tracking, too, and has no graph
    from llm_core.graph.job import Runtime

_KEY = "WANDB_API_KEY"


def check(runtime: "Runtime") -> None:
    """``PedigreeError`` when a training run could not start for lack of access."""
    check_tracking(runtime.tracking)


def check_tracking(tracking: TrackingSpec) -> None:
    """``PedigreeError`` when W&B is on but not installed, or is online without a key."""
    if tracking.wandb == "off":
        return
    if find_spec("wandb") is None:
        raise PedigreeError(
            f"tracking.wandb is {tracking.wandb!r}, but the package wandb is not installed; {advice('track')}, or use "
            "'off'"
        )
    if tracking.wandb == "online" and not _has_key():
        raise PedigreeError(
            f"tracking.wandb is 'online', but there is no {_KEY} in the environment, and no key for {_host()} in "
            "~/.netrc; set it (or run `wandb login`), or use 'offline' or 'off'"
        )


def _has_key() -> bool:
    """Whether W&B will find a key, in the places where it looks."""
    if os.environ.get(_KEY) or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    named = os.environ.get("NETRC")
    for path in [Path(named)] if named else [Path.home() / ".netrc", Path.home() / "_netrc"]:
        with suppress(OSError, NetrcParseError):
            if netrc(path.expanduser()).authenticators(_host()):
                return True
    return False


def _host() -> str:
    return urlsplit(os.environ.get("WANDB_BASE_URL") or "https://api.wandb.ai").netloc
