"""All that needs a GPU, by one command of at most eight minutes: `python -m benchmarks.gpu`.

First, what a roofline promises of every case is written down. Then the tests that need a GPU run, then training steps
of models with a billion parameters (bf16 and fp8, each attention backend, activation checkpointing), and the trainer
itself. Each case is a process of its own with a time limit: a case that fails or hangs stops no other one, and the page
shows its last lines. The page (`docs/results/gpu.md`) is written again after every case, and lists the cases that there
was no time for. Needed are torch (2.11 or newer), numpy, pydantic, safetensors and pytest, and no Dagster.

`--dry-run FILE` does the same at toy size on a CPU; its figures mean nothing.
"""

import argparse
import json
import re
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.gpu_cases import BANDWIDTH, STEPS, Setting, fitting, formula_bytes, order_of, roofline_seconds, toy
from benchmarks.train_peers import missing
from llm_core.errors import PedigreeError
from llm_core.experiment.devices import DEVICES, DeviceSpec, known_device
from llm_core.launch import run_group
from llm_core.model.accounting import FLOPS_CONVENTION, flops_per_token
from llm_core.train.hardware import Hardware, planned

PROJECT = Path(__file__).resolve().parents[1]
PAGE = PROJECT / "docs" / "results" / "gpu.md"
TESTS, RATES, TRAINER = "tests", "rates of the device", "the trainer itself"
NAMES = (TESTS, RATES, *STEPS, TRAINER)
SHARE_OF_TESTS = 0.3
"""Of the whole time, at most."""
LEAST_SECONDS = 15.0
"""A case is not begun with less time left than this."""
CASE_SECONDS = 120.0
TRAINER_SECONDS = 150.0
GRACE_SECONDS = 2.0
"""Between TERM and KILL of a case whose time is up."""
TAIL_LINES = 12
TRAINER_PLACE = 5
"""Steps that come before the trainer."""
_ALONE = re.compile(r"(tests/\S+?::.*?) (PASSED|FAILED|ERROR|SKIPPED)\b")
_BY_WORKER = re.compile(r"\[gw\d+\] \[ *\d+%\] (PASSED|FAILED|ERROR|SKIPPED) (tests/\S+?::.*\S)")
"""What `pytest -v` prints of a test, without and with pytest-xdist."""


@dataclass
class Case:
    """Something that is run in a process of its own. ``seconds``: its time limit."""

    name: str
    command: list[str]
    seconds: float
    setting: Setting | None = None
    outcome: str = "not reached"
    """``done``, ``failed``, ``out of time`` or ``not reached``; or why it is left out."""
    found: dict[str, Any] = field(default_factory=dict)
    tail: str = ""
    """The last lines of its output, where it did not end well."""

    @property
    def troubled(self) -> bool:
        """Whether it ran and did not end well."""
        return self.outcome.startswith(("failed", "out of time"))

    def run(self, left: float, folder: Path) -> None:
        """Run it for at most ``left`` seconds, and keep what it found."""
        log = folder / "log"
        log.unlink(missing_ok=True)
        ends = time.monotonic() + min(self.seconds, left)

        def tick() -> None:
            if time.monotonic() > ends:
                raise TimeoutError

        self.outcome = "done"
        try:
            run_group(self.command, log=log, tick=tick, tick_seconds=0.2, grace_seconds=GRACE_SECONDS)
        except TimeoutError:
            self.outcome = f"out of time after {min(self.seconds, left):.0f} s"
        except PedigreeError:
            self.outcome = "failed"
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        if self.name == TESTS:
            self.found = {"tests": outcomes(lines)}
        elif self.outcome == "done":
            self.found = json.loads(next(line for line in reversed(lines) if line.startswith("{")))
        if self.outcome != "done":
            self.tail = "\n".join(shown(lines)[-TAIL_LINES:])


