import json
import re
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch

from assets.graph import experiment_graph
from llm_core.chat.model_chat import stop_ids
from llm_core.errors import PedigreeError
from llm_core.experiment.chat import BUILT_IN
from llm_core.experiment.exports import ExportsSpec, GGUFType
from llm_core.experiment.tokens import TokenizerSpec
from llm_core.graph.job import Job
from llm_core.model.clients.results import Parity
from llm_core.model.files import save_model
from llm_core.model.gguf import checked, llama_client
from llm_core.model.gguf.results import GGUFExport
from llm_core.model.gguf.stage import build
from llm_core.model.gguf.writing import export_gguf
from llm_core.registries import HF_FAMILIES
from llm_core.store.manifest import Artifact, Manifest
from pipelines.experiments import open_experiment
from tests.judged import judged
from tests.model import shapes
from tests.model.gguf import cases


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cases.tokenizer(tmp_path_factory.mktemp("tokenizer"))


def values(reader: gguf.GGUFReader) -> dict[str, Any]:
    return {name: field.contents() for name, field in reader.fields.items()}


def weights(reader: gguf.GGUFReader) -> dict[str, np.ndarray]:
    return {tensor.name: gguf.quants.dequantize(tensor.data, tensor.tensor_type) for tensor in reader.tensors}


def test_a_file_holds_the_model_and_its_tokenizer(tmp_path: Path, tokenizer: Path) -> None:
    model = cases.model(shapes.spec(mixer={"scale": 0.5}))
    path = tmp_path / "made" / "toy.gguf"
    assert (
        export_gguf(model, path, sequence_length=64, dtype="f32", tokenizer=tokenizer, template="{{ x }}") == "granite"
    )
    reader = gguf.GGUFReader(path)
    found, read = values(reader), weights(reader)
    sizes = {
        "context_length": 64,
        "embedding_length": 32,
        "block_count": 2,
        "feed_forward_length": 48,
        "vocab_size": 320,
    }
    heads = {"attention.head_count": 4, "attention.head_count_kv": 2, "rope.dimension_count": 8}
    for name, value in {**sizes, **heads}.items():
        assert found[f"granite.{name}"] == value, name
    written = json.loads(tokenizer.read_text())
    tokens, types = found["tokenizer.ggml.tokens"], found["tokenizer.ggml.token_type"]
    assert {token: tokens.index(token) for token in written["model"]["vocab"]} == written["model"]["vocab"]
    assert len(tokens) == len(set(tokens)) == len(types) == cases.VOCAB
    assert (types[0], types[1], types[-1]) == (3, 1, 5)  # control, normal, unused
    assert found["tokenizer.ggml.merges"][0] == " ".join(written["model"]["merges"][0])
    assert found["tokenizer.ggml.pre"] == "smaug-bpe"  # Llama 3's pattern, and pieces are merged
    assert [found[f"tokenizer.ggml.{role}_token_id"] for role in ("bos", "eos", "padding")] == [0, 0, 0]
    assert "tokenizer.ggml.eot_token_id" not in found
    assert found["tokenizer.ggml.add_bos_token"] is True
    assert found["tokenizer.chat_template"] == "{{ x }}"

    ours = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    assert np.array_equal(read["token_embd.weight"], ours["embedding.weight"])
    assert np.array_equal(read["blk.1.ffn_up.weight"], ours["blocks.1.feed_forward.gate_up.weight"][48:])
    q, k, v = np.split(ours["blocks.1.mixer.qkv.weight"], [32, 48])
    assert np.array_equal(read["blk.1.attn_v.weight"], v)
    # A head of 8 channels: RoPE turns channels i and i + 4 of ours, and 2i and 2i + 1 of theirs.
    order = [0, 4, 1, 5, 2, 6, 3, 7]
    assert np.array_equal(read["blk.1.attn_k.weight"][8:], k[8:][order])
    assert np.allclose(read["blk.1.attn_q.weight"][24:], q[24:][order] * 0.5 * 8**0.5)


def test_a_template_with_a_token_of_its_own_at_the_end_of_answers(tmp_path: Path) -> None:
    names = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
    tokenizer = cases.tokenizer(tmp_path, special_tokens=names)
    (tmp_path / "chat_template.jinja").write_text(BUILT_IN["chatml"])
    stop = stop_ids(tmp_path, tokenizer)
    assert stop == (2,)
    (tmp_path / "chat.json").write_text('{"system": null, "stop": [2]}')
    assert stop_ids(tmp_path, tokenizer) == stop
    path, model = tmp_path / "toy.gguf", cases.model(shapes.spec())
    export_gguf(model, path, sequence_length=64, tokenizer=tokenizer, stop=stop)
    found = values(gguf.GGUFReader(path))
    assert (found[gguf.Keys.Tokenizer.EOS_ID], found[gguf.Keys.Tokenizer.EOT_ID]) == (0, 2)
    with pytest.raises(PedigreeError, match="has places for two"):
        export_gguf(model, path, sequence_length=64, tokenizer=tokenizer, stop=(1, 2, 3))


