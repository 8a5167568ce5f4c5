from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from llm_core.model.feed_forwards.moe import grouped
from llm_core.model.feed_forwards.moe.grouped import grouped_product
from llm_core.model.feed_forwards.moe.module import MixtureOfExperts
from llm_core.model.feed_forwards.moe.spec import MixtureOfExperts as MixtureOfExpertsSpec
from llm_core.train.optimizers.adamw.optimizer import adamw
from llm_core.train.optimizers.adamw.spec import AdamW
from tests.model.shapes import VOCAB, model, spec, tokens

SETTINGS: dict[str, dict[str, Any]] = {
    "mixtral": {"experts": 5, "top_k": 2, "d_ff": 6},
    "olmoe": {"experts": 6, "top_k": 3, "d_ff": 6, "normalise": False},
    "deepseek": {
        "experts": 6,
        "top_k": 2,
        "d_ff": 4,
        "shared": 2,
        "score": "sigmoid",
        "scale": 2.5,
        "bias_rate": 0.1,
        "balance_loss": 0.001,
    },
    "one of many": {"experts": 7, "top_k": 1, "d_ff": 3, "normalise": False},
    "all": {"experts": 3, "top_k": 3, "d_ff": 3},
}


def made(name: str) -> MixtureOfExperts:
    torch.manual_seed(0)
    shape = spec(d_model=8)
    mixture = MixtureOfExperts(MixtureOfExpertsSpec(**SETTINGS[name]), shape, shape.layers[0]).double()
    for parameter in mixture.parameters():
        nn.init.normal_(parameter, std=0.5)
    if mixture.moe.bias_rate:
        mixture.selection_bias.copy_(torch.linspace(-0.3, 0.3, mixture.moe.experts))
    return mixture


def naive(mixture: MixtureOfExperts, x_BTD: Tensor) -> Tensor:
    """Token by token, after the papers."""
    moe, out = mixture.moe, []
    for x in x_BTD.flatten(0, 1):
        logits = mixture.router.weight @ x
        scores = logits.softmax(-1) if moe.score == "softmax" else logits.sigmoid()
        ranked = scores + mixture.selection_bias if moe.bias_rate else scores
        chosen = sorted(range(moe.experts), key=lambda e, r=ranked: -r[e].item())[: moe.top_k]
        total = sum(scores[e] for e in chosen) if moe.normalise else 1.0
        y = torch.zeros_like(x)
        for e in chosen:
            gate, up = (x @ mixture.gate_up[e]).chunk(2)
            y = y + moe.scale * scores[e] / total * ((functional.silu(gate) * up) @ mixture.down[e])
        if mixture.shared is not None:
            gate, up = (mixture.shared.gate_up.weight @ x).chunk(2)
            y = y + mixture.shared.down.weight @ (functional.silu(gate) * up)
        out.append(y)
    return torch.stack(out).view(x_BTD.shape)


@pytest.mark.parametrize("name", SETTINGS)
def test_values_and_gradients_are_those_of_the_papers(name: str) -> None:
    mixture, x = made(name), torch.randn(2, 5, 8, dtype=torch.float64)
    upstream = torch.randn_like(x)
    gradients = []
    for function in (mixture, lambda x: naive(mixture, x)):
        x_leaf = x.clone().requires_grad_()
        mixture.zero_grad()
        y = function(x_leaf)
        y.backward(upstream)
        gradients.append([y.detach(), x_leaf.grad, *(parameter.grad for parameter in mixture.parameters())])
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-10, rtol=1e-10)


def test_no_token_is_dropped_when_all_choose_one_expert() -> None:
    mixture, x = made("one of many"), torch.rand(2, 5, 8, dtype=torch.float64)
    with torch.no_grad():
        mixture.router.weight.copy_(-torch.arange(7.0)[:, None])
    torch.testing.assert_close(mixture(x), naive(mixture, x), atol=1e-10, rtol=1e-10)
    mixture.collect()
    assert mixture.take_counts().tolist() == [10, 0, 0, 0, 0, 0, 0]
    assert (mixture(x) != 0).all()


