"""Each device of this machine trains one run at a time, whoever starts it and from whatever project and folder.

The locks of all devices and users are in one folder: ``/tmp``, whatever ``TMPDIR`` says, or the folder
``PEDIGREE_LOCKS``, which several containers can share. The kernel frees the locks of a process that dies.
"""

import getpass
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from llm_core.errors import PedigreeError
from llm_core.reasons import explained
from llm_core.runtime_only import runtime_only
from llm_core.train.locks import owner, take

HELD = "PEDIGREE_DEVICES"
"""An environment variable of a trainer whose launcher holds the locks of its devices."""
_PLACE = "PEDIGREE_LOCKS"
_POLL_SECONDS = 0.2
_TOLD_AGAIN_SECONDS = (60.0, 3600.0)
"""The pause before a wait is logged again. It starts at the first value and doubles up to the second."""


@runtime_only("a name and a lock")
@dataclass(frozen=True)
class Device:
    """A device.

    ``name`` is for people, ``key`` names the lock, and ``visible`` is the name in ``CUDA_VISIBLE_DEVICES``.
    """

    name: str
    key: str
    visible: str | None = None

    @property
    def lock(self) -> Path:
        """The lock file."""
        return _place() / f"pedigree-device-{re.sub('[^A-Za-z0-9.-]', '_', self.key)}.lock"


@contextmanager
def reserved(
    devices: Sequence[Device], count: int, what: str, log: Callable[[str], None]
) -> Iterator[dict[Device, int]]:
    """Lock the first ``count`` free ones of ``devices``, all at once; yields device → descriptor of its lock.

    While fewer are free, this waits and locks none. It logs who has the others, and repeats that now and then.
    ``what``: the name of the run, for others that wait. ``PedigreeError`` when the locks can't be used.
    """
    began = told = time.monotonic()
    pause, known = _TOLD_AGAIN_SECONDS[0], ""
    while True:
        with ExitStack() as stack:
            taken, busy = _take_first(devices, count, what, stack)
            if len(taken) == count:
                if known:
                    log(f"{' and '.join(device.name for device in taken)} free after {_span(time.monotonic() - began)}")
                yield taken
                return
        now = time.monotonic()
        if busy and (busy != known or now - told >= pause):
            pause = _TOLD_AGAIN_SECONDS[0] if busy != known else min(2 * pause, _TOLD_AGAIN_SECONDS[1])
            so_far = f", for {_span(now - began)} so far" if known else ""
            log(f"{what}: waiting for {_wanted(devices, count)}{so_far}: {busy}")
            told, known = now, busy
        time.sleep(_POLL_SECONDS)


@runtime_only("shows others that a device is in use")
@contextmanager
def used(device: Device, what: str, log: Callable[[str], None]) -> Iterator[None]:
    """Lock ``device`` for a trainer that must use this one. If another run has the lock, log that and go on."""
    try:
        descriptor = take(_made(device.lock), _about(what))
    except OSError as error:
        log(f"{device.lock}: others can't see that {device.name} is in use: {explained(error)}")
        descriptor = None
    else:
        if descriptor is None:
            log(f"{device.name} is in use already, by {owner(device.lock)}: both will be slow, or memory runs out")
    try:
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _take_first(devices: Sequence[Device], count: int, what: str, stack: ExitStack) -> tuple[dict[Device, int], str]:
    """Locks of the first ``count`` free devices. If fewer are free: no lock, and a text that says who has the others.

    No run waits while it has a device. Only one process chooses at a time, so that two never take half of what each
    needs.
    """
    taken: dict[Device, int] = {}
    busy = []
    choosing = _take(_place() / "pedigree-devices.lock", what)
    if choosing is None:  # another run is choosing, which takes a moment
        return taken, ""
    try:
        for device in devices:
            if len(taken) == count:
                break
            descriptor = _take(device.lock, what)
            if descriptor is None:
                busy.append(f"{device.name} is held by {owner(device.lock)}")
            else:
                stack.callback(os.close, descriptor)
                taken[device] = descriptor
        if len(taken) < count:
            stack.close()
            taken = {}
    finally:
        os.close(choosing)
    return taken, "; ".join(busy)


def _take(path: Path, what: str) -> int | None:
    try:
        return take(_made(path), _about(what))
    except OSError as error:
        raise PedigreeError(
            f"{path}: can't be used as a lock of this machine's devices: {explained(error)}; or set {_PLACE} to a "
            "folder that all who train on this machine can write to"
        ) from None


def _made(path: Path) -> Path:
    if not path.parent.is_dir():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.parent.chmod(0o1777)  # for all users; none can remove the files of another
    return path


def _about(what: str) -> dict[str, str]:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container may have no name for its user
        user = f"user {os.getuid()}"
    return {"what": what, "user": user}


def _place() -> Path:
    return Path(os.environ.get(_PLACE) or "/tmp").expanduser()  # noqa: S108 (fixed on purpose; see ``take``)


def _wanted(devices: Sequence[Device], count: int) -> str:
    if len(devices) == 1:
        return devices[0].name
    return f"{count} of {len(devices)} GPUs" if count < len(devices) else f"all {count} GPUs"


def _span(seconds: float) -> str:
    minutes = int(seconds) // 60
    return (
        f"{seconds:.0f} s"
        if not minutes
        else f"{minutes // 60} h {minutes % 60} min"
        if minutes >= 60
        else f"{minutes} min"
    )
