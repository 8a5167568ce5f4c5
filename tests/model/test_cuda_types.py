"""Types on a GPU, by fake tensors: autocast of CUDA does other things in fp32 than that of a CPU.

In a process of its own, which takes cuda for a device that is there: nothing of that may reach other tests.
"""

import json
import subprocess
import sys
from typing import Any

import pytest

from llm_core.experiment.component import over
from llm_core.experiment.model import ModelSpec
from llm_core.experiment.model_presets import MODELS as PRESETS
from llm_core.extras import is_installed
from llm_core.model.backends import choose_backend
from llm_core.registries import FEED_FORWARDS, MIXERS, NORMS, POSITIONS
from llm_core.store.home import PROJECT
from tests.model.shapes import MODELS, wide

BACKENDS = ("sdpa", "flex", "varlen", "eager")
WIDENED = "widened"
NARROW_HEADS = {"n_heads": 4, "n_kv_heads": 2}

EXAMINE = """
import json, sys
from dataclasses import asdict
from benchmarks.fake_cuda import examine
from llm_core.experiment.model import ModelSpec
from llm_core.model.norms.module import RMSNorm
normal = RMSNorm.forward
for case in json.load(sys.stdin):
    RMSNorm.forward = (lambda self, x: normal(self, x).float()) if case["name"] == "widened" else normal
    shape = ModelSpec.model_validate_json(json.dumps(case["spec"]))
    print(json.dumps(asdict(examine(case["name"], shape, case["backend"], case["precision"], 48))))
"""


def narrow(preset: str) -> ModelSpec:
    """A preset with few layers of all its kinds, and windows narrower than the sequence: types do not depend on sizes,
    and so the small presets become the same as the large ones."""
    fields = PRESETS[preset]
    entries = [{key: value for key, value in entry.items() if key != "times"} for entry in fields.get("pattern", ())]
    entries = [
        over(entry, {"mixer": {"window": 16}}) if "window" in entry.get("mixer", {}) else entry for entry in entries
    ]
    layers = {json.dumps(entry): entry for entry in entries}
    shape = {
        "d_model": 128,
        "mixer": {name: heads for name, heads in NARROW_HEADS.items() if name in fields["mixer"]},
        "feed_forward": {"d_ff": 256},
        "n_layers": max(len(layers), 1),
        "pattern": [*layers.values()],
    }
    return ModelSpec.model_validate(over(fields, shape))


def masked(kind: str, **changes: Any) -> ModelSpec:
    """A kind of model with heads of 64 channels, and documents kept apart."""
    depth = {} if "pattern" in MODELS[kind] else {"n_layers": 1}
    return wide(kind, document_mask=True, **depth, **changes)


SHAPES = {
    **{preset: narrow(preset) for preset in PRESETS},
    **{kind: masked(kind) for kind in MODELS},
    "clipped": masked("llama", mixer={"qkv_clip": 8.0}),
    "dropout": masked("llama", dropout=0.1),
    "further tokens": masked("multi_query", multi_token={"depth": 2}),
    "wide latents": masked("mla", mixer={"kv_rank": 32, "q_rank": 48, "nope_dim": 16, "rope_dim": 16, "value_dim": 16}),
}
OF_ATTENTION = ("softcaps", "wide latents")
"""Kinds whose attention differs from that of the presets; others are tried with one backend."""
EVERY_BACKEND = (*OF_ATTENTION, "llama3_0.69b", "lfm2_1b")


def backends(name: str) -> tuple[str, ...]:
    attends = any(layer.mixer.attends for layer in SHAPES[name].layers)
    if attends and name in EVERY_BACKEND:
        return BACKENDS
    return ("sdpa",)  # the quickest to examine


CASES = [(name, backend, "bf16") for name in SHAPES for backend in backends(name)]
CASES += [("lfm2_1b", "sdpa", "fp32"), ("lfm2_1b", "varlen", "fp32")]
CASES += [("lfm2_1b", "varlen", "fp8")] if is_installed("torchao") else []


@pytest.fixture(scope="module")
def found() -> dict[tuple[str, str, str], dict[str, Any]]:
    orders = []
    same: dict[tuple[str, str, str], str] = {}
    """Each shape is examined once, under the first of its names."""
    for name, backend, precision in CASES:
        shape = SHAPES[name].model_dump(mode="json")
        first = same.setdefault((json.dumps(shape), backend, precision), name)
        if first == name:
            orders.append({"name": name, "spec": shape, "backend": backend, "precision": precision})
    widened = {"name": WIDENED, "spec": masked("multi_query").model_dump(mode="json"), "precision": "bf16"}
    orders += [{**widened, "backend": backend} for backend in ("sdpa", "varlen")]
    done = subprocess.run(
        [sys.executable, "-c", EXAMINE], input=json.dumps(orders), cwd=PROJECT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    found = {(line["model"], line["backend"], line["precision"]): line for line in lines}
    for name, backend, precision in CASES:
        first = same[json.dumps(SHAPES[name].model_dump(mode="json")), backend, precision]
        found[name, backend, precision] = found[first, backend, precision]
    return found


@pytest.mark.parametrize(("name", "backend", "precision"), CASES)
def test_types_on_a_gpu(found: dict, name: str, backend: str, precision: str) -> None:
    types = found[name, backend, precision]
    if types["error"].startswith("refused"):
        with pytest.raises(Exception, match=backend):
            choose_backend(SHAPES[name], "cuda", backend, half=precision != "fp32")
        return
    half = "fp32" if precision == "fp32" else "bf16"
    assert types["error"] == ""
    assert types["wrong"] == []
    assert types["logits"] == half
    assert types["loss"] == types["stream"] == types["gradients"] == "fp32"
    attends = any(layer.mixer.attends for layer in SHAPES[name].layers)
    assert types["attention"] == (f"{half}→{half}" if attends else "")


def test_all_kinds_of_layers_are_among_them() -> None:
    layers = [layer for shape in SHAPES.values() for layer in shape.layers]
    positions = {layer.mixer.position_of() for layer in layers}
    assert {layer.norm.kind for layer in layers} == set(NORMS)
    assert {layer.feed_forward.kind for layer in layers if layer.feed_forward is not None} == set(FEED_FORWARDS)
    assert {layer.mixer.kind for layer in layers} == set(MIXERS)
    assert {position.kind for position in positions if position is not None} == set(POSITIONS)


def test_a_norm_that_autocast_widens_is_found(found: dict) -> None:
    """The check itself: with a norm that gives fp32, types are wrong, or a kernel refuses them."""
    for backend in ("sdpa", "varlen"):
        types = found[WIDENED, backend, "bf16"]
        assert types["error"] or {"norms", "attention"} <= set(types["wrong"])
