"""Code that is edited while a run goes on, through the command and through Dagster: nothing is kept of what it makes.

The process that is to be caught makes the edit itself, so that no test has to be quick enough: when it starts (after
the plan, before it has imported anything), or when it opens a certain file.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.pipelines.conftest import World, copy_of, copy_project

# Python runs it in every process that has it on its path.
SITECUSTOMIZE = """
import json, os, sys

file, old, new, moments = json.loads(os.environ["EDIT"])

def edit():
    with open(file) as source:
        text = source.read()
    if old in text:
        with open(file, "w") as source:
            source.write(text.replace(old, new, 1))

def look(event, arguments):
    if event == "open" and str(arguments[0]).endswith(tuple(moments)):
        edit()

if set(moments) & set(sys.orig_argv):
    edit()
sys.addaudithook(look)
"""


class Case(NamedTuple):
    stage: str
    setting: tuple[str, str]  # with which the stage is yet to be made, and nothing before it
    edit: tuple[str, str, str]  # file, old, new
    moments: tuple[str, ...]  # modules that a process is started with, or ends of names of files that it opens


CASES = {
    "trainer": Case(
        "pretrained_model",
        ("tokens: 2560", "tokens: 1280"),
        ("llm_core/train/loop.py", "optimizer.step()", "optimizer.step(None)"),
        ("llm_core.train", "assets.pipes_trainer"),
    ),
    "evaluation": Case(
        "eval_results",
        ("continuation_characters: 30", "continuation_characters: 31"),
        ("llm_core/evals/lm.py", "length < 1", "length < 2"),
        ("llm_core.evals.run",),
    ),
    "in this process": Case(
        "generation_samples",
        ("temperatures: [0.7]", "temperatures: [0.8]"),
        ("llm_core/evals/samples.py", "float(temperature)", "temperature"),
        ("out/samples.jsonl",),
    ),
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project that edits itself as the environment says."""
    folder = copy_project(tmp_path_factory.mktemp("project"))
    (folder / "sitecustomize.py").write_text(SITECUSTOMIZE)
    return folder


USUAL = {("evaluation", "command"), ("in this process", "Dagster")}
"""That the trainer refuses other code is also tested where a bundle starts it."""

WAYS = [
    pytest.param(
        case,
        through,
        id=f"{name}-{through}",
        marks=[pytest.mark.slow] * ((name, through) not in USUAL),
    )
    for through in ("command", "Dagster")
    for name, case in CASES.items()
]


@pytest.mark.parametrize(("case", "through"), WAYS)
def test_what_an_edit_may_have_changed_is_not_kept(
    finished: World, project: Path, tmp_path: Path, case: Case, through: str
) -> None:
    world = copy_of(finished, tmp_path)
    world.edit(*case.setting)
    name, old, new = case.edit
    file = project / name
    source = file.read_text()
    assert old in source

    def run(*command: str, moments: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", *command],
            cwd=project,
            env={
                **world.environment,
                "PYTHONPATH": str(project),
                "EDIT": json.dumps([str(file), old, new, moments]),
            },
            capture_output=True,
            text=True,
            timeout=300,
        )

    before = artifacts(world)
    if through == "command":
        command = ["pipelines.cli", "run", str(world.experiment), "--select", case.stage]
    else:
        command = ["dagster", "asset", "materialize", "-m", "pipelines.custom"]
        command += ["--select", f"+key:micro/{case.stage}"]
    try:
        done = run(*command, moments=case.moments)
        assert new in file.read_text()
    finally:
        file.write_text(source)
    assert done.returncode != 0
    module = name.removesuffix(".py").replace("/", ".")
    message = f"{case.stage}: the code has changed since the run began ({module}); nothing was committed"
    assert message in done.stderr
    assert not [path for path in artifacts(world) - before if path.parent.name in (case.stage, "training_run")]
    assert world.plan()[case.stage]["verdict"] == "run"


def artifacts(world: World) -> set[Path]:
    return set((world.folder / "home" / "store" / "artifacts").glob("*/*"))
