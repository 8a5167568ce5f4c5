import torch

from llm_core.model.norms import RMSNorm


def test_matches_the_formula() -> None:
    norm = RMSNorm(8, eps=1e-3)
    torch.nn.init.uniform_(norm.weight)
    x = torch.randn(3, 5, 8)
    expected = x / (x.square().mean(-1, keepdim=True) + 1e-3).sqrt() * norm.weight
    torch.testing.assert_close(norm(x), expected)


def test_keeps_the_type_of_its_input() -> None:
    norm = RMSNorm(64, eps=1e-5)
    torch.nn.init.ones_(norm.weight)
    x = torch.randn(4, 64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert norm(x).dtype == torch.float32
        half = norm(x.bfloat16())
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), norm(x), atol=0.02, rtol=0.02)
