"""What is said when a part of a plug-in is missing: ``python -m benchmarks.left_out``.

For each kind of component, a small complete plug-in is written into a temporary folder, and then once more without each
of its parts. A process of its own opens an experiment that names it, which ``pedigree plan`` and ``pedigree run`` do
first. Where that finds nothing, the contract tests of the plug-in (``llm_core.contracts``) run in another process.
"""

import argparse
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import torch
import yaml

from benchmarks.left_out_cases import KINDS, Kind, Part
from llm_core.contracts.example import ContractError, run
from llm_core.contracts.plugin import CONTRACTS, checks_of, examples_of
from llm_core.contracts.settings import is_read_without_torch
from llm_core.errors import PedigreeError
from llm_core.plugins import load_plugins
from pipelines.session import open_session

EXPERIMENT = """
plugins: [own.components]
raw: {sources: [{kind: files, paths: [data/*.txt]}]}
tokenizer: {vocab_size: 400}
model: {d_model: 32, n_layers: 1, mixer: {kind: attention, n_heads: 2}, feed_forward: {kind: swiglu, d_ff: 64}}
training: {sequence_length: 32, batch_tokens: 128, tokens: 2560, precision: fp32, optimizer: {lr: 1e-2}}
"""
_CONTEXT = get_context("fork")  # starting Python anew for every part would take most of the time


@dataclass(frozen=True)
class Row:
    """What came of leaving out one part. ``made``: files in the store afterwards."""

    kind: str
    part: str
    found_by: str
    code: int
    made: int
    message: str


def write(folder: Path, kind: Kind, without: Part | None = None) -> Path:
    """The plug-in and its experiment in ``folder``; returns the experiment's file."""
    package = folder / "own"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    for module, text in kind.written(without).items():
        (package / f"{module}.py").write_text(text)
    (folder / "data").mkdir()
    (folder / "data" / "one.txt").write_text("The river rose in the night, and the bridge was gone by the morning.\n")
    path = folder / "experiment.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(EXPERIMENT), **yaml.safe_load(kind.experiment)}))
    return path


def read(folder: Path) -> None:
    """Open the experiment: read it, and build its graph."""
    open_session(str(folder / "experiment.yaml"))


def check(folder: Path) -> None:
    """The contract tests, up to the first that fails."""
    sys.path.append(str(folder))
    load_plugins(["own.components"])
    (example,) = examples_of("own.components", {})
    for checked in sorted(checks_of(example.table), key=lambda each: each is is_read_without_torch):  # the slowest last
        run(checked, example)


def _in_folder(step: Callable[[Path], None], folder: Path) -> None:
    os.chdir(folder)
    os.environ |= {"PEDIGREE_HOME": str(folder / "store"), "COLUMNS": "200"}
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    try:
        step(folder)
    except (PedigreeError, ContractError) as error:
        print(error, file=sys.stderr)
        sys.exit(1)


def left_out(name: str, kind: Kind, part: Part | None, folder: Path) -> Row:
    """Plan without ``part``; where the plan finds nothing, run the contract tests."""
    write(folder, kind, part)
    for step in (read, check):
        process = _CONTEXT.Process(target=_in_folder, args=(step, folder))
        process.start()
        process.join()
        if code := process.exitcode or 0:
            break
    message = (folder / "err").read_text().strip() if code else ""
    message = message.replace(f"{folder}{os.sep}", "").replace(str(folder), ".")
    store = folder / "store"
    made = sum(path.is_file() for path in store.rglob("*")) if store.exists() else 0
    found_by = {read: "reading", check: "contract tests"}[step] if code else "nothing"
    return Row(name, part.name if part else "(nothing)", found_by, code, made, message)


def cases(only: str) -> Iterator[tuple[str, Kind, Part | None]]:
    for name, kind in KINDS.items():
        if only in (name, ""):
            yield name, kind, None
            yield from ((name, kind, part) for part in kind.all_parts())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kind", default="", choices=["", *KINDS], help="only this one")
    only = parser.parse_args().kind
    torch.set_num_threads(1)
    for table in CONTRACTS:
        checks_of(table)  # imported here, for all processes
    print("| kind | left out | found by | exit code | files made | message |\n|---|---|---|---:|---:|---|")
    with tempfile.TemporaryDirectory() as folder:
        places = (Path(folder, str(number)) for number in range(10_000))
        for case, place in zip(cases(only), places, strict=False):
            row = left_out(*case, place)
            message = re.sub(r"\s+", " ", row.message).replace("|", "\\|")
            print(f"| {row.kind} | {row.part} | {row.found_by} | {row.code} | {row.made} | {message} |", flush=True)


if __name__ == "__main__":
    main()
