"""Folders of theirs that are damaged or hold something else, and folders of ours as they are written."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models
from torch import Tensor

from llm_core.chat.model_chat import stop_ids
from llm_core.errors import PedigreeError
from llm_core.experiment.tokens import TokenizerSpec, VocabularyFile
from llm_core.model.hf.exporting import export_folder
from llm_core.model.hf.importing import import_folder
from llm_core.model.hf.tokenizer_files import tokenizer_files
from llm_core.tokens.importing import import_tokenizer
from llm_core.tokens.learn import train_tokenizer
from tests.model import shapes

SHAPE = shapes.spec(tie_embeddings=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    export_folder(shapes.model(SHAPE), tmp_path / "model", sequence_length=64)
    return tmp_path / "model"


def edit(folder: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


NORM, QUERY = "model.layers.1.input_layernorm.weight", "model.layers.0.self_attn.q_proj.weight"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop(NORM), f"no weights {NORM}, which config.json asks for"),
        (lambda t: t.update(more=torch.ones(2)), "config.json does not describe the weights more"),
        (lambda t: t[NORM].fill_(torch.nan), f"{NORM}: values that are not finite"),
        (
            lambda t: t.update({NORM: torch.ones(3)}),
            r"input_layernorm.weight: \(3,\), where config.json asks for \(32,\)",
        ),
        (lambda t: t.update({QUERY: torch.ones(32, 9)}), "q_proj.weight.* shapes that don't go together"),
        (lambda t: t.update({NORM: t[NORM].to(torch.int8)}), f"{NORM}: torch.int8 can't be imported"),
    ],
)
def test_weights_that_are_not_the_configurations(
    folder: Path, change: Callable[[dict[str, Tensor]], object], message: str
) -> None:
    edit(folder, change)
    with pytest.raises(PedigreeError, match=message):
        import_folder(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "bert"}, "model_type 'bert'"),
        ({"hidden_act": "gelu"}, "config.json: hidden_act is 'gelu'"),
        ({"quantization_config": {"bits": 4}}, "quantised weights"),
        ({"vocab_size": "many"}, "vocab_size is 'many'"),
        ({"hidden_size": 32.5}, r"config.json: d_model: .*valid integer \(it is 32.5\)"),
        ({"vocab_size": -5}, "vocab_size is -5; it must be a whole number from 1 on"),
        ({"vocab_size": True}, "vocab_size is True"),
        ({"rope_scaling": [1]}, "config.json: a value is not what it should be"),
        ({"model_type": "gemma2", "query_pre_attn_scalar": 0}, "config.json: a value is not what it should be"),
        ({"num_hidden_layers": 3}, "no weights model.layers.2.input_layernorm.weight"),
        ({"num_hidden_layers": 1}, "does not describe the weights model.layers.1"),
    ],
)
def test_configurations_that_say_something_else(folder: Path, change: dict[str, object], message: str) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(PedigreeError, match=message):
        import_folder(folder)


def test_files_that_are_missing_or_damaged(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(PedigreeError, match=r"model\.safetensors: not readable as safetensors"):
        import_folder(folder)
    weights.unlink()
    with pytest.raises(PedigreeError, match=r"neither model\.safetensors nor"):
        import_folder(folder)
    (folder / "pytest.bin").write_bytes(b"")
    with pytest.raises(PedigreeError, match="pickled Python: opening it runs what it holds"):
        import_folder(folder)
    (folder / "config.json").write_text('{"a":' * 100_000)
    with pytest.raises(PedigreeError, match=r"config\.json: can't be read as JSON"):
        import_folder(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(PedigreeError, match=r"config\.json: can't be read as JSON"):
        import_folder(folder)
    (folder / "config.json").unlink()
    with pytest.raises(PedigreeError, match=r"config\.json: there is no such file"):
        import_folder(folder)


def test_weights_in_several_files(tmp_path: Path) -> None:
    model = shapes.model(SHAPE)
    export_folder(model, tmp_path, sequence_length=64, file_bytes=20_000)
    files = sorted(path.name for path in tmp_path.glob("*.safetensors"))
    assert len(files) > 2
    assert files[0] == f"model-00001-of-{len(files):05}.safetensors"
    found = import_folder(tmp_path)
    for name, tensor in model.state_dict().items():
        assert torch.equal(found.weights[name], tensor), name
    (name, *_), second = (load_file(tmp_path / file) for file in files[:2])
    save_file({**second, name: torch.zeros(32)}, tmp_path / files[1])
    with pytest.raises(PedigreeError, match=f"{name} is in another file, too"):
        import_folder(tmp_path)
    (tmp_path / files[1]).unlink()
    with pytest.raises(PedigreeError, match=r"there is no such file, and model\.safetensors\.index\.json names it"):
        import_folder(tmp_path)
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "../a.safetensors"}}))
    with pytest.raises(PedigreeError, match="does not say which files"):
        import_folder(tmp_path)


def test_what_other_files_repeat_or_leave_out(tmp_path: Path) -> None:
    """A tied head that is written out, a buffer without weights, and the names of a model without its head."""
    model = shapes.model(shapes.spec())
    export_folder(model, tmp_path, sequence_length=64)
    edit(tmp_path, lambda t: t.update({"lm_head.weight": t["model.embed_tokens.weight"].clone()}))
    edit(tmp_path, lambda t: t.update({"model.rotary_emb.inv_freq": torch.ones(4)}))
    assert torch.equal(import_folder(tmp_path).weights["norm.weight"], model.state_dict()["norm.weight"])
    edit(tmp_path, lambda t: t["lm_head.weight"].add_(1))
    with pytest.raises(PedigreeError, match=r"does not describe the weights lm_head\.weight"):
        import_folder(tmp_path)
    edit(tmp_path, lambda t: t.pop("lm_head.weight"))
    tensors = load_file(tmp_path / "model.safetensors")
    save_file({k.removeprefix("model."): v for k, v in tensors.items()}, tmp_path / "model.safetensors")
    assert torch.equal(import_folder(tmp_path).weights["norm.weight"], model.state_dict()["norm.weight"])


def test_half_precision(tmp_path: Path) -> None:
    model = shapes.model(SHAPE)
    export_folder(model, tmp_path, sequence_length=64, dtype="bf16")
    assert json.loads((tmp_path / "config.json").read_text())["torch_dtype"] == "bfloat16"
    found = import_folder(tmp_path)
    for name, tensor in model.state_dict().items():
        assert torch.equal(found.weights[name], tensor.bfloat16().float()), name


def test_the_biases_that_choose_experts_are_never_rounded(tmp_path: Path) -> None:
    """They move by thousandths; and transformers holds them in fp32 whatever the file's type."""
    latent = {**shapes.MLA, "nope_dim": 8, "value_dim": 8}
    mixture = {"kind": "moe", "experts": 4, "top_k": 2, "d_ff": 16, "shared": 1, "score": "sigmoid", "bias_rate": 0.001}
    norm = {"kind": "rmsnorm", "eps": 1e-6}
    shape = shapes.spec(mixer=latent, feed_forward=mixture, norm=norm, tie_embeddings=False)
    model = shapes.model(shape)
    with torch.no_grad():
        for buffer in model.buffers():
            buffer.uniform_(-0.3, 0.3)
    assert export_folder(model, tmp_path, sequence_length=64, dtype="bf16").name == "deepseek_v3"
    found = import_folder(tmp_path).weights
    for name, buffer in model.named_buffers():
        assert torch.equal(found[name], buffer), name


