from pathlib import Path

import pytest
import torch

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


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_weight_shows_in_the_logits(case: Case, tmp_path: Path) -> None:
    parity.their_model(case).save_pretrained(tmp_path)
    model = parity.imported_model(tmp_path)
    logits_BTV = model(shapes.tokens(3, parity.LENGTH))
    (logits_BTV * torch.randn(logits_BTV.shape, generator=torch.Generator().manual_seed(3))).sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 1e-2, name
