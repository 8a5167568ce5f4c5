import json
from pathlib import Path

import pytest
import torch

from llm_core.errors import PedigreeError
from llm_core.experiment.model import ModelSpec
from llm_core.graph.job import Job
from llm_core.model.files import save_model
from llm_core.model.hf.export_stage import build
from llm_core.model.hf.importing import import_folder
from llm_core.plugins import load_plugins
from llm_core.registries import HF_FAMILIES
from llm_core.store.manifest import Artifact, Manifest
from tests.judged import judged
from tests.model import shapes
from tests.model.hf.test_folders import vocabulary

PLUGIN = """
from typing import Literal
from llm_core.model.norms.spec import RMSNorm

NORMS = {"odd": "odd_norm:Odd"}

class Odd(RMSNorm):
    '''A norm of a plug-in.'''
    kind: Literal["odd"] = "odd"
"""


def job(tmp_path: Path, spec: ModelSpec) -> Job:
    work = tmp_path / "work"
    for folder in (work / "out", tmp_path / "tokenizer"):
        folder.mkdir(parents=True)
    save_model(shapes.model(spec), spec, shapes.VOCAB, tmp_path / "model")
    vocabulary(tmp_path / "tokenizer" / "tokenizer.json", shapes.VOCAB)
    manifest = Manifest.model_construct()
    inputs = {role: Artifact(tmp_path / role, manifest) for role in ("model", "tokenizer")}
    return Job("hf_export", "i", inputs, work, work / "out")


def verdicts(stats: dict) -> dict[str, bool]:
    return {check.name: check.passed for check in judged("hf_export", stats)}


def test_a_model_of_theirs_becomes_a_folder(tmp_path: Path) -> None:
    spec = shapes.spec(document_mask=True)
    given = job(tmp_path, spec)
    (tmp_path / "model" / "chat.json").write_text('{"system": null, "stop": [7]}')
    stats = build(given, spec, sequence_length=64, families=tuple(HF_FAMILIES)).model_dump()
    assert stats["model_type"] == "llama"
    assert json.loads((given.out / "generation_config.json").read_text())["eos_token_id"] == [shapes.VOCAB - 1, 7]
    assert verdicts(stats) == {"same_weights": True, "loads_in_transformers": True}
    assert (given.out / "tokenizer_config.json").is_file()
    found = import_folder(given.out)
    for name, tensor in shapes.model(spec).state_dict().items():
        assert torch.equal(found.weights[name], tensor), name


def test_another_model_brings_its_code_and_the_reasons(tmp_path: Path) -> None:
    spec = shapes.named("mixattention")
    given = job(tmp_path, spec)
    stats = build(given, spec, sequence_length=64, families=tuple(HF_FAMILIES)).model_dump()
    assert stats["model_type"] == "pedigree"
    assert verdicts(stats) == {"same_weights": True, "loads_in_transformers": True}
    (_, advice) = judged("hf_export", stats)
    assert "share_kv" in advice.message
    assert "share_kv" in (given.out / "why_not.txt").read_text()
    assert (given.out / "modeling_pedigree.py").is_file()


def test_components_of_plugins_leave_only_the_reasons(tmp_path: Path, plugin_folder: Path) -> None:
    (plugin_folder / "odd_norm.py").write_text(PLUGIN)
    load_plugins(["odd_norm"])
    spec = shapes.spec(norm="odd")
    given = job(tmp_path, spec)
    stats = build(given, spec, sequence_length=64, families=tuple(HF_FAMILIES)).model_dump()
    assert stats["model_type"] is None
    assert verdicts(stats) == {"same_weights": True, "loads_in_transformers": False}
    assert "odd_norm is of a plug-in" in (given.out / "why_not.txt").read_text()
    assert [path.name for path in given.out.iterdir()] == ["why_not.txt"]


def test_weights_that_changed_on_the_way_close_the_stage() -> None:
    assert not verdicts({"model_type": "llama", "reasons": [], "largest_difference": 1e-3})["same_weights"]


def test_another_model_than_described_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PedigreeError, match="another model than the experiment describes"):
        build(job(tmp_path, shapes.spec()), shapes.spec(n_layers=4), sequence_length=64, families=tuple(HF_FAMILIES))