@dataclass
class Page:
    """What is written. ``facts``: see `gpu_cases.facts`. ``device``: None where its data sheet isn't known."""

    facts: dict[str, Any]
    device: DeviceSpec | None
    cases: list[Case]
    minutes: float
    dry: bool
    started: float = field(default_factory=time.monotonic)

    def text(self) -> str:
        """The whole page, in Markdown."""
        facts, taken = self.facts, (time.monotonic() - self.started) / 60
        where = f"{facts['name']}, torch {facts['torch']}, CUDA {facts['cuda']}, Python {facts['python']}"
        parts = [
            "# One GPU",
            "**A dry run on a CPU at toy size: no figure here means anything.**" if self.dry else "",
            f"`python -m benchmarks.gpu` on {where}; {taken:.1f} of {self.minutes:g} minutes.",
            "## Written down before\n\n" + self._expected(),
            "## Tests that need a GPU\n\n" + self._tests(),
            "## The device\n\n" + self._rates(),
            "## Training steps\n\n" + self._steps(),
            *self._troubles(),
            "## Not reached\n\n" + self._left(),
        ]
        return "\n\n".join(part for part in parts if part) + "\n"

    def _steps_of_models(self) -> list[Case]:
        return [case for case in self.cases if case.setting is not None]

    def _roofline(self, setting: Setting) -> float | None:
        if self.device is None:
            return None
        return roofline_seconds(setting, self.device.tflops_bf16 * 1e12, BANDWIDTH[self.device.name])

    def _expected(self) -> str:
        if self.device is None:
            return (
                f"{self.facts['name']} is not in the table of devices (`llm_core/experiment/devices.py`): there is no "
                "roofline and no MFU."
            )
        peak = self.device.tflops_bf16 * 1e12
        lines = [
            f"By the data sheet of {self.device.name}: {self.device.tflops_bf16:g} TFLOP/s in bf16, twice that in "
            f"fp8, {BANDWIDTH[self.device.name] / 1e12:g} TB/s. The roofline has every product at that peak and every "
            "byte at that bandwidth, one after the other (`roofline_seconds` in `benchmarks/gpu_cases.py`). MFU is "
            f"{FLOPS_CONVENTION}; over the peak in bf16, also for fp8. Memory is `preflight`'s formula.",
            "",
            "| case | sequences × tokens | a step | tokens/s | MFU | memory |",
            "|---|---|---|---|---|---|",
        ]
        for case in self._steps_of_models():
            setting = case.setting
            assert setting is not None
            if (seconds := self._roofline(setting)) is None:
                continue
            rate = setting.sequences * setting.length / seconds
            mfu = rate * flops_per_token(setting.model, setting.vocabulary, setting.length) / peak
            memory = formula_bytes(setting, hardware(self.device, self.facts)) / 1e9
            lines.append(
                f"| {case.name} | {_size(setting)} | {seconds * 1e3:.0f} ms | {rate:,.0f} | {mfu:.1%} | "
                f"{memory:.1f} GB |"
            )
        return "\n".join(lines)

    def _tests(self) -> str:
        found = next((case for case in self.cases if case.name == TESTS), None)
        if found is None:
            return "Not asked for."
        results = found.found.get("tests", {})
        counts = {kind: list(results.values()).count(kind) for kind in ("PASSED", "FAILED", "ERROR", "SKIPPED")}
        text = ", ".join(f"{count} {kind.lower()}" for kind, count in counts.items() if count) or "none ran"
        if found.outcome.startswith("out of time"):
            text += "; there was no time for the others"
        bad = [f"- `{name}`: {kind.lower()}" for name, kind in results.items() if kind in ("FAILED", "ERROR")]
        return "\n".join([f"`python -m pytest -m gpu`: {found.outcome}; {text}.", *([""] if bad else []), *bad])

    def _rates(self) -> str:
        found = next((case for case in self.cases if case.name == RATES), None)
        if found is None or not found.found:
            return "Not measured."
        rates = found.found
        fp8 = f", {rates['fp8'] / 1e12:,.3g} in fp8" if "fp8" in rates else "; it has no fp8"
        return (
            f"A large product runs at {rates['bf16'] / 1e12:,.3g} TFLOP/s in bf16{fp8}; a copy on the device moves "
            f"{rates['copy'] / 1e12:.3g} TB/s, one to pinned memory {rates['to_host'] / 1e9:.3g} GB/s."
        )

    def _steps(self) -> str:
        lines = [
            "*of the roofline*: of the tokens per second written down above. *memory*: the peak of what torch held, "
            "and beside it that over the formula. *first steps*: the first three, with what the compiler takes.",
            "",
            "| case | sequences × tokens | tokens/s | of the roofline | MFU | memory | of the formula | loss | "
            "first steps |",
            "|---|---|---|---|---|---|---|---|---|",
        ]
        for case in self._steps_of_models():
            setting, found = case.setting, case.found
            assert setting is not None
            if not found:
                lines.append(f"| {case.name} | {_size(setting)} | {case.outcome} | | | | | | |")
                continue
            rate, memory = found["tokens_per_second"], found["memory"]
            roofline = self._roofline(setting)
            share = "" if roofline is None else f"{rate * roofline / setting.sequences / setting.length:.0%}"
            mfu, held, of_formula = "", "", ""
            if self.device is not None:
                mfu = f"{rate * found['flops_per_token'] / self.device.tflops_bf16 / 1e12:.1%}"
            if memory is not None:
                held = f"{memory / 1e9:.1f} GB"
                of_formula = f"{memory / formula_bytes(setting, hardware(self.device, self.facts)):.0%}"
            lines.append(
                f"| {case.name} | {_size(setting)} | {rate:,.0f} | {share} | {mfu} | {held} | {of_formula} | "
                f"{found['loss']:.3f} | {found['first_seconds']:.0f} s |"
            )
        return "\n".join(lines)

    def _troubles(self) -> list[str]:
        troubled = [case for case in self.cases if case.troubled]
        if not troubled:
            return []
        parts = [f"**{case.name}** ({case.outcome}):\n\n```\n{case.tail}\n```" for case in troubled]
        return ["## What failed\n\n" + "\n\n".join(parts)]

    def _left(self) -> str:
        left = [case for case in self.cases if case.outcome != "done" and not case.troubled]
        if not left:
            return "Nothing: every case had its turn."
        return "\n".join(f"- {case.name}: {case.outcome}" for case in left)


