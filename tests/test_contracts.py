"""The contract tests that the author of a plug-in runs: complete components pass, and what is missing is found."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.left_out import write
from benchmarks.left_out_cases import KINDS, Part
from llm_core import registries
from llm_core.contracts.example import ContractError, Example, run
from llm_core.contracts.plugin import CONTRACTS, checks_of, contract_tests, examples_of
from llm_core.contracts.settings import is_read_without_torch
from llm_core.contracts.training import changes_no_weight
from llm_core.errors import PedigreeError
from llm_core.plugins import load_plugins
from llm_core.registry import Registry
from pipelines.session import open_session

AT_READING = {
    "mixer": ("method cost", r"own\.spec:Mine \(the mixer 'mine'\): has no cost: define what .*MixerSpec documents"),
    "position": ("file module.py", r"own/spec\.py, line \d+: own\.nowhere: there is no such module"),
    "absolute position": ("object Vectors in that file", r"own/module\.py defines no VectorsX"),
    "norm": ("object of the entry", r"NORMS\['mine'\]: .*own/spec\.py defines no MineX"),
    "feed-forward": ("base class FeedForwardSpec", r"is not a subclass of FeedForwardSpec; derive it from"),
    "optimizer": ("method moments", r"has no moments: define what .*OptimizerSpec documents"),
    "schedule": ("kind", r'write kind: Literal\["mine"\] = "mine"'),
    "source": ("method reader", r"has no reader: define what .*SourceSpec documents"),
    "rule": (
        "a function without arguments",
        r"own\.rules:mine \(the cleaning rule 'mine'\): must be a function without",
    ),
    "line rule": ("the result", r"\(the line rule 'mine'\): returns None: return a polars expression"),
    "judge": (
        "three arguments",
        r"\(the judge 'mine'\): must take a question, an answer and its nats",
    ),
    "instruction rule": (
        "a named argument",
        r"\(the instruction rule 'mine'\): must be a function of an answer and of named arguments",
    ),
    "redaction": ("module of the entry", r"REDACTIONS\['mine'\]: own\.specx: there is no such module"),
    "packing": ("method rows_with", r"own\.packing:Mine \(the packing 'mine'\): has no rows_with: define what"),
    "Hugging Face family": ("name", r"\(the Hugging Face family 'mine'\): its name is 'llama': write name=\"mine\""),
    "callback": ("method build", r"has no build: define what .*CallbackSpec documents"),
    "launcher": ("table of a registry", r"own/components\.py: there is no registry LAUNCHERSX"),
}
"""Kind → a part that is left out, and what is said when an experiment is read."""

BY_TESTS = {
    "mixer": ("causality in forward", r"own\.spec:Mine \(the mixer 'mine'\): a token sees tokens that come after it"),
    "position": ("biases", r"biases is wrong: write biases: ClassVar\[bool\] = True"),
    "absolute position": ("method longest", r"can't encode 8192 positions: define longest"),
    "norm": ("the number of parameters", r"counts 0 parameters in norms, and the modules have \d+"),
    "feed-forward": ("words of a setting", r"nothing says what d_ff means"),
    "optimizer": ("heed for found_inf", r"can't skip bad steps, which found_inf marks"),
    "schedule": ("the warm-up", r"return self\.warmup_share\(step\) there"),
    "source": ("a function that a worker can import", r"is not at the top level of its module; move it there"),
    "rule": ("a number for every text", r"gives no number for \d of 5 texts"),
    "judge": ("a score for every answer", r"\(the judge 'mine'\): .*no score for the answer"),
    "instruction rule": ("a verdict for every answer", r"\(the instruction rule 'mine'\): fails on the answer 'x'"),
    "redaction": ("once is enough", r"changes its own result"),
    "packing": ("dropped_tokens", r"tokens are in no row, and stats\(\)\['dropped_tokens'\] is 0"),
    "Hugging Face family": ("a tensor outside the blocks", r"name each tensor"),
    "callback": ("a copy", r"a run with it has other weights"),
    "launcher": ("docstring", r"has no docstring"),
}
"""Kind → a part that only shows when the component runs, and what the contract tests say."""


def without(kind: str, part: str) -> Part:
    return next(found for found in KINDS[kind].all_parts() if found.name == part)


def check_all(folder: Path, kind: str, part: Part | None = None) -> None:
    """Run the contract tests in this process, but for the one that starts another."""
    write(folder, KINDS[kind], part)
    load_plugins(["own.components"])
    (example,) = examples_of("own.components", {})
    for check in checks_of(example.table):
        if check is not is_read_without_torch:
            run(check, example)


def test_every_registry_has_a_contract() -> None:
    assert CONTRACTS.keys() == {name for name, table in vars(registries).items() if isinstance(table, Registry)}
    # Sections have tests of their own (tests/report/test_sections.py), and so have devices (tests/train).
    assert CONTRACTS.keys() - {kind.registry for kind in KINDS.values()} == {"SECTIONS", "DEVICE_TYPES"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_complete_component_keeps_its_contract(plugin_folder: Path, kind: str) -> None:
    check_all(plugin_folder, kind)


@pytest.mark.parametrize("kind", AT_READING)
def test_a_missing_part_is_told_before_any_work(
    plugin_folder: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    part, told = AT_READING[kind]
    monkeypatch.setenv("PEDIGREE_HOME", str(plugin_folder / "home"))
    path = write(plugin_folder, KINDS[kind], without(kind, part))
    with pytest.raises(PedigreeError, match=told):
        open_session(str(path))
    assert not (plugin_folder / "home").exists()


@pytest.mark.parametrize("kind", BY_TESTS)
def test_a_missing_part_is_found_by_the_contract_tests(plugin_folder: Path, kind: str) -> None:
    part, told = BY_TESTS[kind]
    with pytest.raises(ContractError, match=told):
        check_all(plugin_folder, kind, without(kind, part))


@pytest.mark.parametrize(
    ("kind", "part", "told"),
    [
        ("callback", Part("event", "def after_step(", "def after_stp(", "callback"), "define one of on_start, before_"),
        (
            "callback",
            Part("result", "return {", "{", "callback"),
            r"must return a dict of metrics .* and returned NoneType",
        ),
        ("schedule", Part("number", "else 0.5", 'else "a"'), "share returned str: return a number above 0"),
    ],
)
def test_what_a_component_does_wrongly_is_told_in_words(plugin_folder: Path, kind: str, part: Part, told: str) -> None:
    with pytest.raises(ContractError, match=told):
        check_all(plugin_folder, kind, part)


def test_a_callback_acts_within_the_short_run_of_its_contract(plugin_folder: Path) -> None:
    callback = KINDS["callback"]
    settings = 'kind: Literal["mine"] = "mine"\n    every: int = 50\n    """Steps."""\n'
    written = callback.files["spec"].replace('kind: Literal["mine"] = "mine"\n', settings)
    files = {
        "spec": written.replace('load_object("own.callback:Norm")()', 'load_object("own.callback:Halving")(self)'),
        "callback": """
