from functools import partial

import pytest
import torch
from torch.nn import functional

from llm_core.model import decoder
from llm_core.model.cross_entropy import linear_cross_entropy
from tests.model.shapes import model, spec, tokens


def test_a_mask_without_documents_is_refused() -> None:
    with pytest.raises(ValueError, match="document_ids_BT"):
        model(spec(document_mask=True))(tokens(1, 4))


@pytest.mark.parametrize("tied", [True, False])
def test_the_loss_is_the_summed_cross_entropy_of_the_logits(tied: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    by_fives = partial(linear_cross_entropy, chunk=5)  # 21 tokens: four whole chunks and a rest
    monkeypatch.setattr(decoder, "linear_cross_entropy", by_fives)
    built, x, y = model(spec(tie_embeddings=tied)), tokens(3, 7), tokens(3, 7, seed=1)
    loss = built(x, y).objective
    loss.backward()
    chunked = {name: parameter.grad.clone() for name, parameter in built.named_parameters()}
    built.zero_grad()
    whole = functional.cross_entropy(built(x).flatten(0, 1).double(), y.flatten(), reduction="sum")
    whole.backward()
    assert loss.dtype == torch.float32
    assert loss.shape == ()
    torch.testing.assert_close(loss.double(), whole, atol=0, rtol=1e-6)
    for name, parameter in built.named_parameters():
        torch.testing.assert_close(chunked[name], parameter.grad, atol=1e-4, rtol=1e-4, msg=name)


def test_the_loss_is_fp32_under_autocast() -> None:
    built, x, y = model(spec()), tokens(2, 8), tokens(2, 8, seed=1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert built(x).dtype == torch.bfloat16
        loss = built(x, y).objective
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, built(x, y).objective, rtol=0.05, atol=0)


def test_a_tied_head_is_the_embedding_and_learns_as_both() -> None:
    tied, untied = model(spec()), model(spec(tie_embeddings=False))
    assert tied.head_weight is tied.embedding.weight
    assert tied.head_weight.data_ptr() == tied.embedding.weight.data_ptr()
    assert untied.head_weight is not untied.embedding.weight
    untied.load_state_dict({**tied.state_dict(), "head.weight": tied.embedding.weight.detach().clone()})
    x, y = tokens(2, 6), tokens(2, 6, seed=1)
    for built in (tied, untied):
        built(x, y).objective.backward()
    both = untied.embedding.weight.grad + untied.head.weight.grad
    torch.testing.assert_close(tied.embedding.weight.grad, both, atol=1e-4, rtol=1e-4)


def test_what_training_asks_of_the_loss_changes_the_objective_alone() -> None:
    built, x, y = model(spec(logit_softcap=4.0)), tokens(2, 8), tokens(2, 8, seed=1)
    plain = built(x, y)
    assert plain.objective.detach() == plain.cross_entropy
    whole = functional.cross_entropy(built(x).flatten(0, 1), y.flatten(), reduction="none").detach()
    torch.testing.assert_close(plain.cross_entropy, whole.sum())
    built.loss_clamp = float(whole.median())
    clamped = built(x, y)
    assert clamped.cross_entropy == plain.cross_entropy
    torch.testing.assert_close(clamped.objective.detach(), whole.clamp(max=whole.median()).sum())
    built.loss_clamp, built.z_loss = None, 0.1
    penalty = 0.1 * torch.logsumexp(built(x).detach(), dim=-1).square().sum()
    torch.testing.assert_close(built(x, y).objective.detach(), plain.cross_entropy + penalty)
