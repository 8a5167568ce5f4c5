"""A run that starts from a model of others: what of it counts, what is refused before any work, and the weights."""

import json
import shutil
from pathlib import Path

import huggingface_hub
import pytest
import torch
import transformers
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors.torch import load_file, save_file

from llm_core.errors import PedigreeError, UnknownYetError
from llm_core.experiment.start import StartSpec
from llm_core.experiment.tokens import TokenizerSpec, VocabularyFile
from llm_core.model import imported_model
from llm_core.model.files import load_model
from llm_core.model.hf.importing import read_description
from llm_core.model.start_files import find, special_tokens
from llm_core.registries import HF_FAMILIES
from llm_core.tokens.learn import train_tokenizer
from tests.data.stages import run as build
from tests.train.runs import VOCABULARY, records, run, trainer_spec

REPO, COMMIT = "someone/small", "0" * 40


def tokenizer(path: Path, text: str = "a few words") -> Path:
    train_tokenizer([text] * 3, TokenizerSpec(vocab_size=280)).save(str(path))
    return path


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small random Llama, as ``transformers`` writes it."""
    folder = tmp_path_factory.mktemp("theirs") / "llama"
    config = transformers.LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=128,
    )
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer(folder / "tokenizer.json")
    return folder


@pytest.fixture
def folder(theirs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PEDIGREE_HOME", str(tmp_path / "home"))
    return Path(shutil.copytree(theirs, tmp_path / "llama"))


def settings(folder: Path, **changes) -> dict:
    there = TokenizerSpec(kind="imported", imported=VocabularyFile(file=str(folder / "tokenizer.json")), vocab_size=300)
    return {
        "start": StartSpec(folder=str(folder)),
        "model": read_description(folder).spec,
        "vocab_size": VOCABULARY,
        "tokenizer": there,
        "template": None,
        "families": tuple(HF_FAMILIES),
        **changes,
    }


def test_a_run_starts_from_their_weights(folder: Path, tmp_path: Path) -> None:
    config = settings(folder)
    results = build(imported_model.build, tmp_path / "work", {}, **config)
    assert (results["longest"], results["tokenizer_known"]) == (128, True)
    start = tmp_path / "work" / "out"
    assert (start / "tokenizer.json").read_bytes() == (folder / "tokenizer.json").read_bytes()
    ids = torch.arange(20)[None]
    ours = load_model(start)[0].eval()(ids)
    torch.testing.assert_close(
        ours, transformers.LlamaForCausalLM.from_pretrained(folder)(ids).logits, atol=1e-4, rtol=0
    )
    further = trainer_spec(tmp_path, steps=6, start=start, model=config["model"])
    run(further)
    first, *_, last = records(further)
    assert last["validation_loss"] < first["start_validation_loss"]


def test_the_identity_is_the_content_of_the_files(folder: Path, tmp_path: Path) -> None:
    before = imported_model.source_digests(**settings(folder))
    assert before.keys() == {"config.json", "model.safetensors", "tokenizer.json"}
    folder.rename(moved := tmp_path / "moved")
    assert imported_model.source_digests(**settings(moved)) == before
    weights = load_file(moved / "model.safetensors")
    weights["model.norm.weight"][0] += 1
    save_file(weights, moved / "model.safetensors")
    after = imported_model.source_digests(**settings(moved))
    assert {name for name in after if after[name] != before[name]} == {"model.safetensors"}


def index(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder.parent / "outside.safetensors")
    places = {"model.norm.weight": "../outside.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: shutil.rmtree(folder), r"start\.folder: .*llama: there is no such folder"),
        (lambda folder: (folder / "config.json").unlink(), "has neither model.json nor config.json"),
        (lambda folder: (folder / "model.safetensors").unlink(), "has neither model.safetensors nor"),
        (index, "weight_map does not say which files hold the tensors"),
    ],
)
def test_folders_that_hold_no_model(folder: Path, spoil, message: str) -> None:
    config = settings(folder)
    spoil(folder)
    with pytest.raises(PedigreeError, match=message):
        imported_model.source_digests(**config)


def test_another_model_vocabulary_tokenizer_or_template_is_refused_by_the_plan(folder: Path, tmp_path: Path) -> None:
    config = settings(folder)
    spec = config["model"]
    loose = spec.model_copy(update={"dropout": 0.1, "document_mask": True, "init_std": 0.1})
    imported_model.source_digests(**{**config, "model": loose})
    other = tokenizer(tmp_path / "other.json", "quite different letters")
    foreign = config["tokenizer"].model_copy(update={"imported": VocabularyFile(file=str(other))})
    (folder / "chat_template.jinja").write_text("{{ messages }}")  # of others: it need not be ours
    for changes, message in (
        ({"vocab_size": 400}, r"tokenizer\.vocab_size: 400, but the model of start\.folder: .* has 300 ids"),
        ({"model": spec.model_copy(update={"n_layers": 2})}, "model: n_layers is 2, but 1 in start"),
        ({"model": spec.model_copy(update={"logit_softcap": 30.0})}, r"model: logit_softcap is 30\.0, but None in"),
        ({"tokenizer": foreign}, r"other\.json is another tokenizer than the tokenizer\.json of .*: \w+.* there, and"),
    ):
        with pytest.raises(PedigreeError, match=message):
            imported_model.source_digests(**{**config, "template": "{{ mine }}", **changes})


def test_its_special_tokens_begin_with_the_one_that_ends_a_text(folder: Path) -> None:
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": {"content": "<end>"}}))
    assert special_tokens(find(StartSpec(folder=str(folder))), {"<begin>": 0, "<user>": 9, "<end>": 5}) == [
        "<end>",
        "<user>",
    ]
    with pytest.raises(PedigreeError, match="has no special token '<end>' that ends a text"):
        special_tokens(find(StartSpec(folder=str(folder))), {"<begin>": 0})


def test_a_model_on_the_hub_is_fetched_when_it_is_needed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start = StartSpec(hugging_face=REPO, revision=COMMIT)
    config = settings(folder, start=start)
    with pytest.raises(UnknownYetError, match=r"someone/small@000000000000: is fetched from the Hub when this runs"):
        imported_model.source_digests(**config)

    def offline(*_, **__):
        raise LocalEntryNotFoundError("no connection")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(PedigreeError, match=r"start\.hugging_face: .*: can't be fetched: no connection"):
        imported_model.look_up(**config)
    asked = []
    monkeypatch.setattr(
        huggingface_hub, "snapshot_download", lambda repo, **how: asked.append((repo, how["revision"])) or str(folder)
    )
    for _ in range(2):
        imported_model.look_up(**config)
    assert asked == [(REPO, COMMIT)]
    assert imported_model.source_digests(**config) == imported_model.source_digests(**settings(folder))
