"""The walkthroughs of CONTRIBUTING.md, applied to a copy of the code, and the tests that they name."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from llm_core.store.home import PROJECT

COPIED = ("llm_core", "assets", "pipelines", "tests")
BLOCK = re.compile(r"^```(python|diff)\n# (\S+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def lines(block: str, *marks: str) -> str:
    """The lines of a diff with these marks, as they stand in the file."""
    return "".join(line[1:] for line in block.splitlines(keepends=True) if line[0] in marks)


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the code with all walkthroughs applied."""
    copy = tmp_path_factory.mktemp("walkthroughs")
    for name in COPIED:
        shutil.copytree(PROJECT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(PROJECT / "pyproject.toml", copy)
    page = (PROJECT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    blocks = BLOCK.findall(page)
    assert len(blocks) == len(re.findall(r"^```(?:python|diff)$", page, re.MULTILINE))
    for kind, name, block in blocks:
        path = copy / name
        if kind == "python":
            assert not path.exists(), f"{name} is there already: the walkthrough needs another name"
            path.parent.mkdir(exist_ok=True)
            (path.parent / "__init__.py").touch()
            path.write_text(block)
        else:
            before, text = lines(block, " ", "-"), path.read_text()
            assert text.count(before) == 1, (
                f"{name} has changed: these lines are there {text.count(before)} times:\n{before}"
            )
            path.write_text(text.replace(before, lines(block, " ", "+")))
    return copy


def test_all_walkthroughs_pass_the_tests_that_they_name(changed: Path) -> None:
    tests = [
        "tests/data/rules/test_exclamations.py",
        "tests/data/test_lengths.py",
        "tests/experiment/test_grad_value_clip.py",
    ]
    every_model = [f"tests/model/test_{name}.py" for name in ("generate", "properties", "accounting")]
    chosen = "plain_convolution or exclamation or longest or part_of_the_graph or who_sets_it"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-k", chosen, *tests, *every_model],
        cwd=changed,
        env={**os.environ, "PYTHONPATH": str(changed), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-5000:]
    assert len(re.findall(r"\.", done.stdout.splitlines()[0])) >= 8