@pytest.mark.parametrize(("dtype", "kind", "apart"), [("f16", "F16", 1e-3), ("q8_0", "Q8_0", 2e-2)])
def test_matrices_are_rounded_and_vectors_are_not(
    dtype: GGUFType, kind: str, apart: float, tmp_path: Path, tokenizer: Path
) -> None:
    model = cases.model(shapes.spec())
    export_gguf(model, tmp_path / "toy.gguf", sequence_length=64, dtype=dtype, tokenizer=tokenizer)
    reader = gguf.GGUFReader(tmp_path / "toy.gguf")
    kinds = {tensor.name: tensor.tensor_type.name for tensor in reader.tensors}
    assert kinds["token_embd.weight"] == kinds["blk.0.attn_q.weight"] == kind
    assert kinds["output_norm.weight"] == "F32"
    assert kinds["blk.0.ffn_down.weight"] == "F16", "its rows have 48 numbers"
    embedding = model.embedding.weight.detach().numpy()
    difference = np.abs(weights(reader)["token_embd.weight"] - embedding).max()
    assert 0 < difference < apart


SPECS = cases.specs()


def test_the_norms_of_falcon(tmp_path: Path, tokenizer: Path) -> None:
    model = cases.model(SPECS["Falcon-40B, grouped keys"])
    export_gguf(model, tmp_path / "toy.gguf", sequence_length=64, dtype="f32", tokenizer=tokenizer)
    read = weights(gguf.GGUFReader(tmp_path / "toy.gguf"))
    ours = model.state_dict()
    for mine, theirs in {"mixer_norm": "attn_norm_2", "feed_forward_norm": "attn_norm"}.items():
        for part in ("weight", "bias"):
            assert np.array_equal(read[f"blk.1.{theirs}.{part}"], ours[f"blocks.1.{mine}.{part}"].numpy())


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("Qwen3, windows by layer", "qwen3: qwen3 has no windows"),
        ("Llama, YaRN, wide heads", "llama has RoPE scaling yarn with a ramp from 1 to 32 rotations only"),
        ("DeepSeek V2, YaRN", "deepseek2 has a q_rank, except in models of 26 or 27 layers, which have none"),
        ("RWKV-4", "llama.cpp has RWKV-6 and RWKV-7 only"),
        ("OLMoE", "olmoe has as many heads of keys as of queries"),
    ],
)
def test_what_llama_cpp_cannot_have_is_told(name: str, reason: str, tmp_path: Path, tokenizer: Path) -> None:
    with pytest.raises(PedigreeError, match=f"llama.cpp can't have this model: .*{reason}"):
        export_gguf(cases.model(SPECS[name]), tmp_path / "toy.gguf", sequence_length=64, tokenizer=tokenizer)
    assert not list(tmp_path.iterdir())


def test_a_tokenizer_that_llama_cpp_cannot_have(tmp_path: Path) -> None:
    model = cases.model(shapes.spec())
    for settings, reason in (
        ({"pattern": "cl100k"}, "is none of llama.cpp's"),
        ({"byte_fallback": False}, "it has an unknown token"),
    ):
        path = cases.tokenizer(tmp_path / reason, **settings)
        with pytest.raises(PedigreeError, match=f"llama.cpp can't have this tokenizer: .*{reason}"):
            export_gguf(model, tmp_path / "toy.gguf", sequence_length=64, tokenizer=path)
    path, small = cases.tokenizer(tmp_path), shapes.model(shapes.spec())
    with pytest.raises(PedigreeError, match="ids, but the model has 50; use the tokenizer of its training"):
        export_gguf(small, tmp_path / "toy.gguf", sequence_length=64, tokenizer=path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tokenizer": TokenizerSpec(pattern="nanochat")}, "has no pattern like tokenizer.pattern nanochat"),
        ({"tokenizer": TokenizerSpec(byte_fallback=False)}, "needs an entry for every byte"),
        ({"model": shapes.named("retnet")}, "can't have this model"),
    ],
)
def test_a_plan_tells_before_any_work(change: dict[str, Any], message: str) -> None:
    exports = ExportsSpec(gguf=("f16",), onnx=True)
    tiny = open_experiment("tiny").model_copy(update={"exports": exports, "study": None})
    graph = experiment_graph(tiny)
    assert {"gguf_export", "onnx_export"} <= set(graph["training_report"].inputs)
    with pytest.raises(PedigreeError, match=f"tiny: exports.gguf: llama.cpp {message}"):
        experiment_graph(tiny.model_copy(update=change))


@pytest.fixture
def make(tmp_path: Path, tokenizer: Path) -> Callable[[], tuple[GGUFExport, Path]]:
    """Runs the stage for two types of a small model."""

    def made() -> tuple[GGUFExport, Path]:
        spec, out = shapes.spec(document_mask=True), tmp_path / "work" / "out"
        out.mkdir(parents=True)
        save_model(cases.model(spec), spec, cases.VOCAB, tmp_path / "model")
        (tmp_path / "model" / "chat.json").write_text('{"system": null, "stop": [7]}')
        manifest = Manifest.model_construct()
        inputs = {"model": Artifact(tmp_path / "model", manifest), "tokenizer": Artifact(tokenizer.parent, manifest)}
        given = Job("gguf_export", "i", inputs, tmp_path / "work", out)
        return build(given, "toy", spec, 64, ("f32", "q8_0"), tuple(HF_FAMILIES)), out

    return made


