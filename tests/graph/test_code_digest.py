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
    found = CodeReader(PROJECT).digests(["llm_core.train.loop:train"], frozenset({"attention", "rmsnorm", "adamw"}))
    assert {"llm_core.model.norms.module:RMSNorm", "llm_core.model.mixers.attention.module:Attention"} < found.keys()
    assert not {name for name in found if ":LayerNorm" in name or "mamba2" in name}
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


PARTS = """
from typing import Annotated
from proj.experiment.component import Component, KindOf
from proj.kinds import KINDS
from llm_core.experiment.base import Spec
from llm_core.runtime_only import runtime_only

class Part(Component):
    def made(self):
        raise NotImplementedError

    @runtime_only("a formula")
    def cost(self):
        return 0

class Whole(Spec):
    part: Annotated[Part, KindOf(KINDS)] | None = None
"""
KIND = """
from typing import Literal
from llm_core.registry import load_object
from llm_core.runtime_only import runtime_only
from proj.experiment.parts import Part

class Spec(Part):
    kind: Literal["NAME"] = "NAME"
    size: int = 1

    @property
    def twice(self):
        return 2 * self.size

    def made(self):
        return load_object("proj.NAME.module:Module")(self.size)

    @runtime_only("a formula")
    def cost(self):
        return self._formula(7)

    def _formula(self, factor):
        return factor * self.size
"""
COMPONENTS = {
    "experiment/__init__.py": "",
    "experiment/component.py": (
        "from llm_core.experiment.base import Spec\n\nclass Component(Spec):\n    kind: str\n\n"
        "class KindOf:\n    def __init__(self, registry):\n        self.registry = registry\n"
    ),
    "experiment/parts.py": PARTS,
    "kinds.py": (
        "from proj.registry import Registry\n"
        'KINDS = Registry("kind", {"wide": "proj.wide.spec:Spec", "deep": "proj.deep.spec:Spec"})\n'
    ),
    "wide/__init__.py": "",
    "wide/spec.py": KIND.replace("NAME", "wide"),
    "wide/module.py": "class Module:\n    def __init__(self, size):\n        self.size = size\n",
    "deep/spec.py": KIND.replace("NAME", "deep"),
    "deep/module.py": "class Module:\n    def __init__(self, size):\n        self.size = -size\n",
    "other.py": "class Other:\n    pass\n",
}


@pytest.fixture
def components(project: Path) -> Path:
    for name, text in COMPONENTS.items():
        path = project / "proj" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    building = "from proj.experiment.parts import Whole\n\ndef build(whole: Whole):\n    return whole.part.made()\n"
    (project / "proj" / "main.py").write_text(building)
    return project


def test_a_component_reaches_the_module_of_the_kind_that_is_named_and_no_other(components: Path) -> None:
    found = digests(components, "wide").keys()
    assert {"proj.kinds:KINDS[wide]", "proj.wide.spec:Spec", "proj.wide.module:Module"} <= found
    assert not {name for name in found if name.startswith("proj.deep.") or "[deep]" in name}
    assert not {name for name in digests(components) if "wide" in name}


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("wide/spec.py", "self._formula(7)", "self._formula(8)"),
        ("wide/spec.py", "factor * self.size", "factor + self.size"),
        ("wide/spec.py", "size: int = 1", "size: int = 2\n    more: int = 3"),  # settings count by value
        ("wide/spec.py", "2 * self.size", "3 * self.size"),
        ("experiment/parts.py", "return 0", "return 1"),
        ("kinds.py", '{"wide": ', '{"new": "proj.other:Other", "wide": '),
        ("deep/spec.py", "load_object(", "print() or load_object("),
        ("deep/module.py", "-size", "2 * size"),
    ],
)
def test_costs_settings_and_other_kinds_of_components_change_nothing(
    components: Path, name: str, old: str, new: str
) -> None:
    before = digests(components, "wide")
    edit(components, name, old, new)
    assert digests(components, "wide") == before


@pytest.mark.parametrize(
    ("name", "old", "new", "changed"),
    [
        ("wide/module.py", "self.size = size", "self.size = 2 * size", {"proj.wide.module:Module"}),
        ("wide/spec.py", "(self.size)", "(2 * self.size)", {"proj.wide.spec:Spec"}),
        ("wide/spec.py", "(self.size)", "(self._formula(1))", {"proj.wide.spec:Spec"}),
        ("experiment/parts.py", "raise NotImplementedError", "return None", {"proj.experiment.parts:Part"}),
        ("kinds.py", "proj.wide.spec:Spec", "proj.other:Other", None),
    ],
)
def test_what_makes_the_module_of_a_component_counts(
    components: Path, name: str, old: str, new: str, changed: set[str] | None
) -> None:
    before = digests(components, "wide")
    edit(components, name, old, new)
    after = digests(components, "wide")
    found = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
    assert found == changed if changed is not None else "proj.other:Other" in found


def test_a_component_behind_an_alias_counts_as_well(components: Path) -> None:
    before = digests(components, "wide")
    edit(components, "experiment/parts.py", "part: Annotated[Part, KindOf(KINDS)] | None", "part: Maybe")
    edit(
        components, "experiment/parts.py", "class Whole", "Maybe = Annotated[Part, KindOf(KINDS)] | None\n\nclass Whole"
    )
    assert digests(components, "wide").keys() >= before.keys()
