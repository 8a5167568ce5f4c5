"""How `make` makes the environment, with a stand-in for Python that installs nothing."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from llm_core.store.home import PROJECT

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="there is no make here")

PYTHON = """#!/bin/sh
# Says that it is VERSION; makes folders with a copy of itself; `pip install` fails while there is a file `broken`.
case "$1 $2" in
  "--version "*) echo "Python VERSION" ;;
  "-c "*) echo "VERSION" ;;
  "-m venv") mkdir -p "$3/bin"; cp "$0" "$3/bin/python"; chmod +x "$3/bin/python" ;;
  "-m pip") if test "$3" = install; then echo "$*" >> installs; test ! -e broken; fi ;;
esac
"""


class Checkout:
    """The Makefile and what it reads, in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.venv = folder / ".venv"
        for name in ("Makefile", "pyproject.toml", "constraints.txt"):
            shutil.copyfile(PROJECT / name, folder / name)
        (folder / "pipelines").mkdir()
        (folder / "pipelines" / "dagster.yaml").touch()
        self.python("3.12")

    def python(self, version: str) -> None:
        path = self.folder / "python"
        path.write_text(PYTHON.replace("VERSION", version))
        path.chmod(0o755)

    def make(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": os.environ["PATH"]}  # without what the make that runs the tests exports
        return subprocess.run(
            ["make", "install", "PYTHON=./python", *arguments],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
        )

    def installs(self) -> int:
        path = self.folder / "installs"
        return len(path.read_text().splitlines()) if path.exists() else 0


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def test_an_environment_is_made_once(checkout: Checkout) -> None:
    for _ in range(2):
        done = checkout.make()
        assert done.returncode == 0, done.stderr
    assert checkout.installs() == 1
    assert (checkout.folder / ".pedigree" / "dagster" / "dagster.yaml").exists()


@pytest.mark.parametrize("version", ["3.9", "Python 3.10.4", "2.7"])
def test_an_old_python_is_told_before_anything_is_made(checkout: Checkout, version: str) -> None:
    checkout.python(version)
    before = sorted(checkout.folder.iterdir())
    done = checkout.make()
    assert done.returncode != 0
    assert "needs Python 3.11 or newer, and ./python is " in done.stderr
    assert sorted(checkout.folder.iterdir()) == before


def test_a_python_that_is_not_there_is_told(checkout: Checkout) -> None:
    done = checkout.make("PYTHON=./nothing")
    assert done.returncode != 0
    assert "./nothing does not run" in done.stderr
    assert not checkout.venv.exists()


def test_what_an_interrupted_installation_left_is_made_anew(checkout: Checkout) -> None:
    (checkout.folder / "broken").touch()
    assert checkout.make().returncode != 0
    (checkout.venv / "half").touch()
    (checkout.folder / "broken").unlink()
    done = checkout.make()
    assert done.returncode == 0, done.stderr
    assert "making it anew" in done.stdout
    assert not (checkout.venv / "half").exists()


def test_an_update_that_was_interrupted_goes_on_in_the_same_environment(checkout: Checkout) -> None:
    assert checkout.make().returncode == 0
    (checkout.venv / "large_package").touch()
    newer = (checkout.venv / "installed").stat().st_mtime + 10
    os.utime(checkout.folder / "constraints.txt", (newer, newer))
    (checkout.folder / "broken").touch()
    assert checkout.make().returncode != 0
    (checkout.folder / "broken").unlink()
    assert checkout.make().returncode == 0
    assert (checkout.venv / "large_package").exists()


def test_a_folder_of_somebody_else_is_left_alone(checkout: Checkout) -> None:
    checkout.venv.mkdir()
    (checkout.venv / "notes.txt").write_text("mine")
    done = checkout.make()
    assert done.returncode != 0
    assert ".venv is no environment with pip" in done.stderr
    assert (checkout.venv / "notes.txt").read_text() == "mine"


def test_an_environment_of_somebody_else_is_used(checkout: Checkout) -> None:
    subprocess.run(["./python", "-m", "venv", ".venv"], cwd=checkout.folder, check=True)
    (checkout.venv / "notes.txt").write_text("mine")
    assert checkout.make().returncode == 0
    assert (checkout.venv / "notes.txt").read_text() == "mine"
    assert checkout.installs() == 1
