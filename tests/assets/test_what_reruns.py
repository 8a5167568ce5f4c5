"""Which stages of the real graph a change of the real code makes again.

The changes are made all at once, as reading all code anew for each of them takes long. What changed of a stage's code
says in which file, and so by which of the changes.
"""

import shutil
from pathlib import Path

import pytest

from assets.graph import experiment_graph
from llm_core.experiment.load import load_experiment
from llm_core.graph.code_digest import CodeReader
from llm_core.graph.code_references import FILE
from llm_core.graph.identity import code
from llm_core.loaded_code import PACKAGES, module_path
from llm_core.store.home import PROJECT
from pipelines.experiments import experiment_file

GRAPH = experiment_graph(load_experiment(experiment_file("tiny")))
TRAINED = {stage.name for stage in GRAPH if stage.trains}
BEFORE_TRAINING = {"raw_documents", "clean_documents", "unique_documents", "tokenizer"}

NO_CHANGE = [
    (
        "llm_core/train/loop.py",
        "    torch.manual_seed(",
        "    # Another comment.\n    torch.manual_seed(",
    ),
    ("llm_core/train/loop.py", '"""Train to the last', '"""Run to the last'),
    (
        "llm_core/registries.py",
        '"attention": "llm_core.model.',
        '"other": "llm_core.model.other:Other", "attention": "llm_core.model.',
    ),
    # What tiny's model and optimiser do not name, though their sections have fields of these names.
    ("llm_core/model/mixers/liv/module.py", "class ShortConvolution(", "class ShortConvolution(object, "),
    ("llm_core/model/feed_forwards/plain/module.py", "class ReLU2(", "class ReLU2(object, "),
    # Of what it does name: settings, which count by value; what costs are, and what is told to people.
    ("llm_core/model/feed_forwards/gated/spec.py", "matmul_parameters=3 * d * f", "matmul_parameters=2 * d * f"),
    ("llm_core/model/mixers/attention/spec.py", "cache_per_token=2 * kv", "cache_per_token=3 * kv"),
    ("llm_core/model/mixers/attention/spec.py", "qk_norm: bool = False", "qk_norm: bool = True"),
    ("llm_core/model/mixers/attention/spec.py", "{n_kv_heads} of", "{n_kv_heads} times"),
    ("llm_core/model/positions/rope/spec.py", "theta: Positive = 10_000.0", "theta: Positive = 9.0"),
    ("llm_core/experiment/layers.py", "    return 0", "    return 1"),
    (
        "llm_core/registries.py",
        '"layernorm": "llm_core.model.',
        '"other": "llm_core.model.other:Other", "layernorm": "llm_core.model.',
    ),
    (
        "llm_core/registries.py",
        '"alibi": "llm_core.model.',
        '"other": "llm_core.model.other:Other", "alibi": "llm_core.model.',
    ),
    (
        "llm_core/registries.py",
        '"geglu": "llm_core.model.',
        '"other": "llm_core.model.other:Other", "geglu": "llm_core.model.',
    ),
    ("llm_core/train/optimizers/adamw/optimizer.py", "fused=True", "fused=False"),
    ("llm_core/train/schedules/cosine.py", "class Cosine(", "class Cosine(object, "),
    ("llm_core/registries.py", '"stop_words": ', '"new_rule": "llm_core.data.rules.new:rule", "stop_words": '),
    ("llm_core/data/rules/words.py", "def stop_words", "def unnamed():\n    return 1\n\n\ndef stop_words"),
    ("llm_core/train/callbacks/tracking.py", "def _start_wandb(", "MORE = 1\n\n\ndef _start_wandb("),
    ("pipelines/commands/application.py", "WIDTH = 160", "WIDTH = 150"),
]

CHANGES = [
    ("llm_core/train/loop.py", "optimizer.step()", "optimizer.step(None)", TRAINED),
    ("llm_core/train/schedules/wsd.py", "def share(self, ", "def share(self, *, more=0, ", TRAINED | {"launch_gate"}),
    ("llm_core/data/rules/length.py", "def min_words(", "def min_words(more=0", {"clean_documents"}),
    ("llm_core/tokens/order.py", "import numpy as np", "import numpy as np\nprint()", None),
    ("llm_core/train/optimizers/muon/optimizer.py", "class Muon(", "class Muon(object, ", None),
    ("llm_core/model/norms/module.py", "class RMSNorm(", "class RMSNorm(object, ", None),
    ("llm_core/model/feed_forwards/gated/module.py", "class SwiGLU(", "class SwiGLU(object, ", None),
    ("llm_core/model/mixers/attention/module.py", "class Attention(", "class Attention(object, ", None),
    ("llm_core/model/positions/rope/module.py", "class Rope(", "class Rope(object, ", None),
    (
        "llm_core/model/feed_forwards/gated/spec.py",
        "(self, model, layer)",
        "(self, model, layer, **{})",
        None,
    ),
    # What tiny's model does not name, but the families of models that an export is compared with do.
    (
        "llm_core/model/mixers/mla/module.py",
        "class LatentAttention(",
        "class LatentAttention(object, ",
        {"hf_export"},
    ),
    (
        "llm_core/model/mixers/mla/spec.py",
        "self.position.check(self.rope_dim)",
        "self.position.check(2)",
        {"hf_export"},
    ),
    ("llm_core/model/mixers/mamba2/module.py", "class Mamba2(", "class Mamba2(object, ", {"hf_export"}),
    ("llm_core/report/page.css", "body", "main", {"data_report", "study_report", "training_report"}),
    ("llm_core/report/page.html", "section", "main", {"data_report", "study_report", "training_report"}),
]
"""File, old, new, and the stages; None: all that are trained, and none before them."""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for package in PACKAGES:
        shutil.copytree(PROJECT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


@pytest.fixture(scope="module")
def before() -> dict[str, dict[str, str]]:
    return codes(PROJECT)


def codes(project: Path) -> dict[str, dict[str, str]]:
    reader = CodeReader(project)
    return {stage.name: code(stage, reader) for stage in GRAPH}


def edit(project: Path, name: str, old: str, new: str) -> None:
    path = project / name
    text = path.read_text()
    assert text.count(old) >= 1
    path.write_text(text.replace(old, new, 1))


def changed(before: dict[str, dict[str, str]], project: Path) -> dict[str, set[str]]:
    """File → the stages of whose code something in that file has changed."""
    found: dict[str, set[str]] = {}
    for stage, digests in codes(project).items():
        for name, _ in digests.items() ^ before[stage].items():
            found.setdefault(place(project, name), set()).add(stage)
    return found


def place(project: Path, name: str) -> str:
    module, _, what = name.partition(":")
    return what.removeprefix(FILE) if what.startswith(FILE) else module_path(project, module)


def test_nothing(before: dict[str, dict[str, str]], project: Path) -> None:
    (project / "llm_core" / "model" / "other.py").write_text("class Other:\n    pass\n")
    (project / "llm_core" / "data" / "rules" / "new.py").write_text("def rule():\n    return 1\n")
    for change in NO_CHANGE:
        edit(project, *change)
    assert changed(before, project) == {}


def test_just_what_it_reaches(before: dict[str, dict[str, str]], project: Path) -> None:
    for name, old, new, _ in CHANGES:
        edit(project, name, old, new)
    found = changed(before, project)
    assert found.keys() == {name for name, *_ in CHANGES}
    for name, _, _, stages in CHANGES:
        if stages is not None:
            assert found[name] == stages, name
        else:
            assert found[name] >= TRAINED, name
            assert not found[name] & BEFORE_TRAINING, name
