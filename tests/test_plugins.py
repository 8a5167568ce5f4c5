"""Components from outside, and what is told when something is wrong with them."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from llm_core import registries
from llm_core.errors import PedigreeError
from llm_core.experiment.load import load_experiment
from llm_core.graph.code_claim import claim
from llm_core.graph.code_digest import CodeReader
from llm_core.plugins import load_plugins, plugins_of
from llm_core.store.home import PROJECT

JUDGE = "llm_core.data.rules.judge:document_values"
RULE = """
from llm_core.data.rules.measures import text
from {package}.words import WORD

def adverts():
    return text().str.count_matches(WORD)
"""
EXPERIMENT = """
plugins: [{plugins}]
raw: {{sources: [{{kind: files, paths: ["*.txt"]}}]}}
cleaning: {{rules: {{{rule}: {{max: 1}}}}}}
tokenizer: {{vocab_size: 400}}
model: {{d_model: 32, n_layers: 1, mixer: {{kind: attention, n_heads: 2}}, feed_forward: {{kind: swiglu, d_ff: 64}}}}
training: {{sequence_length: 32, batch_tokens: 128, tokens: 2560, optimizer: {{lr: 1e-2}}}}
"""

Package = Callable[..., Path]


@pytest.fixture
def package(plugin_folder: Path) -> Package:
    """Makes packages that can be imported."""

    def made(name: str, components: str, **files: str) -> Path:
        folder = plugin_folder / name
        folder.mkdir()
        for file, text in {"__init__": "", "components": components, **files}.items():
            (folder / f"{file}.py").write_text(text)
        return folder

    return made


def with_rule(package: Package, name: str) -> Path:
    return package(
        name,
        f'RULES = {{"{name}_adverts": "{name}.rules:adverts"}}\n',
        rules=RULE.format(package=name),
        words='WORD = "buy"\n',
    )


def experiment(folder: Path, rule: str, *modules: str) -> Path:
    path = folder / "own.yaml"
    path.write_text(EXPERIMENT.format(plugins=", ".join(modules), rule=rule))
    return path


def test_an_experiment_may_name_what_its_plugin_adds(package: Package, tmp_path: Path) -> None:
    with_rule(package, "shop")
    loaded = load_experiment(experiment(tmp_path, "shop_adverts", "shop.components"))
    assert list(loaded.cleaning.rules) == ["shop_adverts"]
    assert callable(registries.RULES.load("shop_adverts"))


def test_what_is_inherited_keeps_its_plugins(package: Package, tmp_path: Path) -> None:
    with_rule(package, "first")
    with_rule(package, "second")
    experiment(tmp_path, "first_adverts", "first.components")
    above = tmp_path / "above.yaml"
    above.write_text("extends: own\nplugins: [second.components]\ncleaning: {rules: {second_adverts: {max: 1}}}\n")
    loaded = load_experiment(above)
    assert loaded.plugins == ("first.components", "second.components")
    assert list(loaded.cleaning.rules) == ["first_adverts", "second_adverts"]


def test_the_digest_follows_a_plugin_where_it_is_named_and_nowhere_else(package: Package) -> None:
    folder = with_rule(package, "followed")
    load_plugins(["followed.components"])

    def digests(*names: str) -> dict[str, str]:
        return CodeReader(PROJECT, plugins=("followed.components",)).digests([JUDGE], frozenset(names))

    named, plain = digests("followed_adverts"), digests("min_words")
    assert {name for name in named if name.startswith("followed")} == {"followed.rules:adverts", "followed.words:WORD"}
    assert plain == CodeReader(PROJECT).digests([JUDGE], frozenset(["min_words"]))
    (folder / "words.py").write_text('WORD = "buy|sell"\n')
    again = digests("followed_adverts")
    assert {name for name in named if named[name] != again[name]} == {"followed.words:WORD"}
    assert plugins_of(named) == ("followed.components",)
    assert plugins_of(plain) == ()


def test_a_plugin_that_changes_while_a_run_is_on_is_noticed(package: Package) -> None:
    folder = with_rule(package, "edited")
    load_plugins(["edited.components"])
    reader = CodeReader(PROJECT, plugins=("edited.components",))
    claimed = claim(reader, [JUDGE], frozenset(["edited_adverts"]))
    assert claimed.plugins == ("edited.components",)
    claimed.check("clean_documents", on_disk=True)
    (folder / "words.py").write_text('WORD = "sell"\n')
    with pytest.raises(PedigreeError, match=r"the code has changed since the run began \(edited\.words\)"):
        claimed.check("clean_documents", on_disk=True)


@pytest.mark.parametrize(
    ("name", "components", "told"),
    [
        ("raising", "1 / 0\n", r"raises when it is imported, .*raising/components\.py, line 1: ZeroDivisionError"),
        ("broken", "RULES = {\n", r"raises when it is imported, .*broken/components\.py, line 1: SyntaxError"),
        ("lacking", "import nowhere_at_all\n", r"raises when it is imported, .*line 1: ModuleNotFoundError"),
        ("empty", "", r"empty/components\.py: plug-in empty\.components adds nothing; write a table in it"),
        (
            "computed",
            'RULES = dict(mine="computed.rules:mine")\nSCHEDULES = {"late": "computed.components:late"}',
            r"computed/components\.py: RULES can't be read: write the table out",
        ),
        (
            "listed",
            'RULES = {"mine": ["listed.rules"]}',
            r"listed/components\.py: RULES can't be read: write the table out",
        ),
        ("misspelt", 'RULE = {"a": "b:c"}', r"misspelt/components\.py: there is no registry RULE; known: .*RULES"),
        (
            "taken",
            'RULES = {"min_words": "taken.components:min_words"}',
            r"taken/components\.py: RULES\['min_words'\] is taken: a cleaning rule of that name is llm_core\.",
        ),
        (
            "astray",
            'RULES = {"mine": "astray.rulez:mine"}',
            r"astray/components\.py: RULES\['mine'\]: astray\.rulez: there is no such module",
        ),
        ("numbered", 'RULES = {3: "numbered.rules:mine"}', r"numbered/components\.py: RULES\[3\]: a name must be text"),
        (
            "absent",
            'RULES = {"mine": "absent.components:mine"}',
            r"absent/components\.py: RULES\['mine'\]: .*absent/components\.py defines no mine; correct the name",
        ),
    ],
)
def test_what_is_wrong_with_a_plugin_is_told_with_its_file(
    package: Package, tmp_path: Path, name: str, components: str, told: str
) -> None:
    package(name, components)
    before = dict(registries.RULES)
    with pytest.raises(PedigreeError, match=rf"own\.yaml: plugins: .*{told}"):
        load_experiment(experiment(tmp_path, "min_words", f"{name}.components"))
    assert dict(registries.RULES) == before


@pytest.mark.parametrize(
    ("modules", "told"),
    [
        ("[./my_model/components.py]", r"no name of a module; write the module: my_model\.components$"),
        ("[my_model.components.py]", r"no name of a module; write the module: my_model\.components$"),
        ("['my model']", r"write the module: its name as in an import, such as my_model\.components$"),
        ("[nowhere.components]", r"there is no such module: .* or the module's name is misspelt"),
        ("nowhere.components", r"give a list of modules, such as \[my_model\.components\], not 'nowhere\.components'$"),
        ("[nowhere.components, 3]", r"give a list of modules, .* not \['nowhere\.components', 3\]$"),
    ],
)
def test_a_wrong_list_of_plugins_is_the_only_error(tmp_path: Path, modules: str, told: str) -> None:
    path = experiment(tmp_path, "no_such_rule")
    path.write_text(path.read_text().replace("plugins: []", f"plugins: {modules}"))
    with pytest.raises(PedigreeError, match=rf"\A\S*own\.yaml: plugins: [^\n]*{told}"):
        load_experiment(path)


def test_what_a_plugin_prints_goes_to_stderr(
    package: Package, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = "print('said when loaded')\n"
    rules = (
        "from llm_core.data.rules.measures import text\ndef mine():\n    print('when checked')\n    return text().len()"
    )
    package("loud", f'{said}RULES = {{"loud": "loud.rules:mine"}}', rules=rules)
    load_experiment(experiment(tmp_path, "loud", "loud.components"))
    out, errors = capsys.readouterr()
    assert out == ""
    assert errors == "said when loaded\nwhen checked\n"


def test_a_missing_plugin_is_told_before_what_it_would_add(tmp_path: Path) -> None:
    path = experiment(tmp_path, "no_such_rule", "not_here.components")
    with pytest.raises(
        PedigreeError, match=r"own\.yaml: plugins: plug-in not_here\.components: there is no such module"
    ):
        load_experiment(path)


def test_a_component_that_lacks_a_part_is_told_when_it_is_named(package: Package, tmp_path: Path) -> None:
    package(
        "partial",
        'MIXERS = {"partial": "partial.spec:Partial", "broken": "partial.broken:Broken"}',
        spec="from typing import Literal\nfrom llm_core.experiment.layers import MixerSpec\n"
        'class Partial(MixerSpec):\n    kind: Literal["partial"] = "partial"\n',
        broken="1 / 0\nclass Broken: ...\n",
    )
    for kind, told in (
        ("partial", r"partial\.spec:Partial \(the mixer 'partial'\): has no cost and no module"),
        ("broken", r"partial\.broken:Broken \(the mixer 'broken' of plug-in partial\.components\) can't be imported"),
    ):
        path = experiment(tmp_path, "min_words", "partial.components")
        path.write_text(path.read_text().replace("mixer: {kind: attention, n_heads: 2}", f"mixer: {kind}"))
        with pytest.raises(PedigreeError, match=told):
            load_experiment(path)


SECTION = """
from pathlib import Path
from typing import ClassVar, Literal