def vocabulary(path: Path, entries: int) -> Path:
    tokenizer = Tokenizer(models.WordLevel({f"w{i}": i for i in range(entries - 1)}, unk_token="w0"))
    tokenizer.add_special_tokens(["<|endoftext|>"])
    tokenizer.save(str(path))
    return path


def test_the_unknown_token_goes_along_by_its_name(tmp_path: Path) -> None:
    """It is imported again as what it was, and transformers is told of it in both of its files."""
    own = TokenizerSpec(vocab_size=300, byte_fallback=False, unk_token="[UNK]")
    tokenizer = tmp_path / "tokenizer.json"
    train_tokenizer(["a few words"] * 3, own).save(str(tokenizer))
    folder = tmp_path / "model"
    export_folder(shapes.model(SHAPE), folder, sequence_length=64, tokenizer=tokenizer)
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        told = json.loads((folder / name).read_text())
        assert (told["unk_token"], told["eos_token"]) == ("[UNK]", "<|endoftext|>"), name
    vocabulary = VocabularyFile(file=str(folder / "tokenizer.json"))
    made = import_tokenizer(TokenizerSpec(kind="imported", imported=vocabulary))
    assert made.unknown == "[UNK]"
    assert json.loads(made.tokenizer().to_str())["model"] == json.loads(tokenizer.read_text())["model"]


