from functools import partial

import pytest
import torch
from torch.nn import functional

from llm_core.model import decoder
from llm_core.model.cross_entropy import linear_cross_entropy
from tests.model.shapes import VOCAB, model, spec, tokens


def test_the_future_changes_nothing_before_it() -> None:
    built, x = model(spec(qk_norm=True)), tokens(2, 12)
    changed = x.clone()
    changed[:, 7] = (changed[:, 7] + 1) % VOCAB
    before, after = built(x), built(changed)
    torch.testing.assert_close(before[:, :7], after[:, :7], atol=0, rtol=0)
    assert ((before[:, 7:] - after[:, 7:]).abs().amax(-1) > 1e-4).all()


def test_gradients_reach_the_past_and_only_the_past() -> None:
    built, x = model(spec()), tokens(1, 10)
    seen: list[torch.Tensor] = []
    built.embedding.register_forward_hook(lambda _module, _inputs, output: seen.append(output) or output.retain_grad())
    built(x)[0, 6].square().sum().backward()
    size = seen[0].grad[0].abs().sum(-1)
    assert (size[:7] > 0).all()
    assert (size[7:] == 0).all()


def test_documents_do_not_see_each_other() -> None:
    built, x = model(spec(document_mask=True)), tokens(1, 12)
    documents = torch.tensor([[5] * 4 + [6] * 5 + [8] * 3])
    changed = x.clone()
    changed[0, 2] = (changed[0, 2] + 1) % VOCAB
    before, after = built(x, document_ids_BT=documents), built(changed, document_ids_BT=documents)
    torch.testing.assert_close(before[:, 4:], after[:, 4:], atol=0, rtol=0)
    assert ((before[0, 2:4] - after[0, 2:4]).abs().amax(-1) > 1e-4).all()
    # RoPE knows distances only: a document alone, at position 0, reads the same.
    alone = built(x[:, 4:9], document_ids_BT=torch.zeros(1, 5, dtype=torch.long))
    torch.testing.assert_close(before[:, 4:9], alone, atol=1e-4, rtol=1e-4)


def test_document_gradients_stay_inside() -> None:
    built, x = model(spec(document_mask=True)), tokens(1, 8)
    seen: list[torch.Tensor] = []
    built.embedding.register_forward_hook(lambda _module, _inputs, output: seen.append(output) or output.retain_grad())
    built(x, document_ids_BT=torch.tensor([[0] * 3 + [1] * 5]))[0, 3:].square().sum().backward()
    size = seen[0].grad[0].abs().sum(-1)
    assert (size[:3] == 0).all()
    assert (size[3:] > 0).all()


def test_one_document_is_plain_causal_attention() -> None:
    x = tokens(2, 9)
    masked = model(spec(document_mask=True))(x, document_ids_BT=torch.zeros_like(x))
    torch.testing.assert_close(masked, model(spec())(x), atol=1e-4, rtol=1e-4)


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
    torch.testing.assert_close(loss.double(), whole)
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