def shown(lines: Sequence[str]) -> list[str]:
    """Lines of an output without folders of this machine, and without what Python underlines."""
    elsewhere = re.compile(r"[^\s\"']*/(site-packages|lib/python3\.\d+)/")
    parts = [elsewhere.sub("", line.replace(f"{PROJECT}/", "")) for line in lines]
    return [part for part in parts if part.strip(" ^~")]


def _size(setting: Setting) -> str:
    return f"{setting.sequences} × {setting.length:,}"


def outcomes(lines: Sequence[str]) -> dict[str, str]:
    """Test → PASSED, FAILED, ERROR or SKIPPED, from what `pytest -v` prints, with pytest-xdist or without."""
    found = {}
    for line in lines:
        if match := _ALONE.match(line):
            found[match[1]] = match[2]
        elif match := _BY_WORKER.match(line):
            found[match[2]] = match[1]
    return found


def pytest_command() -> list[str]:
    """pytest on the files that have tests marked ``gpu``: others may need packages that a bare machine lacks.

    The one with most tests, which compile most kernels, comes last, lest there be no time for the others.
    """
    texts = {path: path.read_text("utf-8") for path in sorted((PROJECT / "tests").rglob("test_*.py"))}
    files = [path for path, text in texts.items() if "mark.gpu" in text]
    files.sort(key=lambda path: path.name == "test_attending.py")
    spread = [] if missing(("xdist",)) else ["--numprocesses", "4"]
    names = [str(path.relative_to(PROJECT)) for path in files]
    options = ["-m", "gpu", "-v", "-o", "addopts=--strict-markers", "--tb=short", "-p", "no:cacheprovider"]
    return [sys.executable, "-m", "pytest", *options, *spread, *names]


def hardware(device: DeviceSpec | None, facts: dict[str, Any]) -> Hardware:
    """One GPU, with the memory that it has."""
    if device is not None:
        return planned(device, 1)
    whole, tenths = facts["capability"]
    return Hardware(facts["name"], devices=1, memory=facts["memory"], peak_flops=None, capability=(whole, tenths))


