from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from llm_core.errors import PedigreeError
from llm_core.graph.job import Job
from llm_core.model.clients.parity import our_logits
from llm_core.model.clients.results import Parity
from llm_core.model.decoder import Decoder
from llm_core.model.files import save_model
from llm_core.model.onnx import checked, runtime_client
from llm_core.model.onnx.results import BOUND, ONNXExport
from llm_core.model.onnx.stage import build
from llm_core.model.onnx.writing import export_onnx
from llm_core.store.manifest import Artifact, Manifest
from tests.judged import judged
from tests.model import shapes
from tests.model.gguf import cases


@pytest.fixture
def given(tmp_path: Path) -> Job:
    (tmp_path / "work" / "out").mkdir(parents=True)
    save_model(cases.model(shapes.spec()), shapes.spec(), cases.VOCAB, tmp_path / "model")
    cases.tokenizer(tmp_path / "tokenizer")
    inputs = {role: Artifact(tmp_path / role, Manifest.model_construct()) for role in ("model", "tokenizer")}
    return Job("onnx_export", "i", inputs, tmp_path / "work", tmp_path / "work" / "out")


def verdicts(results: ONNXExport) -> dict[str, tuple[bool, str]]:
    return {check.name: (check.passed, check.message) for check in judged("onnx_export", results)}


def written(_: Decoder, path: Path) -> None:
    path.write_bytes(b"a graph")


def test_a_client_that_is_not_installed_is_recorded(given: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(package: str) -> str:
        raise PackageNotFoundError(package)

    monkeypatch.setattr(checked, "export_onnx", written)
    monkeypatch.setattr(runtime_client, "version", nowhere)
    found = verdicts(build(given, shapes.spec(), 64))
    assert found["onnxruntime_was_asked"] == (False, "not checked: onnxruntime is not installed")
    assert found["onnxruntime_agrees"] == (True, "not checked: onnxruntime is not installed")
    assert {"model.onnx", "tokenizer.json", "tokenizer_config.json"} <= {path.name for path in given.out.iterdir()}


@pytest.mark.parametrize(
    "answer", [{"largest_difference": 0.01, "spread": 2.0}, {"problem": "it can't load or run the file: no kernel"}]
)
def test_a_graph_that_computes_something_else_is_not_kept(
    answer: dict[str, Any], given: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checked, "export_onnx", written)
    monkeypatch.setattr(checked, "check", lambda *_: Parity(client="onnxruntime", **answer))
    passed, message = verdicts(build(given, shapes.spec(), 64))["onnxruntime_agrees"]
    assert not passed
    assert "the file was not kept" in message
    assert not list(given.out.iterdir())


def test_a_model_that_the_exporter_cannot_write_leaves_the_reason(given: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> None:
        raise PedigreeError("torch can't write this model as ONNX: no such operator")

    monkeypatch.setattr(checked, "export_onnx", fails)
    found = verdicts(build(given, shapes.spec(), 64))
    assert found["onnxruntime_agrees"] == (False, "torch can't write this model as ONNX: no such operator")
    assert not found["onnxruntime_was_asked"][0]


@pytest.mark.slow
def test_onnxruntime_computes_the_same(given: Job) -> None:
    pytest.importorskip("onnxscript")
    onnxruntime = pytest.importorskip("onnxruntime")
    results = build(given, shapes.spec(), 64)
    assert results.refused is None
    assert results.parity is not None
    assert not results.parity.problems(BOUND)
    assert results.parity.same_likeliest == 1.0
    one = [[3]]
    (logits,) = onnxruntime.InferenceSession(given.out / "model.onnx").run(None, {"input_ids": np.array(one)})
    ours = our_logits(cases.model(shapes.spec()), one)
    assert np.allclose(logits, ours, atol=1e-3)


def test_the_reason_is_that_of_the_first_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        try:
            raise ValueError("no function for aten\nadvice")
        except ValueError as error:
            raise RuntimeError("\x1b[96mThis is step 3/3\x1b[0m") from error

    monkeypatch.setattr(torch.onnx, "export", fails)
    with pytest.raises(PedigreeError, match=r"ONNX: no function for aten$") as raised:
        export_onnx(shapes.model(shapes.spec()), tmp_path / "model.onnx")
    assert "step 3/3" not in str(raised.value)
