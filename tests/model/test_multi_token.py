import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from llm_core.model.accounting import flops_per_token, parameter_count
from llm_core.model.build import build_model
from llm_core.tokens.loader import IGNORED
from tests.model.shapes import VOCAB, model, named, spec, tokens

DOCUMENTS = torch.tensor([[0] * 9, [0] * 4 + [1] * 3 + [-1] * 2])


def targets(x: Tensor) -> Tensor:
    """What follows ``x``, with padding where ``DOCUMENTS`` say so."""
    y = torch.cat((x[:, 1:], torch.randint(0, VOCAB, (2, 1), generator=torch.Generator().manual_seed(7))), dim=1)
    return torch.where(DOCUMENTS == -1, IGNORED, y)


def naive(built: nn.Module, x: Tensor, y: Tensor, documents: Tensor | None) -> Tensor:
    """Row by row on sequences that are cut short instead of filled up, after DeepSeek-V3's equations 21 to 25."""
    total = torch.zeros(())
    for row in range(len(x)):
        stream: list[Tensor] = []
        handle = built.blocks[-1].register_forward_hook(lambda _module, _inputs, output, s=stream: s.append(output[0]))
        ids = None if documents is None else documents[row : row + 1]
        built.eval()
        built(x[row : row + 1], document_ids_BT=ids)
        built.train()
        handle.remove()
        # t_1 … t_{T+1}: the inputs, and the last target.
        text = torch.cat((x[row, :1], y[row]))
        h, T = stream[0], x.shape[1]
        for k, module in enumerate(built.further, start=1):
            if k >= T:
                break
            # Positions 1 … T - k: each has a token k + 1 places on.
            h = h[:, : T - k]
            context = built.context(x[row : row + 1, : T - k], None if ids is None else ids[:, : T - k], None)
            embedded = built.embedding(text[k:T].clamp(min=0))[None] * built.spec.embedding_scale
            joined = module.join(torch.cat((module.hidden_norm(h), module.token_norm(embedded)), dim=-1))
            h = module.block(joined, None, context)[0]
            logits = functional.linear(module.norm(h), built.head_weight)[0]
            for i in range(T - k):
                target = int(text[i + k + 1])
                if target == IGNORED or (documents is not None and documents[row, i] != documents[row, i + k]):
                    continue
                total = total + functional.cross_entropy(logits[i], torch.tensor(target))
    return total


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("depth", [1, 3, 11])
def test_the_objective_is_that_of_the_paper(depth: int, masked: bool) -> None:
    built = model(spec(multi_token={"depth": depth, "weight": 0.4}, document_mask=masked, embedding_scale=1.5))
    x = tokens(2, 9)
    y, documents = (targets(x), DOCUMENTS) if masked else (targets(x).clamp(min=3), None)
    built.train()
    losses = built(x, y, documents)
    expected = losses.cross_entropy + 0.4 / depth * naive(built, x, y, documents)
    torch.testing.assert_close(losses.objective, expected, atol=1e-3, rtol=1e-5)
    (ours,) = torch.autograd.grad(losses.objective, built.embedding.weight)
    again = functional.cross_entropy(
        built(x, document_ids_BT=documents).flatten(0, 1), y.flatten(), ignore_index=IGNORED, reduction="sum"
    )
    (theirs,) = torch.autograd.grad(again + 0.4 / depth * naive(built, x, y, documents), built.embedding.weight)
    torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-3)


def test_documents_end_further_targets_without_a_mask_too() -> None:
    built, x = model(spec(multi_token={"depth": 1})), tokens(2, 9)
    y = targets(x)
    built.train()
    # Positions 3 (document 0) and 6 (document 1) of the second row have nothing of their own two places on.
    separate, joined = built(x, y, DOCUMENTS), built(x, y, torch.zeros_like(DOCUMENTS))
    assert separate.objective < joined.objective
    assert separate.cross_entropy == joined.cross_entropy


def test_nothing_of_it_is_left_outside_training() -> None:
    plain, further = model(spec()), model(spec(multi_token={"depth": 2}))
    further.load_state_dict(plain.state_dict(), strict=False)
    x, y = tokens(2, 9), tokens(2, 9, seed=1)
    further.eval()
    losses = further(x, y)
    assert losses.objective.detach() == losses.cross_entropy == plain(x, y).cross_entropy
    assert torch.equal(further(x), plain(x))
    further.train()
    assert further(x, y).cross_entropy == losses.cross_entropy


def test_every_weight_learns() -> None:
    mixture = {"kind": "moe", "experts": 3, "top_k": 2, "d_ff": 8, "bias_rate": 0.1, "balance_loss": 0.0}
    built = model(spec(multi_token={"depth": 2}, feed_forward=mixture))
    built(tokens(2, 9), tokens(2, 9, seed=1)).objective.backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in built.parameters())
    assert len(built._mixtures()) == 4
    built.after_step(lambda counts: counts, torch.tensor(0.0))
    assert built.further[1].block.feed_forward.selection_bias.any()


def test_a_last_layer_without_keys_of_its_own_gets_some() -> None:
    built = model(spec(pattern=({}, {"mixer": {"share_kv": True}}), multi_token={"depth": 1}))
    assert built.further[0].block.mixer.own_kv
    built(tokens(2, 9), tokens(2, 9, seed=1)).objective.backward()
    assert parameter_count(built.spec, VOCAB).total == sum(p.numel() for p in built.parameters())


def test_its_costs_are_counted() -> None:
    shape = spec(multi_token={"depth": 2})
    built = build_model(shape, VOCAB, device="meta")
    assert parameter_count(shape, VOCAB).total == sum(parameter.numel() for parameter in built.parameters())
    further = flops_per_token(shape, VOCAB, 16) - flops_per_token(spec(), VOCAB, 16)
    block = flops_per_token(spec(n_layers=2), VOCAB, 16) - flops_per_token(spec(n_layers=1), VOCAB, 16)
    assert further == 2 * (block + 6 * (2 * 32 * 32 + VOCAB * 32))


def test_bags_of_tokens_are_refused() -> None:
    built = model(spec(multi_token={"depth": 1}))
    bags = tokens(2, 8).view(2, 4, 2)
    with pytest.raises(ValueError, match="bags"):
        built(bags, bags, torch.zeros(2, 4))


def test_heads_have_neither_the_tables_nor_the_scales_of_the_last_layer() -> None:
    built = model(named("value_embeddings", multi_token={"depth": 1}))
    (head,) = built.further
    assert head.block.stream_scales is None
    assert head.block.mixer.value_gate is None
    built.train()
    built(tokens(2, 9), targets(tokens(2, 9))).objective.backward()
    assert all(parameter.grad is not None for parameter in built.parameters())
