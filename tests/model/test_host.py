"""What would have the host wait for a GPU in every pass."""

from typing import Any, NoReturn

import pytest
import torch

from tests.model.shapes import MODELS, model, named, tokens


@pytest.mark.parametrize("name", MODELS)
def test_no_pass_sends_numbers_from_the_host(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """``torch.tensor(numbers, device=...)`` waits until all that was queued before is done."""
    built, x, y = model(named(name, document_mask=True)), tokens(2, 9), tokens(2, 9, seed=1)

    def sent(*_: Any, **__: Any) -> NoReturn:
        raise AssertionError("numbers go from the host to the device")

    for maker in ("tensor", "as_tensor", "asarray", "from_numpy"):
        monkeypatch.setattr(torch, maker, sent)
    built(x, y, torch.zeros_like(x)).objective.backward()
