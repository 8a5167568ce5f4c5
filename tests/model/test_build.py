import pytest
import torch

from llm_core.model.build import build_model
from llm_core.model.init import initialise
from tests.model.shapes import MODELS, VOCAB, named, spec, tokens


@pytest.mark.parametrize("name", MODELS)
def test_meta_and_real_agree(name: str) -> None:
    shape = named(name)
    meta, real = build_model(shape, VOCAB, device="meta"), build_model(shape, VOCAB)
    assert all(parameter.is_meta for parameter in meta.parameters())
    assert {name: p.shape for name, p in meta.named_parameters()} == {n: p.shape for n, p in real.named_parameters()}


def test_weights_follow_from_the_seed_alone() -> None:
    torch.manual_seed(3)
    first = build_model(spec(), VOCAB)
    torch.manual_seed(3)
    second = build_model(spec(), VOCAB)
    torch.rand(7)
    third = build_model(spec(), VOCAB, generator=torch.Generator().manual_seed(3))
    fourth = build_model(spec(), VOCAB, generator=torch.Generator().manual_seed(4))
    late = build_model(spec(), VOCAB, device="meta").to_empty(device="cpu")
    initialise(late, spec(), torch.Generator().manual_seed(3))
    for other in (second, third, late):
        for a, b in zip(first.parameters(), other.parameters(), strict=True):
            assert torch.equal(a, b)
    assert not torch.equal(first.embedding.weight, fourth.embedding.weight)


def test_spread_of_fresh_weights() -> None:
    shape = spec(d_model=128, feed_forward={"d_ff": 256}, n_layers=8, init_std=0.05)
    for name, parameter in build_model(shape, 500).named_parameters():
        if name.endswith("norm.weight"):
            assert (parameter == 1).all()
            continue
        residual = name.endswith(("mixer.output.weight", "feed_forward.down.weight"))
        assert parameter.std().item() == pytest.approx(0.05 / 4 if residual else 0.05, rel=0.05), name
        assert abs(parameter.mean().item()) < 0.002, name


def test_fresh_loss_is_that_of_guessing() -> None:
    x, y = tokens(4, 32), tokens(4, 32, seed=1)
    loss = build_model(spec(), VOCAB)(x, y).objective / 128
    assert loss.item() == pytest.approx(torch.tensor(float(VOCAB)).log().item(), abs=0.1)


def test_a_parameter_without_a_rule_is_refused() -> None:
    model = build_model(spec(), VOCAB)
    model.extra = torch.nn.Parameter(torch.zeros(3))
    with pytest.raises(ValueError, match="extra"):
        initialise(model, spec())


def test_weights_are_fp32_whatever_the_default() -> None:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        model = build_model(spec(), VOCAB)
    finally:
        torch.set_default_dtype(before)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_exceptions_of_initial_weights() -> None:
    init = {
        "matrices": "fan_in",
        "residual_writers": "zero",
        "feed_forward": 0.4,
        "embedding_std": 0.8,
        "head_std": 0.001,
    }
    shape = named("value_embeddings", d_model=128, feed_forward={"d_ff": 256}, init=init)
    for name, parameter in build_model(shape, 500).named_parameters():
        if name.endswith(("mixer.output.weight", "feed_forward.down.weight", "value_gate.weight")):
            assert not parameter.any(), name
        elif "stream_scales" not in name:
            expected = {"embedding.weight": 0.8, "head.weight": 0.001}.get(name, 128**-0.5)
            expected *= 0.4 if "feed_forward" in name else 1
            assert parameter.std().item() == pytest.approx(expected, rel=0.05), name
            if name.startswith("blocks"):
                assert parameter.abs().max() <= 3**0.5 * expected, name


def test_matrices_by_their_inputs_are_scaled_by_the_depth_and_tables_are_not_matrices() -> None:
    shape = named("gpt2", d_model=64, n_layers=8, feed_forward={"d_ff": 256}, init={"matrices": "fan_in"})
    parameters = dict(build_model(shape, 500).named_parameters())
    spread = {name: parameters[name].std().item() for name in parameters if parameters[name].ndim == 2}
    assert spread["embedding.weight"] == pytest.approx(0.02, rel=0.05)
    assert spread["position.embedding.weight"] == pytest.approx(0.02, rel=0.05)
    assert spread["blocks.0.mixer.qkv.weight"] == pytest.approx(64**-0.5, rel=0.05)
    assert spread["blocks.0.feed_forward.down.weight"] == pytest.approx(256**-0.5 / 4, rel=0.05)


def test_stream_scales_begin_between_the_first_and_the_last_layer() -> None:
    built = build_model(named("value_embeddings"), VOCAB)
    found = [[scale.item() for scale in block.stream_scales.parameters()] for block in built.blocks]
    expected = [[1.15 - 0.1 * layer / 3, 0.2 - 0.15 * layer / 3] for layer in range(4)]
    assert torch.tensor(found).allclose(torch.tensor(expected))


def test_stream_scales_that_begin_neutral_change_nothing() -> None:
    plain, scaled = spec(), spec(stream_scales={})
    models = [build_model(shape, VOCAB, generator=torch.Generator().manual_seed(0)) for shape in (plain, scaled)]
    first, second = (model(tokens(2, 9)) for model in models)
    assert torch.equal(first, second)