def verdicts(results: GGUFExport) -> dict[str, tuple[bool, str]]:
    return {check.name: (check.passed, check.message) for check in judged("gguf_export", results)}


def test_a_client_that_is_not_installed_is_recorded(
    make: Callable[[], tuple[GGUFExport, Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def nowhere(package: str) -> str:
        raise PackageNotFoundError(package)

    monkeypatch.setattr(llama_client, "version", nowhere)
    results, out = make()
    assert sorted(path.name for path in out.iterdir()) == ["toy-f32.gguf", "toy-q8_0.gguf"]
    assert values(gguf.GGUFReader(out / "toy-q8_0.gguf"))["tokenizer.ggml.eot_token_id"] == 7
    found = verdicts(results)
    assert found["llama_cpp_was_asked"] == (False, "not checked: llama-cpp-python is not installed")
    passed, message = found["llama_cpp_agrees"]
    assert passed
    assert "toy-f32.gguf: not checked: llama-cpp-python is not installed" in message


@pytest.mark.parametrize(
    "answer",
    [
        {"largest_difference": 1.0, "spread": 2.0, "different_ids": []},
        {"largest_difference": 0.0, "spread": 2.0, "different_ids": ["1234"]},
        {"largest_difference": float("nan"), "spread": 2.0},
        {"problem": "it can't load or run the file: exit code -6"},
    ],
)
def test_a_file_that_another_program_reads_otherwise_is_not_kept(
    answer: dict[str, Any], make: Callable[[], tuple[GGUFExport, Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checked, "check", lambda *_: Parity(client="llama.cpp", **answer))
    results, out = make()
    assert not list(out.iterdir())
    passed, message = verdicts(results)["llama_cpp_agrees"]
    assert not passed
    assert message.count("the file was not kept") == 2


@pytest.mark.parametrize("name", ["DeepSeek V2, YaRN of the paper", "OLMo 3, windows", "Qwen3-MoE", "LFM2"])
def test_tensors_and_their_architecture_are_known_to_the_format(name: str, tmp_path: Path, tokenizer: Path) -> None:
    path = tmp_path / "toy.gguf"
    architecture = export_gguf(cases.model(SPECS[name]), path, sequence_length=64, dtype="f32", tokenizer=tokenizer)
    number = next(number for number, known in gguf.MODEL_ARCH_NAMES.items() if known == architecture)
    names = {gguf.TENSOR_NAMES[kind] for kind in gguf.MODEL_TENSORS[number]}
    read = weights(gguf.GGUFReader(path))
    written = {re.sub(r"^blk\.\d+", "blk.{bid}", each).removesuffix(".weight").removesuffix(".bias") for each in read}
    assert written <= names
    assert len(written) > 9


def test_latent_attention_is_split_by_heads(tmp_path: Path, tokenizer: Path) -> None:
    model = cases.model(SPECS["DeepSeek V2, YaRN of the paper"])
    path = tmp_path / "toy.gguf"
    export_gguf(model, path, sequence_length=64, dtype="f32", tokenizer=tokenizer)
    reader = gguf.GGUFReader(path)
    found, read, mixer = values(reader), weights(reader), model.spec.layers[0].mixer
    ours = model.blocks[0].mixer.kv_up.weight.detach().numpy()
    heads, keys = mixer.n_heads, mixer.n_heads * mixer.nope_dim
    latent = np.linspace(-1, 1, mixer.kv_rank, dtype=np.float32)
    for written, own in (
        (read["blk.0.attn_k_b.weight"].swapaxes(1, 2), ours[:keys]),
        (read["blk.0.attn_v_b.weight"], ours[keys:]),
    ):
        assert np.allclose(written @ latent, (own @ latent).reshape(heads, -1))
    assert found["deepseek2.attention.key_length_mla"] == mixer.nope_dim + mixer.rope_dim
    assert found["deepseek2.rope.scaling.type"] == "yarn"
    assert found["deepseek2.rope.scaling.yarn_log_multiplier"] == pytest.approx(0.1)
    assert found["deepseek2.leading_dense_block_count"] == 1


@pytest.mark.skipif(find_spec("llama_cpp") is None, reason="llama-cpp-python is not installed")
@pytest.mark.parametrize(
    "name",
    [
        "Llama, llama3 scaling",
        "Qwen3",
        "Gemma 3, two bases",
        "Mamba-2",
        "OLMoE, all heads",
        "DeepSeek V3",
        "Falcon-40B, grouped keys",
    ],
)
def test_llama_cpp_computes_the_same(name: str, tmp_path: Path, tokenizer: Path) -> None:
    torch.set_num_threads(1)
    path = tmp_path / "toy.gguf"
    _, file = checked.write_checked(
        cases.model(SPECS[name]), path, sequence_length=64, dtype="f32", tokenizer=tokenizer
    )
    assert not file.refused, file.told()
    assert file.exact.same_likeliest == 1.0