from llm_core.experiment.reports import SectionSpec


class Mine(SectionSpec):
    kind: Literal["mine"] = "mine"
    needs: ClassVar = ("raw_documents",)

    def build(self, job): ...
"""


@pytest.mark.parametrize(
    ("was", "instead", "told"),
    [
        ('("raw_documents",)', '"raw_documents"', r"its needs is 'raw_documents': write a tuple of texts, \('raw_doc"),
        ("build(self, job)", "build(self)", r"can't be called as build\(self, job\): too many positional arguments"),
        (
            "    def",
            "    folder: Path | None = None\n    def",
            r"its setting folder is a Path: use YamlPath \(llm_core\.",
        ),
    ],
)
def test_what_a_section_declares_wrongly_is_told_when_it_is_named(
    package: Package, tmp_path: Path, was: str, instead: str, told: str
) -> None:
    assert was in SECTION
    package("sectioned", 'SECTIONS = {"mine": "sectioned.spec:Mine"}', spec=SECTION.replace(was, instead))
    path = experiment(tmp_path, "min_words", "sectioned.components")
    path.write_text(path.read_text() + "reports: {data: {mine: {}}}\n")
    with pytest.raises(PedigreeError, match=rf"sectioned\.spec:Mine \(the report section 'mine'\): {told}"):
        load_experiment(path)


@pytest.mark.parametrize(
    ("device", "told"),
    [
        ("3", "an int"),
        ("DeviceType", "a class"),
    ],
)
def test_a_device_type_is_checked_when_it_is_named(package: Package, tmp_path: Path, device: str, told: str) -> None:
    spec = f"from llm_core.train.devices.device_type import DeviceType\nTPU = {device}\n"
    package("tensors", 'DEVICE_TYPES = {"tpu": "tensors.spec:TPU"}', spec=spec)
    path = experiment(tmp_path, "min_words", "tensors.components")
    path.write_text(path.read_text() + "compute: {device_type: tpu}\n")
    said = rf"tensors\.spec:TPU \(the device type 'tpu'\): is {told}: make it an object of a subclass of llm_core\."
    with pytest.raises(PedigreeError, match=said):
        load_experiment(path)


def test_plugins_of_installed_packages_are_there_without_being_named(package: Package, tmp_path: Path) -> None:
    with_rule(package, "installed")
    information = tmp_path / "installed-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: installed\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text("[pedigree.plugins]\nx = installed.components\n")
    path = experiment(tmp_path, "installed_adverts")

    def loaded() -> subprocess.CompletedProcess[str]:
        code = (
            "from pathlib import Path\nfrom llm_core.experiment.load import load_experiment\n"
            f"load_experiment(Path({str(path)!r}))"
        )
        environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{PROJECT}"}
        return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)

    assert loaded().stderr == ""
    (tmp_path / "installed" / "components.py").write_text("raise ValueError(3)\n")
    assert "(installed with installed: fix it, or uninstall it)" in loaded().stderr