def all_cases(machine: Hardware, names: Sequence[str], minutes: float, steps: int, dry: bool) -> list[Case]:
    """The cases of these ``names``, in the order in which they run."""
    place = "cpu" if dry else "cuda"
    child = [sys.executable, "-m", "benchmarks.gpu_cases"]
    cases = [
        Case(TESTS, pytest_command(), 60 * minutes * SHARE_OF_TESTS),
        Case(RATES, [*child, order_of("rates", place, size=64 if dry else 8192)], CASE_SECONDS),
    ]
    listed = list(STEPS.items())
    listed.insert(TRAINER_PLACE, (TRAINER, STEPS["llama3_1b"]))
    for name, full in listed:
        setting = toy(full) if dry else full
        chosen = fitting(setting, machine)
        kind, limit = ("trainer", TRAINER_SECONDS) if name == TRAINER else ("step", CASE_SECONDS)
        order = order_of(kind, place, chosen or setting, steps=2 * steps if name == TRAINER else steps)
        case = Case(name, [*child, order], limit, chosen or setting)
        if chosen is None:
            case.outcome = f"left out: by the formula not even one sequence fits {machine.name}"
        elif setting.who == "transformers" and missing(("transformers",)):
            case.outcome = "left out: transformers is not installed"
        elif setting.precision == "fp8" and not machine.fp8:
            case.outcome = f"left out: {machine.name} has no 8-bit products"
        cases.append(case)
    return [case for case in cases if case.name in names]


def ask_machine(place: str, folder: Path) -> dict[str, Any]:
    """What `gpu_cases.facts` says, from a process of its own, so that this one holds no memory of the GPU."""
    asked = Case("facts", [sys.executable, "-m", "benchmarks.gpu_cases", order_of("facts", place)], CASE_SECONDS)
    asked.run(CASE_SECONDS, folder)
    if asked.outcome != "done":
        raise PedigreeError(
            f"no GPU can be used here ({asked.outcome}). Run this on a machine with one, or try it on a CPU with "
            f"--dry-run FILE. The last lines:\n{asked.tail}"
        )
    return asked.found


def _end(number: int, _frame: object) -> None:
    """What the default would leave running is ended with this process."""
    raise SystemExit(128 + number)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and write the page; 1 where there is no GPU, where a test fails or a case does."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=8.0, help="for everything (default: 8)")
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES, metavar="CASE", help=", ".join(NAMES))
    parser.add_argument("--steps", type=int, default=10, help="timed steps of a case (default: 10)")
    parser.add_argument("--page", type=Path, default=PAGE, help="where to write (default: docs/results/gpu.md)")
    parser.add_argument("--dry-run", type=Path, metavar="FILE", help="toy sizes on a CPU; the page goes to FILE")
    options = parser.parse_args(arguments)
    dry = options.dry_run is not None
    page_file = options.dry_run if dry else options.page
    if dry and page_file.resolve() == PAGE:
        parser.error(f"{PAGE} is for what was measured on a GPU: give --dry-run another file")
    started = time.monotonic()
    ends = started + 60 * options.minutes
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        try:
            facts = ask_machine("cpu" if dry else "cuda", folder)
        except PedigreeError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        device = DEVICES["H100"] if dry else known_device(facts["name"], facts["memory"])
        cases = all_cases(hardware(device, facts), options.only, options.minutes, options.steps, dry)
        page = Page(facts, device, cases, options.minutes, dry, started)
        page_file.parent.mkdir(parents=True, exist_ok=True)
        page_file.write_text(page.text(), encoding="utf-8")  # what is expected stands there before anything is measured
        for case in cases:
            left = ends - time.monotonic() - 2 * GRACE_SECONDS
            if case.outcome == "not reached" and left >= min(LEAST_SECONDS, 60 * options.minutes / 2):
                case.run(left, folder)
                print(f"{time.monotonic() - started:4.0f} s  {case.name}: {case.outcome}", flush=True)
                page_file.write_text(page.text(), encoding="utf-8")
    print(f"{page_file}: {sum(case.outcome == 'done' for case in cases)} of {len(cases)} cases done")
    return 1 if any(case.troubled for case in cases) else 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _end)
    raise SystemExit(main())