def test_the_tokenizer_goes_along(tmp_path: Path) -> None:
    tokenizer = vocabulary(tmp_path / "tokenizer.json", shapes.VOCAB)
    export_folder(shapes.model(SHAPE), tmp_path / "model", sequence_length=64, tokenizer=tokenizer)
    config, generation, settings = (
        json.loads((tmp_path / "model" / f"{name}.json").read_text())
        for name in ("config", "generation_config", "tokenizer_config")
    )
    assert config["eos_token_id"] == generation["eos_token_id"] == shapes.VOCAB - 1
    assert config["max_position_embeddings"] == settings["model_max_length"] == 64
    assert settings["eos_token"] == settings["pad_token"] == "<|endoftext|>"
    assert (config["pad_token_id"], generation["pad_token_id"]) == (None, shapes.VOCAB - 1)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "model")
    assert theirs(["w1", "w2"], padding=True).input_ids == [[shapes.VOCAB - 1, 1], [shapes.VOCAB - 1, 2]]
    assert theirs.decode([shapes.VOCAB - 1, 7], skip_special_tokens=True) == "w7"
    larger = vocabulary(tmp_path / "larger.json", shapes.VOCAB + 1)
    with pytest.raises(PedigreeError, match="has 51 ids, but the model has 50"):
        export_folder(shapes.model(SHAPE), tmp_path / "other", sequence_length=64, tokenizer=larger)


def test_generation_stops_where_a_tuned_model_ends_its_answer(tmp_path: Path) -> None:
    tokenizer = vocabulary(tmp_path / "tokenizer.json", shapes.VOCAB)
    model, end = shapes.model(SHAPE).eval(), shapes.VOCAB - 1
    export_folder(model, tmp_path / "base", sequence_length=64, tokenizer=tokenizer)
    asked = {"inputs": torch.tensor([[1, 2]]), "max_new_tokens": 6, "do_sample": False}
    written = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "base").generate(**asked)[0].tolist()
    stop = written[4]
    (tmp_path / "chat.json").write_text(json.dumps({"system": None, "stop": [stop]}))
    stops = stop_ids(tmp_path, tokenizer)
    export_folder(model, tmp_path / "tuned", sequence_length=64, tokenizer=tokenizer, stop=stops)
    tuned = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "tuned")
    assert tuned.generation_config.eos_token_id == [end, stop]
    assert tuned.generate(**asked)[0].tolist() == written[: written.index(stop, 2) + 1]
    assert len(written) == 8


def test_the_beginning_is_added_once(tmp_path: Path) -> None:
    """After what a tokenizer does itself, and not to one that has it already."""
    plain, other = (vocabulary(tmp_path / f"{name}.json", shapes.VOCAB) for name in ("plain", "other"))
    written = json.loads(plain.read_text())
    byte_level = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
    plain.write_text(json.dumps({**written, "post_processor": byte_level}))
    first = json.loads(tokenizer_files(plain, shapes.VOCAB, 64).texts["tokenizer.json"])
    assert [step["type"] for step in first["post_processor"]["processors"]] == ["ByteLevel", "TemplateProcessing"]
    other.write_text(json.dumps(first))
    assert json.loads(tokenizer_files(other, shapes.VOCAB, 64).texts["tokenizer.json"]) == first


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(PedigreeError, match="taken: can't be written"):
        export_folder(shapes.model(SHAPE), tmp_path / "taken", sequence_length=64)
