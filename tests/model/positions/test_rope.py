import pytest
import torch

from llm_core.model.positions.rope.module import Rope, rope_frequencies, score_scale
from llm_core.model.positions.rope.spec import Rope as RopeSpec
from llm_core.model.positions.rope.spec import RopeScaling

CPU = torch.device("cpu")


def rope(head_dim: int, theta: float) -> Rope:
    return Rope(RopeSpec(theta=theta), 1, head_dim)


def test_turns_each_pair_as_a_complex_number() -> None:
    position, length = rope(8, theta=100.0), 6
    x = torch.randn(2, 3, length, 8)
    turned = position.rotate(x, position.tables(4, length, CPU))
    for t in range(length):
        for i in range(4):
            factor = torch.polar(torch.tensor(1.0), torch.tensor((4 + t) * 100.0 ** (-2 * i / 8)))
            expected = torch.complex(x[:, :, t, i], x[:, :, t, i + 4]) * factor
            torch.testing.assert_close(turned[:, :, t, i], expected.real)
            torch.testing.assert_close(turned[:, :, t, i + 4], expected.imag)


def test_scores_depend_on_the_distance_only() -> None:
    position = rope(16, theta=10_000.0)
    query, key = torch.randn(1, 1, 1, 16), torch.randn(1, 1, 1, 16)

    def score(i: int, j: int) -> torch.Tensor:
        turned = (position.rotate(x, position.tables(place, 1, CPU)) for x, place in ((query, i), (key, j)))
        return torch.mul(*turned).sum()

    torch.testing.assert_close(score(9, 4), score(105, 100), atol=1e-4, rtol=1e-4)
    assert abs(score(9, 4) - score(9, 5)) > 1e-3


def test_angles_stay_fp32_and_the_input_keeps_its_type() -> None:
    position = rope(8, theta=10_000.0)
    tables = position.tables(0, 4, CPU)
    assert tables[0].dtype == torch.float32
    assert position.rotate(torch.randn(1, 1, 4, 8).bfloat16(), tables).dtype == torch.bfloat16


@pytest.mark.parametrize("kind", ["linear", "ntk", "llama3", "yarn"])
def test_scaling_slows_the_slow_channels_and_fast_ones_less(kind: str) -> None:
    scaling = RopeScaling(kind=kind, factor=4.0, original_length=512, high_frequency=8.0)
    plain, scaled = (rope_frequencies(64, 10_000.0, s, CPU) for s in (None, scaling))
    slowed = plain / scaled
    assert slowed[-1].item() == pytest.approx(4.0, rel=1e-4)
    assert slowed[0].item() == pytest.approx(4.0 if kind == "linear" else 1.0, rel=1e-4)
    assert (slowed[1:] >= slowed[:-1] - 1e-4).all()


def test_only_yarn_sharpens_the_scores() -> None:
    made = {kind: RopeScaling(kind=kind, factor=4.0, original_length=512) for kind in ("linear", "yarn")}
    assert score_scale(made["linear"]) == score_scale(None) == 1
    assert score_scale(made["yarn"]) == pytest.approx((0.1 * 1.386294 + 1) ** 2)
