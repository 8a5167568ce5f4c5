import atexit
import fcntl
import functools
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner as ClickRunner
from click.testing import Result as ClickResult
from dagster._cli import cli as dagster
from typer.testing import CliRunner, Result

from llm_core.loaded_code import PACKAGES
from llm_core.store.home import PROJECT
from llm_core.train.capabilities import rates_of
from llm_core.train.this_machine import this_machine
from pipelines import planner
from pipelines.cli import app
from pipelines.session import open_session

HERE = Path(__file__).parent
MATERIALIZE = ("asset", "materialize", "-m", "pipelines.custom", "--select")
WORDS = [
    "river",
    "stone",
    "light",
    "garden",
    "winter",
    "morning",
    "bridge",
    "letter",
    "window",
    "copper",
    "signal",
    "forest",
    "engine",
    "paper",
    "valley",
]


def document(number: int) -> str:
    """A made text of a few sentences; the same for the same number."""
    chance = random.Random(number)
    sentences = [" ".join(chance.choices(WORDS, k=chance.randint(6, 14))).capitalize() + "." for _ in range(12)]
    return " ".join(sentences)


@dataclass
class World:
    """A home, an experiment and its sources in a folder of their own."""

    folder: Path

    @property
    def experiment(self) -> Path:
        return self.folder / "micro.yaml"

    @property
    def environment(self) -> dict[str, str]:
        home = self.folder / "home"
        return {
            **os.environ,
            "PEDIGREE_HOME": str(home),
            "DAGSTER_HOME": str(home / "dagster"),
            "PEDIGREE_EXPERIMENT": str(self.experiment),
            "TMPDIR": str(home / "tmp"),
            # Another training need not hold up the tests.
            "PEDIGREE_LOCKS": str(home / "locks"),
        }

    def edit(self, old: str, new: str) -> None:
        text = self.experiment.read_text()
        assert old in text
        self.experiment.write_text(text.replace(old, new))

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", *command], env=self.environment, capture_output=True, text=True, timeout=300
        )

    def asked(self, *arguments: str) -> Result:
        """A command in this process, which has imported what others would import first.

        Tests whose subject is a process (kills, edits of code, upgrades, a ``launch``) start one, as users do.
        """
        sys.modules.pop("pipelines.custom", None)  # it is of the experiment with which it was imported
        with code_read_once():
            return CliRunner().invoke(app, arguments, env=self.environment, catch_exceptions=False)

    def pedigree(self, *arguments: str) -> str:
        """What a command prints that ends well."""
        asked = self.asked(*arguments)
        assert asked.exit_code == 0, asked.stderr + asked.stdout
        return asked.stdout

    def plan(self) -> dict[str, dict]:
        records = json.loads(self.pedigree("plan", str(self.experiment), "--json"))
        return {record["stage"]: record for record in records}

    def materialize(self, select: str = "*") -> subprocess.CompletedProcess[str]:
        return self.run("dagster", *MATERIALIZE, select)

    def materialized(self, select: str = "*") -> ClickResult:
        """The same in this process."""
        sys.modules.pop("pipelines.custom", None)
        with code_read_once(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that another command supersedes it
            return ClickRunner().invoke(dagster, [*MATERIALIZE, select], env=self.environment)


@contextmanager
def code_read_once() -> Iterator[None]:
    """In one process, the plans of all worlds follow from the same code: it is read once, and not for each home."""
    home, reader = remembering(), planner._reader
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planner, "_reader", lambda _, plugins: reader(home, plugins))
        yield


@functools.cache
def remembering() -> Path:
    """A home that remembers this machine's rates and the digests of code, so that those of tests need not ask again."""
    home = Path(tempfile.mkdtemp(prefix="pedigree-home-"))
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PEDIGREE_HOME", str(home))
        rates_of(this_machine(), here=True)
        session = open_session(str(HERE / "micro.yaml"))
        planner = session.planner()
        for stage in session.graph:
            planner.code(stage.name)
    return home


def make_world(folder: Path) -> World:
    world = World(folder)
    sources = folder / "sources"
    sources.mkdir()
    for part in range(2):
        lines = [json.dumps({"text": document(part * 60 + number)}) for number in range(60)]
        (sources / f"{part}.jsonl").write_text("\n".join(lines) + "\n")
    world.experiment.write_text((HERE / "micro.yaml").read_text().replace("PLACE", str(sources)))
    dagster_home = folder / "home" / "dagster"
    dagster_home.mkdir(parents=True)
    (folder / "home" / "tmp").mkdir()
    shutil.copytree(remembering(), folder / "home", dirs_exist_ok=True)
    (dagster_home / "dagster.yaml").write_text((HERE.parents[1] / "pipelines" / "dagster.yaml").read_text())
    return world


def copy_project(folder: Path) -> Path:
    """The code that runs here in another folder, to be changed, with the plug-ins of the micro experiment."""
    for package in PACKAGES:
        shutil.copytree(PROJECT / package, folder / package)
    for name in ("__init__.py", "pipelines/__init__.py", "pipelines/components.py", "pipelines/in_process.py"):
        name = f"tests/{name}"
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(PROJECT / name, folder / name)
    return folder


def copy_of(world: World, folder: Path) -> World:
    """The same finished world in another folder, to be changed; paths of sources move along."""
    shutil.copytree(world.folder, folder, dirs_exist_ok=True)
    copied = World(folder)
    copied.edit(str(world.folder), str(folder))
    return copied


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A world in which the whole graph has been materialized through Dagster: made once, copied for each process."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    original, whole = World(shared / "finished"), shared / "finished.whole"
    with (shared / "finished.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not whole.exists():
            original.folder.mkdir()
            done = make_world(original.folder).materialize()
            assert done.returncode == 0, done.stderr[-5000:]
            whole.touch()
    return copy_of(original, tmp_path_factory.mktemp("world"))
