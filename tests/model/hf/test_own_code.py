"""Folders that bring the code of their model along."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from llm_core.errors import PedigreeError
from llm_core.model.generate import Sampling, generate
from llm_core.model.hf.exporting import export_folder
from llm_core.model.hf.importing import import_folder
from llm_core.model.hf.own_code.sources import code_files
from tests.model import shapes
from tests.model.hf import parity


def exported(folder: Path, name: str) -> tuple[Any, Any]:
    """Our model, and theirs from its folder."""
    ours = shapes.model(shapes.named(name)).eval()
    assert export_folder(ours, folder, sequence_length=64).name == "pedigree"
    return ours, parity.their_loaded(folder)


@pytest.mark.parametrize("name", ["mixattention", "hybrid", "rwkv7_in_part", "moe_after_dense", "ngram_embedding"])
def test_logits_and_greedy_tokens_are_ours(name: str, tmp_path: Path) -> None:
    ours, theirs = exported(tmp_path, name)
    # Of the folder, and of no other that was loaded before it.
    assert type(theirs.decoder).__module__.startswith("transformers_modules.")
    tokens_BT = shapes.tokens(3, 20)
    assert parity.difference(parity.logits_of_ours(ours, tokens_BT), parity.logits_of_theirs(theirs, tokens_BT)) == 0.0
    assert parity.same_greedy(ours, theirs, tokens_BT[:, :9])
    found = import_folder(tmp_path)
    assert found.spec == ours.spec
    assert all(torch.equal(found.weights[key], tensor) for key, tensor in ours.state_dict().items())


def test_only_files_of_the_folder_are_imported() -> None:
    files = code_files(shapes.named("hybrid"))
    assert (
        "pedigree::" not in code_files(shapes.named("moe_after_dense"))["pedigree_model_feed_forwards_moe_grouped.py"]
    )
    assert {"modeling_pedigree.py", "configuration_pedigree.py", "pedigree_model_mixers_mamba2_module.py"} <= set(files)
    assert "pedigree_model_mixers_hyena_module.py" not in files
    for name, source in files.items():
        lines = [line for line in source.splitlines() if line.lstrip().startswith(("import ", "from "))]
        assert not [line for line in lines if "llm_core" in line], name
        assert '"llm_core.' not in source.replace('"llm_core.")', ""), name


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    return exported(tmp_path_factory.mktemp("exported"), "hybrid")


def test_rows_padded_on_the_left(pair: tuple[Any, Any]) -> None:
    ours, theirs = pair
    lines = [[3, 1, 4, 1, 5], [9, 2]]
    tokens_BT = torch.tensor([lines[0], [0, 0, 0, *lines[1]]])
    mask_BT = torch.tensor([[1] * 5, [0, 0, 0, 1, 1]])
    rows = theirs.generate(tokens_BT, attention_mask=mask_BT, do_sample=False, max_new_tokens=6)
    assert rows[:, 5:].tolist() == generate(ours, lines, Sampling(6))
    with torch.no_grad():
        alone_BTV = theirs(torch.tensor([lines[1]])).logits
        padded_BTV = theirs(tokens_BT, attention_mask=mask_BT, logits_to_keep=2).logits
    torch.testing.assert_close(padded_BTV[1:], alone_BTV, atol=1e-4, rtol=1e-4)
    with pytest.raises(ValueError, match="pad them on the right"):
        theirs(tokens_BT, attention_mask=mask_BT)


def test_it_trains_and_is_saved_and_loaded_again(pair: tuple[Any, Any], tmp_path: Path) -> None:
    _, theirs = pair
    tokens_BT = shapes.tokens(2, 9)
    loss = theirs(tokens_BT, labels=tokens_BT).loss
    expected = torch.nn.functional.cross_entropy(
        theirs(tokens_BT).logits[:, :-1].flatten(0, 1), tokens_BT[:, 1:].flatten()
    )
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert theirs.decoder.embedding.weight.grad.abs().sum() > 0
    theirs.save_pretrained(tmp_path)
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, trust_remote_code=True, dtype=torch.bfloat16)
    assert {parameter.dtype for parameter in again.parameters()} == {torch.bfloat16}
    assert again(tokens_BT).logits.dtype == torch.bfloat16


def test_beam_search_is_refused(pair: tuple[Any, Any]) -> None:
    with pytest.raises(NotImplementedError, match="num_beams"):
        pair[1].generate(shapes.tokens(1, 4), num_beams=2, max_new_tokens=3)


def test_a_specification_that_is_missing_or_wrong(tmp_path: Path) -> None:
    export_folder(shapes.model(shapes.named("mixattention")), tmp_path, sequence_length=64)
    path = tmp_path / "config.json"
    config = json.loads(path.read_text())
    for change, message in (({"pedigree": None}, "pedigree is missing"), ({"d_model": "wide"}, "d_model")):
        changed = (
            {**config, **change} if "pedigree" in change else {**config, "pedigree": {**config["pedigree"], **change}}
        )
        path.write_text(json.dumps(changed))
        with pytest.raises(PedigreeError, match=message):
            import_folder(tmp_path)
