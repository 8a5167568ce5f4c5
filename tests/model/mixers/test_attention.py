import pytest
import torch
from torch import Tensor
from torch.nn import functional

from llm_core.model.attending import prepare_mask
from llm_core.model.context import Context
from llm_core.model.masks import Mask, visible
from llm_core.model.mixers.attention.module import Attention
from llm_core.model.mixers.attention.spec import Attention as AttentionSpec
from llm_core.model.positions.rope.module import Rope
from tests.model.shapes import model, named, spec, tokens

CPU = torch.device("cpu")


def made(**changes: object) -> Attention:
    torch.manual_seed(0)
    shape = spec(mixer={"position": {"kind": "rope", "theta": 100.0}, **changes})
    layer = shape.layers[0]
    assert isinstance(layer.mixer, AttentionSpec)
    attention = Attention(layer.mixer, shape, layer)
    for parameter in attention.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return attention


def context(attention: Attention, length: int, documents: Tensor | None = None) -> Context:
    mask = prepare_mask(Mask(length, length, attention.window, documents, None), "eager", CPU)
    tables = {attention.position.key: attention.position.tables(0, length, CPU)}
    return Context(0, length, documents, {attention.mask_key: mask}, tables)


def naive(attention: Attention, x: Tensor, allowed: Tensor) -> Tensor:
    """Head by head and query by query, after the formula."""
    B, T, _ = x.shape
    heads, kv_heads, C = attention.n_heads, attention.n_kv_heads, attention.head_dim
    q, k, v = (x @ attention.qkv.weight.T).split([heads * C, kv_heads * C, kv_heads * C], dim=-1)
    rope: Rope = attention.position
    tables, mixed = rope.tables(0, T, CPU), torch.zeros(B, T, heads * C)
    for b in range(B):
        for h in range(heads):
            g = h // (heads // kv_heads)
            q_TC, k_TC, v_TC = q[b, :, h * C : (h + 1) * C], k[b, :, g * C : (g + 1) * C], v[b, :, g * C : (g + 1) * C]
            if attention.query_norm is not None:
                q_TC, k_TC = attention.query_norm(q_TC), attention.key_norm(k_TC)
            q_TC, k_TC = rope.rotate(q_TC[None, None], tables)[0, 0], rope.rotate(k_TC[None, None], tables)[0, 0]
            for t in range(T):
                seen = [s for s in range(T) if allowed[b, t, s]]
                scores = torch.stack([q_TC[t] @ k_TC[s] for s in seen]) / C**0.5
                if attention.softcap is not None:
                    scores = attention.softcap * torch.tanh(scores / attention.softcap)
                weights = functional.softmax(scores, dim=0)
                mixed[b, t, h * C : (h + 1) * C] = sum(w * v_TC[s] for w, s in zip(weights, seen, strict=True))
    return mixed @ attention.output.weight.T


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
@pytest.mark.parametrize("qk_norm", [False, True])
def test_matches_a_naive_reference(kv_heads: int, qk_norm: bool) -> None:
    attention = made(n_kv_heads=kv_heads, qk_norm=qk_norm)
    x = torch.randn(2, 5, 32)
    causal = torch.ones(2, 5, 5, dtype=torch.bool).tril()
    result, _ = attention(x, None, context(attention, 5))
    torch.testing.assert_close(result, naive(attention, x, causal), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("changes", [{}, {"window": 2}, {"window": 3, "softcap": 2.0}])
def test_masked_matches_a_naive_reference(changes: dict) -> None:
    attention = made(**changes)
    x, documents = torch.randn(2, 5, 32), torch.tensor([[3, 3, 4, 4, 4], [0, 1, 1, 1, 9]])
    allowed = (documents[:, :, None] == documents[:, None]).tril().triu(-changes.get("window", 5) + 1)
    result, _ = attention(x, None, context(attention, 5, documents))
    torch.testing.assert_close(result, naive(attention, x, allowed), atol=1e-5, rtol=1e-4)


def test_gqa_equals_mha_with_repeated_keys_and_values() -> None:
    grouped, full = made(n_kv_heads=2), made(n_kv_heads=4)
    q, k, v = grouped.qkv.weight.split([32, 16, 16])
    repeat = [part.view(2, 8, 32).repeat_interleave(2, dim=0).reshape(32, 32) for part in (k, v)]
    with torch.no_grad():
        full.qkv.weight.copy_(torch.cat([q, *repeat]))
        full.output.weight.copy_(grouped.output.weight)
    x = torch.randn(2, 6, 32)
    torch.testing.assert_close(
        grouped(x, None, context(grouped, 6))[0], full(x, None, context(full, 6))[0], atol=1e-5, rtol=1e-4
    )


def test_visible_tokens() -> None:
    documents = torch.tensor([[7, 7, 8]])
    assert visible(Mask(3, 3, None, documents, None), CPU)[0, 0].tolist() == [
        [True, False, False],
        [True, True, False],
        [False, False, True],
    ]
    assert visible(Mask(2, 4, None, None, None), CPU)[0, 0].tolist() == [[True, True, True, False], [True] * 4]
    assert visible(Mask(2, 4, 2, None, None), CPU)[0, 0].tolist() == [
        [False, True, True, False],
        [False, False, True, True],
    ]


def test_value_embeddings_are_added_to_the_values_of_their_token() -> None:
    """With a window of one token, the layer's output is the projection of the token's own values."""
    attention = made(window=1, value_embedding={"gate_channels": 5, "gate_scale": 2.0})
    x, embedded = torch.randn(2, 6, 32), torch.randn(2, 6, 16)
    gates = 2 * torch.sigmoid(x[..., :5] @ attention.value_gate.weight.T)
    values = (x @ attention.qkv.weight.T)[..., -16:].view(2, 6, 2, 8) + gates[..., None] * embedded.view(2, 6, 2, 8)
    expected = values.repeat_interleave(2, dim=2).flatten(2) @ attention.output.weight.T
    found, _ = attention(x, None, context(attention, 6), embedded)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_a_table_belongs_to_its_layer() -> None:
    built, x = model(named("value_embeddings")), tokens(1, 7)
    assert set(built.value_embeddings) == {"1", "3"}
    before = built(x)
    for table in built.value_embeddings.values():
        with torch.no_grad():
            row = table.weight[x[0, 3]].clone()
            table.weight[x[0, 3]] += 1
            after = built(x)
            table.weight[x[0, 3]] = row
        changed = (before != after).any(-1)[0]
        first = int((x[0] == x[0, 3]).nonzero()[0])
        assert not changed[:first].any()
        assert changed[first:].all()
