from pathlib import Path

import pytest

from llm_core.errors import PedigreeError
from llm_core.graph.code_digest import CodeReader, digest_of
from llm_core.store.home import PROJECT

MAIN = '''
"""A module."""
from proj.helpers import used
from proj import parts
from proj.table import RULES
import proj.deep.inner
from proj.clock import tick

LIMIT = 3

def build(job, rules):
    """Docstring."""
    # a comment
    tick()
    for name in rules:
        RULES.load(name)
    return used(LIMIT) + parts.piece() + proj.deep.inner.far()

def other():
    return 1
'''
HELPERS = """
def used(x):
    return _inner(x)

def _inner(x):
    return x + 1

def unused(x):
    return x
"""
TABLE = """
from proj.registry import Registry
RULES = Registry("rule", {"a": "proj.rules_a:rule", "b": "proj.rules_b:rule"})
"""
FILES = {
    "main.py": MAIN,
    "helpers.py": HELPERS,
    "table.py": TABLE,
    "registry.py": "class Registry:\n    pass\n",
    "rules_a.py": "def rule():\n    return 1\n",
    "rules_b.py": "def rule():\n    return 2\n",
    "parts.py": "def piece():\n    return 1\n\ndef apart():\n    return 2\n",
    "deep/__init__.py": "",
    "deep/inner.py": "def far():\n    return 1\n",
    "clock.py": (
        "from llm_core.runtime_only import runtime_only\n\n@runtime_only('a clock')\ndef tick():\n    return 0\n"
    ),
    "__init__.py": "",
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        path = tmp_path / "proj" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def digests(root: Path, *names: str) -> dict[str, str]:
    return CodeReader(root, ("proj",)).digests(["proj.main:build"], frozenset(names))


def edit(root: Path, name: str, old: str, new: str) -> None:
    path = root / "proj" / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_reaches_what_is_used_and_nothing_else(project: Path) -> None:
    assert set(digests(project, "a")) == {
        "proj.main:build",
        "proj.main:LIMIT",
        "proj.helpers:used",
        "proj.helpers:_inner",
        "proj.parts:piece",
        "proj.deep.inner:far",
        "proj.table:RULES[a]",
        "proj.rules_a:rule",
    }


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("main.py", "# a comment", "# another comment\n    # and one more"),
        ("main.py", '"""Docstring."""', '"""Other words."""'),
        ("main.py", "used(LIMIT) + parts", "(used( LIMIT )) + parts"),
        ("main.py", "return 1", "return 2"),  # a function that build does not reach
        ("helpers.py", "def unused(x):\n    return x", "def unused(x):\n    return -x"),
        ("parts.py", "return 2", "return 3"),
        ("table.py", '"b": "proj.rules_b:rule"', '"b": "proj.rules_b:rule", "c": "proj.rules_c:rule"'),
        ("rules_b.py", "return 2", "return 3"),
        ("clock.py", "return 0", "return 1"),
    ],
)
def test_what_changes_no_result_changes_no_digest(project: Path, name: str, old: str, new: str) -> None:
    before = digests(project, "a")
    edit(project, name, old, new)
    assert digests(project, "a") == before


@pytest.mark.parametrize(
    ("name", "old", "new", "changed"),
    [
        ("main.py", "LIMIT = 3", "LIMIT = 4", {"proj.main:LIMIT"}),
        ("helpers.py", "x + 1", "x + 2", {"proj.helpers:_inner"}),
        ("parts.py", "return 1", "return 3", {"proj.parts:piece"}),
        ("deep/inner.py", "return 1", "return 3", {"proj.deep.inner:far"}),
        ("rules_a.py", "return 1", "return 3", {"proj.rules_a:rule"}),
        ("table.py", "rules_a:rule", "rules_b:rule", {"proj.table:RULES[a]", "proj.rules_a:rule", "proj.rules_b:rule"}),
    ],
)
def test_a_change_is_named(project: Path, name: str, old: str, new: str, changed: set[str]) -> None:
    before = digests(project, "a")
    edit(project, name, old, new)
    after = digests(project, "a")
    assert {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)} == changed
    assert digest_of(before) != digest_of(after)


def test_code_that_runs_at_import_counts(project: Path) -> None:
    before = digests(project)
    (project / "proj" / "deep" / "__init__.py").write_text("print('side effect')\n")
    assert "proj.deep:<module>" in digests(project).keys() - before.keys()


def test_a_module_handed_on_counts_whole(project: Path) -> None:
    edit(project, "main.py", "parts.piece()", "used(parts)")
    assert {"proj.parts:piece", "proj.parts:apart"} <= digests(project).keys()


def test_data_files_count_by_content(project: Path) -> None:
    (project / "proj" / "task.yaml").write_text("a: 1")
    reader = CodeReader(project, ("proj",))
    assert list(reader.digests(["proj/*.yaml"], frozenset())) == ["proj/task.yaml"]
    with pytest.raises(PedigreeError, match="no file of the project matches"):
        reader.digests(["proj/*.toml"], frozenset())


def test_a_missing_module_is_an_error(project: Path) -> None:
    with pytest.raises(PedigreeError, match="no such module"):
        CodeReader(project, ("proj",)).digests(["proj.nowhere:build"], frozenset())


def test_the_trainer_is_in_the_digest_of_a_training_run_and_tracking_is_not() -> None:
    found = CodeReader(PROJECT).digests(["llm_core.train.loop:train"], frozenset({"llama", "rmsnorm", "adamw"}))
    assert "llm_core.model.norms:RMSNorm" in found
    assert not any("tracking" in name for name in found)


SPEC = """
from typing import Literal
from pydantic import model_validator
from llm_core.experiment.base import Spec

Kind = Literal["a", "b"]

class Inner(Spec):
    x: int = 1
    def twice(self):
        return 2 * self.x

class Outer(Spec):
    kind: Kind = "a"
    inner: Inner | None = None

    @property
    def derived(self):
        return self._hidden()

    def _hidden(self):
        return 1

    @model_validator(mode="after")
    def _checked(self):
        return self
"""


def specify(project: Path, folder: str) -> dict[str, str]:
    (project / "proj" / folder).mkdir()
    (project / "proj" / folder / "specs.py").write_text(SPEC)
    imported = f"from proj.{folder}.specs import Outer"
    edit(project, "main.py", "def build(job, rules):", f"{imported}\n\ndef build(job: Outer, rules):")
    before = digests(project)
    assert {f"proj.{folder}.specs:Outer", f"proj.{folder}.specs:Inner"} <= before.keys()
    return before


def test_of_the_experiments_sections_only_methods_count(project: Path) -> None:
    before = specify(project, "experiment")
    specs = "experiment/specs.py"
    edit(project, specs, '"a", "b"]', '"a", "b", "c"]')
    edit(project, specs, "inner: Inner | None = None", "inner: Inner | None = None\n    more: int = 3")
    edit(project, specs, "return 1", "return 2")
    edit(project, specs, "        return self\n", "        assert self\n        return self\n")
    assert digests(project) == before
    edit(project, specs, "2 * self.x", "3 * self.x")
    assert digests(project) != before


@pytest.mark.parametrize(("old", "new"), [("return 1", "return 2"), ("        return self\n", "        return None\n")])
def test_of_what_is_specified_elsewhere_all_but_the_fields_counts(project: Path, old: str, new: str) -> None:
    before = specify(project, "trainer")
    specs = "trainer/specs.py"
    edit(project, specs, "inner: Inner | None = None", "inner: Inner | None = None\n    more: int = 3")
    assert digests(project) == before
    edit(project, specs, old, new)
    assert digests(project) != before
