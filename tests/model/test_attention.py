import pytest
import torch
from torch.nn import functional

from llm_core.model.attention import Attention, causal_document_mask, continuation_mask
from llm_core.model.positions import Rope
from tests.model.shapes import spec

CPU = torch.device("cpu")


def made(**changes: object) -> Attention:
    torch.manual_seed(0)
    attention = Attention(spec(**changes), layer=0)
    for parameter in attention.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return attention


def naive(attention: Attention, x: torch.Tensor, rope: Rope, allowed: torch.Tensor) -> torch.Tensor:
    """Head by head and query by query, after the formula."""
    B, T, _ = x.shape
    heads, kv_heads, C = attention.n_heads, attention.n_kv_heads, attention.head_dim
    q, k, v = (x @ attention.qkv.weight.T).split([heads * C, kv_heads * C, kv_heads * C], dim=-1)
    prepared, mixed = rope.prepare(0, T, CPU), torch.zeros(B, T, heads * C)
    for b in range(B):
        for h in range(heads):
            g = h // (heads // kv_heads)
            q_TC, k_TC, v_TC = q[b, :, h * C : (h + 1) * C], k[b, :, g * C : (g + 1) * C], v[b, :, g * C : (g + 1) * C]
            if attention.query_norm is not None:
                q_TC, k_TC = attention.query_norm(q_TC), attention.key_norm(k_TC)
            q_TC, k_TC = rope(q_TC[None, None], prepared)[0, 0], rope(k_TC[None, None], prepared)[0, 0]
            for t in range(T):
                seen = [s for s in range(T) if allowed[b, t, s]]
                weights = functional.softmax(torch.stack([q_TC[t] @ k_TC[s] for s in seen]) / C**0.5, dim=0)
                mixed[b, t, h * C : (h + 1) * C] = sum(w * v_TC[s] for w, s in zip(weights, seen, strict=True))
    return mixed @ attention.output.weight.T


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
@pytest.mark.parametrize("qk_norm", [False, True])
def test_matches_a_naive_reference(kv_heads: int, qk_norm: bool) -> None:
    attention, rope = made(n_kv_heads=kv_heads, qk_norm=qk_norm), Rope(8, 100.0)
    x = torch.randn(2, 5, 32)
    causal = torch.ones(2, 5, 5, dtype=torch.bool).tril()
    result = attention(x, rope, rope.prepare(0, 5, CPU), None, None)
    torch.testing.assert_close(result, naive(attention, x, rope, causal), atol=1e-5, rtol=1e-4)


def test_masked_matches_a_naive_reference() -> None:
    attention, rope = made(), Rope(8, 100.0)
    x, documents = torch.randn(2, 5, 32), torch.tensor([[3, 3, 4, 4, 4], [0, 1, 1, 1, 9]])
    mask = causal_document_mask(documents)
    result = attention(x, rope, rope.prepare(0, 5, CPU), mask, None)
    torch.testing.assert_close(result, naive(attention, x, rope, mask[:, 0]), atol=1e-5, rtol=1e-4)


def test_gqa_equals_mha_with_repeated_keys_and_values() -> None:
    grouped, full, rope = made(n_kv_heads=2), made(n_kv_heads=4), Rope(8, 100.0)
    q, k, v = grouped.qkv.weight.split([32, 16, 16])
    repeat = [part.view(2, 8, 32).repeat_interleave(2, dim=0).reshape(32, 32) for part in (k, v)]
    with torch.no_grad():
        full.qkv.weight.copy_(torch.cat([q, *repeat]))
        full.output.weight.copy_(grouped.output.weight)
    x = torch.randn(2, 6, 32)
    arguments = (x, rope, rope.prepare(0, 6, CPU), None, None)
    torch.testing.assert_close(grouped(*arguments), full(*arguments), atol=1e-5, rtol=1e-4)


def test_document_mask() -> None:
    mask = causal_document_mask(torch.tensor([[7, 7, 8]]))
    assert mask.shape == (1, 1, 3, 3)
    assert mask[0, 0].tolist() == [[True, False, False], [True, True, False], [False, False, True]]


def test_continuation_mask() -> None:
    assert continuation_mask(2, 2, CPU).tolist() == [[True, True, True, False], [True, True, True, True]]
