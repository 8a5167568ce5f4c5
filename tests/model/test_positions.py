import torch

from llm_core.model.positions import Rope

CPU = torch.device("cpu")


def test_turns_each_pair_as_a_complex_number() -> None:
    rope, length = Rope(8, theta=100.0), 6
    x = torch.randn(2, 3, length, 8)
    turned = rope(x, rope.prepare(4, length, CPU))
    for t in range(length):
        for i in range(4):
            factor = torch.polar(torch.tensor(1.0), torch.tensor((4 + t) * 100.0 ** (-2 * i / 8)))
            expected = torch.complex(x[:, :, t, i], x[:, :, t, i + 4]) * factor
            torch.testing.assert_close(turned[:, :, t, i], expected.real)
            torch.testing.assert_close(turned[:, :, t, i + 4], expected.imag)


def test_scores_depend_on_the_distance_only() -> None:
    rope = Rope(16, theta=10_000.0)
    query, key = torch.randn(1, 1, 1, 16), torch.randn(1, 1, 1, 16)

    def score(i: int, j: int) -> torch.Tensor:
        return (rope(query, rope.prepare(i, 1, CPU)) * rope(key, rope.prepare(j, 1, CPU))).sum()

    torch.testing.assert_close(score(9, 4), score(105, 100), atol=1e-4, rtol=1e-4)
    assert abs(score(9, 4) - score(9, 5)) > 1e-3


def test_angles_stay_fp32_and_the_input_keeps_its_type() -> None:
    rope = Rope(8, theta=10_000.0)
    prepared = rope.prepare(0, 4, CPU)
    assert prepared[0].dtype == torch.float32
    assert rope(torch.randn(1, 1, 4, 8).bfloat16(), prepared).dtype == torch.bfloat16
