import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from llm_core.model.hf.config import UnsupportedError
from llm_core.model.hf.exporting import export_folder
from llm_core.model.hf.facts import facts
from llm_core.model.hf.families import family_named
from tests.model import shapes
from tests.model.hf import parity
from tests.model.hf.parity import CASES, Case


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_logits_and_greedy_tokens_are_theirs(case: Case, tmp_path: Path) -> None:
    found = parity.parity(case, tmp_path)
    assert found.spread > 0.5  # differences are seen against something
    assert found.imported <= 1e-4
    assert found.exported <= 1e-4
    assert found.greedy
    assert found.returned


def test_a_norm_that_both_branches_read_becomes_two_that_are_not_one_tensor(tmp_path: Path) -> None:
    parity.their_model(next(case for case in CASES if case.kind == "falcon")).save_pretrained(tmp_path)
    weights = parity.import_folder(tmp_path).weights
    first, second = (weights[f"blocks.0.{branch}_norm.weight"] for branch in ("mixer", "feed_forward"))
    assert torch.equal(first, second)
    assert first.data_ptr() != second.data_ptr()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_weight_shows_in_the_logits(case: Case, tmp_path: Path) -> None:
    parity.their_model(case).save_pretrained(tmp_path)
    model = parity.imported_model(tmp_path)
    logits_BTV = model(shapes.tokens(3, parity.LENGTH))
    (logits_BTV * torch.randn(logits_BTV.shape, generator=torch.Generator().manual_seed(3))).sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 1e-2, name


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_key_that_is_not_there_means_what_it_means_to_them(case: Case) -> None:
    """Or is asked for. A configuration written by hand need not have them all."""
    family = family_named(case.kind)
    whole = json.loads(transformers.AutoConfig.for_model(case.kind, **case.config).to_json_string())
    unread = {"transformers_version", "time_step_limit"}  # their own form of infinity they don't take
    for name in sorted(whole.keys() - unread - {"model_type"}):
        fewer = {key: value for key, value in whole.items() if key not in {name, *unread}}
        try:
            found = facts(family.read(fewer))
        except (UnsupportedError, TypeError):
            continue
        theirs = json.loads(transformers.AutoConfig.for_model(**fewer).to_json_string())
        theirs.pop("time_step_limit", None)
        assert found == facts(family.read(theirs)), name


LATENT = {"mixer": shapes.MLA, "norm": {"kind": "rmsnorm", "eps": 1e-6}}
MIXTURE = {"kind": "moe", "experts": 4, "top_k": 2, "d_ff": 20, "shared": 1, "normalise": False}
GEMMA = {
    "norm_placement": "sandwich",
    "feed_forward": {"kind": "geglu", "d_ff": 48},
    "embedding_scale": 32**0.5,
}
STRETCHED = {"kind": "yarn", "factor": 4.0, "original_length": 64, "high_frequency": 32.0}


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("deepseek_v2", LATENT),
        ("deepseek_v2", {**LATENT, "feed_forward": MIXTURE}),
        ("gemma2", GEMMA),
        (
            "smollm3",
            {
                "n_layers": 4,
                "mixer": {"position": {"kind": "rope", "scaling": STRETCHED}},
                "pattern": ({"times": 3}, {"mixer": {"position": "nope"}}),
            },
        ),
    ],
    ids=["latent, dense", "latent, experts everywhere", "gemma without windows", "smollm3, stretched"],
)
def test_models_that_only_we_would_make_load_there(kind: str, fields: dict[str, Any], tmp_path: Path) -> None:
    model = shapes.model(shapes.spec(**fields)).eval()
    assert export_folder(model, tmp_path, sequence_length=64).name == kind
    theirs, x = parity.their_loaded(tmp_path), shapes.tokens(3, parity.LENGTH)
    assert parity.difference(parity.logits_of_ours(model, x), parity.logits_of_theirs(theirs, x)) <= 1e-4