@pytest.mark.parametrize("name", ["mixtral", "deepseek"])
def test_the_balancing_loss_is_one_a_token_when_balanced_and_grows_with_imbalance(name: str) -> None:
    mixture = made(name)
    moe = mixture.moe
    scores = torch.full((30, moe.experts), 0.5, dtype=torch.float64)
    even = torch.stack([torch.arange(i, i + moe.top_k) % moe.experts for i in range(30)])
    balance, counts = mixture._routing(scores, even)
    torch.testing.assert_close(balance / 30, torch.tensor(moe.balance_loss, dtype=torch.float64))
    assert counts.tolist() == [30 * moe.top_k // moe.experts] * moe.experts
    scores[:, : moe.top_k] = 0.9
    uneven = torch.arange(moe.top_k).expand(30, -1)
    shares = 0.9 / (0.9 * moe.top_k + 0.5 * (moe.experts - moe.top_k))
    expected = moe.balance_loss * 30 * moe.experts * shares  # every chosen expert has 1 / top_k of the assignments
    assert float(mixture._routing(scores, uneven).balance) == pytest.approx(expected)


def test_the_objective_has_the_balancing_loss_and_the_cross_entropy_has_not() -> None:
    moe = {"kind": "moe", "experts": 4, "top_k": 2, "d_ff": 8, "balance_loss": 0.5}
    built, x, y = model(spec(feed_forward=moe)), tokens(2, 8), tokens(2, 8, seed=1)
    built.train()
    losses = built(x, y)
    balances = (losses.objective - losses.cross_entropy).item()
    assert balances >= 2 * 0.5 * 16  # two layers, sixteen tokens, at least 1 each
    losses.objective.backward()
    assert built.blocks[0].feed_forward.router.weight.grad.any()
    built.eval()
    unbalanced = built(x, y)
    assert unbalanced.objective.detach() == unbalanced.cross_entropy == losses.cross_entropy


def test_biases_move_against_the_load_of_all_micro_batches_and_ranks() -> None:
    mixture = {"experts": 4, "top_k": 1, "normalise": False, "d_ff": 8, "bias_rate": 0.25, "balance_loss": 0.0}
    built = model(spec(pattern=({}, {"feed_forward": {"kind": "moe", **mixture}})))
    mixed = built.blocks[1].feed_forward
    assert mixed.selection_bias.tolist() == [0.0] * 4
    for seed in range(3):
        built(tokens(2, 8, seed=seed), tokens(2, 8, seed=9)).objective.backward()
    counts = mixed.counts_X.clone()
    assert counts.sum() == 3 * 16
    elsewhere = torch.tensor([[0, 0, 0, 100]])
    built.after_step(lambda here: here + elsewhere, torch.tensor(0.0))
    total = (counts + elsewhere[0]).float()
    assert torch.equal(mixed.selection_bias, 0.25 * (total.mean() - total).sign())
    assert mixed.counts_X is None
    assert "blocks.1.feed_forward.selection_bias" in built.state_dict()
    before = mixed.selection_bias.clone()
    built(tokens(2, 8), tokens(2, 8, seed=9)).objective.backward()
    built.after_step(lambda here: here, torch.tensor(1.0))
    assert torch.equal(mixed.selection_bias, before)


def test_biases_choose_and_do_not_weigh() -> None:
    mixture, x = made("deepseek"), torch.randn(1, 1, 8, dtype=torch.float64)
    with torch.no_grad():
        mixture.selection_bias.zero_()
        mixture.selection_bias[3] = 100.0
    scores = mixture._scores(x[0])
    experts, weights = mixture._choose(scores)
    assert 3 in experts[0]
    torch.testing.assert_close(weights[0], 2.5 * scores[0, experts[0]] / scores[0, experts[0]].sum())


BALANCING: dict[str, dict[str, Any]] = {
    "none": {"balance_loss": 0.0},
    "loss": {"balance_loss": 0.1},
    "bias": {"balance_loss": 0.0, "bias_rate": 0.005, "score": "sigmoid"},
}


def busiest(kind: str) -> float:
    """The share of the busiest expert of four, over the last 40 of 80 steps, where all tokens have much in common."""
    moe = {"kind": "moe", "experts": 4, "top_k": 1, "d_ff": 8, "normalise": False, **BALANCING[kind]}
    built = model(spec(n_layers=1, feed_forward=moe))
    mixed = built.blocks[0].feed_forward
    with torch.no_grad():
        built.embedding.weight.add_(1.0)
        mixed.router.weight.mul_(0.1)
        mixed.router.weight[0].fill_(0.03)
    optimizer = adamw(AdamW(lr=1e-3), built)
    shares = []
    for step in range(80):
        built(tokens(8, 16, seed=step), tokens(8, 16, seed=1000 + step)).objective.div(128).backward()
        shares.append(float(mixed.counts_X.max() / mixed.counts_X.sum()))
        optimizer.step()
        optimizer.zero_grad()
        built.after_step(lambda here: here, torch.tensor(0.0))
    return sum(shares[-40:]) / 40


def test_balancing_balances() -> None:
    assert busiest("none") > 0.95
    assert busiest("loss") < 0.6
    assert busiest("bias") < 0.75


def test_autocast_routes_in_fp32_and_multiplies_in_bf16() -> None:
    mixture = made("mixtral").float()
    x = torch.randn(2, 5, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y, scores = mixture(x), mixture._scores(x[0])
    assert y.dtype == torch.bfloat16
    assert torch.equal(scores, mixture._scores(x[0]))
    torch.testing.assert_close(y.float(), mixture(x), atol=0.1, rtol=0.1)


def test_compiled_and_checkpointed_blocks_leave_the_same_losses_and_counts() -> None:
    moe = {"kind": "moe", "experts": 4, "top_k": 2, "d_ff": 8, "balance_loss": 0.1, "bias_rate": 0.1}
    results = []
    for kind in ("eager", "checkpointed", "compiled"):
        built = model(spec(n_layers=1, feed_forward=moe))
        block = built.blocks[0]
        if kind == "checkpointed":
            forward = block.forward
            block.forward = lambda *arguments, forward=forward: torch.utils.checkpoint.checkpoint(
                forward, *arguments, use_reentrant=False
            )
        if kind == "compiled":
            block.compile(backend="aot_eager")
        for seed in range(2):
            objective = built(tokens(2, 8, seed=seed), tokens(2, 8, seed=5)).objective
            objective.backward()
        counts = block.feed_forward.counts_X
        results.append((objective.detach(), counts, *(parameter.grad for parameter in built.parameters())))
    for result in results[1:]:
        torch.testing.assert_close(result, results[0])
    assert results[0][1].sum() == 2 * 16 * 2


def test_grouped_products_know_empty_groups() -> None:
    x = torch.randn(6, 3, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(4, 3, 5, dtype=torch.float64, requires_grad=True)
    ends = torch.tensor([0, 2, 2, 6], dtype=torch.int32)
    y = grouped_product(x, weight, ends)
    torch.testing.assert_close(y, torch.cat([x[:2] @ weight[1], x[2:] @ weight[3]]))
    assert torch.autograd.gradcheck(lambda x, w: grouped_product(x, w, ends), (x, weight))
    y.sum().backward()
    assert not weight.grad[[0, 2]].any()
    torch.library.opcheck(grouped._looped, (x, weight, ends))


def test_a_token_has_the_same_experts_whatever_stands_beside_it() -> None:
    built = model(spec(feed_forward={"kind": "moe", **SETTINGS["mixtral"]}))
    x = tokens(3, 6)
    torch.testing.assert_close(built(x)[1:2], built(x[1:2]), atol=1e-4, rtol=1e-4)
    assert built(x).shape == (3, 6, VOCAB)