from llm_core.train.callbacks.base import Callback


class Halving(Callback):
    def __init__(self, spec):
        self.every = spec.every

    def before_update(self, run):
        if (run.progress.step + 1) % self.every == 0:
            run.model.embedding.weight.data.mul_(0.5)
""",
    }
    write(plugin_folder, replace(callback, files=files))
    load_plugins(["own.components"])
    run(changes_no_weight, Example("CALLBACKS", "mine", {"every": 50}))
    with pytest.raises(ContractError, match="a run with it has other weights"):
        run(changes_no_weight, Example("CALLBACKS", "mine"))


def test_one_line_of_a_test_file_makes_a_test_for_every_check(plugin_folder: Path) -> None:
    write(plugin_folder, KINDS["rule"])
    tests: Callable[..., None] = contract_tests("own.components")
    (mark,) = tests.pytestmark  # type: ignore[attr-defined]
    assert [case.id for case in mark.args[1]] == ["mine-is_documented", "mine-has_a_value_for_every_text"]


def test_settings_of_an_example_are_told_when_they_do_not_fit(plugin_folder: Path) -> None:
    write(plugin_folder, KINDS["feed-forward"])
    load_plugins(["own.components"])
    with pytest.raises(ContractError, match=re.escape("(the feed-forward 'mine'): does not take its example settings")):
        Example("FEED_FORWARDS", "mine", {"d_ff": 0}).component()
