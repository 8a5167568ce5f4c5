"""What must hold for every model that can be described, whatever it is made of."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from llm_core.experiment.component import over
from llm_core.model.decoder import Losses
from llm_core.model.files import load_model, save_model
from llm_core.train.activation_checkpointing import checkpoint_activations
from tests.model.shapes import MODELS, VOCAB, model, named, spec, tokens

T = 24
DOCUMENTS = torch.tensor([[0] * 5 + [1] * 8 + [2] * 7 + [-1] * 4, [3] * 1 + [4] * 15 + [5] * 8])
"""Three documents in a row, one of them a single token; padding."""
BORDERS = [(0, 5), (0, 13), (0, 20), (1, 1), (1, 16)]
"""Row, and where another document begins."""

every_model = pytest.mark.parametrize("name", MODELS)


def assert_unchanged(name: str, before: Tensor, after: Tensor) -> None:
    """Bit for bit; but an expert's products go over as many tokens as chose it, and round as that number has it."""
    experts = any(layer.feed_forward is not None and layer.feed_forward.routes for layer in named(name).layers)
    torch.testing.assert_close(before, after, atol=1e-5 if experts else 0, rtol=1e-5 if experts else 0)


def logits(built: nn.Module, x: Tensor, documents: Tensor | None = None) -> Tensor:
    with torch.no_grad():
        found: Tensor = built(x, document_ids_BT=documents)
    return found


def reach(built: nn.Module, x: Tensor, rows: slice, columns: slice, documents: Tensor | None = None) -> Tensor:
    """(B, T): how much the embedding of each token moves the logits of ``columns`` in ``rows``."""
    embedded: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: tuple, output: Tensor) -> Tensor:
        embedded.append(output.detach().requires_grad_())
        return embedded[0]

    handle = built.embedding.register_forward_hook(keep)
    built(x, document_ids_BT=documents)[rows, columns].square().sum().backward()
    handle.remove()
    assert embedded[0].grad is not None
    return embedded[0].grad.abs().sum(-1)


@every_model
def test_the_future_changes_nothing_before_it(name: str) -> None:
    built, x = model(named(name)), tokens(2, T)
    changed = x.clone()
    changed[:, 13:] = (changed[:, 13:] + 1) % VOCAB
    before, after = logits(built, x), logits(built, changed)
    assert_unchanged(name, before[:, :13], after[:, :13])
    assert ((before[:, 13:] - after[:, 13:]).abs().amax(-1) > 1e-4).all()


@every_model
def test_gradients_come_from_the_past_alone(name: str) -> None:
    size = reach(model(named(name)), tokens(2, T), slice(None), slice(9, 10))
    assert (size[:, 10:] == 0).all()
    assert (size[:, 8:10] > 0).all()


@every_model
@pytest.mark.parametrize(("row", "border"), BORDERS)
def test_documents_do_not_see_each_other(name: str, row: int, border: int) -> None:
    """What stands before a border changes nothing behind it, and what stands behind changes nothing before."""
    built, x = model(named(name, document_mask=True)), tokens(2, T)
    changed = x.clone()
    changed[row, :border] = (changed[row, :border] + 1) % VOCAB
    before, after = logits(built, x, DOCUMENTS), logits(built, changed, DOCUMENTS)
    assert_unchanged(name, before[row, border:], after[row, border:])
    assert_unchanged(name, before[1 - row], after[1 - row])
    assert ((before[row, :border] - after[row, :border]).abs().amax(-1) > 1e-4).all()


@every_model
def test_gradients_stay_in_their_document(name: str) -> None:
    built, x = model(named(name, document_mask=True)), tokens(2, T)
    for row, columns in ((0, slice(5, 13)), (0, slice(20, 24)), (1, slice(0, 1)), (1, slice(1, 16))):
        size = reach(built, x, slice(row, row + 1), columns, DOCUMENTS)
        inside = torch.zeros_like(size, dtype=torch.bool)
        inside[row, columns] = True
        assert (size[~inside] == 0).all()
        assert (size[inside] > 0).all()


@every_model
def test_a_document_reads_as_it_does_alone(name: str) -> None:
    built, x = model(named(name, document_mask=True)), tokens(2, T)
    packed = logits(built, x, DOCUMENTS)
    for row, start, stop in ((0, 0, 5), (0, 5, 13), (0, 13, 20), (1, 0, 1), (1, 1, 16), (1, 16, 24)):
        alone = x[row : row + 1, start:stop]
        found = logits(built, alone, torch.zeros_like(alone))
        torch.testing.assert_close(packed[row : row + 1, start:stop], found, atol=2e-4, rtol=2e-4)


@every_model
def test_one_document_is_no_mask(name: str) -> None:
    x = tokens(2, T)
    masked = logits(model(named(name, document_mask=True)), x, torch.zeros_like(x))
    torch.testing.assert_close(masked, logits(model(named(name)), x), atol=1e-4, rtol=1e-4)


@every_model
def test_rows_do_not_see_each_other(name: str) -> None:
    built, x = model(named(name)), tokens(3, T)
    together = logits(built, x)
    for row in range(3):
        torch.testing.assert_close(together[row : row + 1], logits(built, x[row : row + 1]), atol=1e-4, rtol=1e-4)


def without_balancing(fields: dict[str, Any]) -> dict[str, Any]:
    routes = (fields.get("feed_forward") or {}).get("kind") == "moe"
    return over(fields, {"feed_forward": {"balance_loss": 0.0}} if routes else {})


@every_model
def test_padding_and_ignored_targets_change_no_gradient(name: str) -> None:
    """A row whose end is padded trains as the row without its end does."""
    x, y = tokens(1, T), tokens(1, T, seed=1)
    fields = without_balancing(MODELS[name])  # experts are balanced over all positions, padding too
    if "pattern" in fields:
        fields["pattern"] = [without_balancing(entry) for entry in fields["pattern"]]
    built = model(spec(**fields, document_mask=True))
    assert all(mixture.moe.balance_loss == 0 for mixture in built._mixtures())
    documents = torch.tensor([[0] * 9 + [1] * 8 + [-1] * 7])
    y[:, 17:] = -100
    gradients = []
    for stop in (T, 17):
        built.zero_grad()
        built(x[:, :stop], y[:, :stop], documents[:, :stop]).objective.backward()
        gradients.append({key: parameter.grad.clone() for key, parameter in built.named_parameters()})
    for key, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][key], atol=2e-3, rtol=1e-3, msg=key)


@every_model
def test_the_loss_is_that_of_the_logits(name: str) -> None:
    built, x, y = model(named(name)), tokens(2, T), tokens(2, T, seed=1)
    with torch.no_grad():
        losses = built(x, y)
        expected = nn.functional.cross_entropy(built(x).flatten(0, 1).double(), y.flatten(), reduction="sum")
    assert isinstance(losses, Losses)
    torch.testing.assert_close(losses.cross_entropy.double(), expected, rtol=1e-5, atol=1e-3)


@every_model
def test_bf16_stays_close_to_fp32(name: str) -> None:
    built, x, y = model(named(name, document_mask=True, init_std=0.02)), tokens(2, T), tokens(2, T, seed=1)
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.mul_(0.3)  # as flat as models are in training: sharp ones round to other tokens
        exact = built(x, y, DOCUMENTS).cross_entropy
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rounded = built(x, y, DOCUMENTS).cross_entropy
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(rounded, exact, rtol=0.01, atol=0)


@every_model
def test_activations_made_again_change_no_gradient(name: str) -> None:
    x, y, gradients = tokens(2, T), tokens(2, T, seed=1), []
    for mode in ("none", "full"):
        built = model(named(name, document_mask=True))
        checkpoint_activations(list(built.blocks), mode, None)
        built(x, y, DOCUMENTS).objective.backward()
        gradients.append([parameter.grad for parameter in built.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


@every_model
def test_a_folder_gives_the_same_model(name: str, tmp_path: Path) -> None:
    built, x = model(named(name)), tokens(2, T)
    save_model(built, built.spec, VOCAB, tmp_path)
    loaded, _ = load_model(tmp_path)
    assert torch.equal(logits(built, x), logits(loaded, x))


@pytest.mark.parametrize(
    "name", ["mixattention", "softcaps", "alibi", "gpt2", "mla", "liv", "mamba2", "retnet", "hyena", "rwkv7", "rwkv4"]
)
def test_compiled_equals_eager(name: str) -> None:
    """As one graph a block, forward and backward. What inductor then makes of the graphs is torch's to test."""
    x, y, found = tokens(2, T), tokens(2, T, seed=1), []
    for compiled in (False, True):
        built = model(named(name, document_mask=True))
        if compiled:
            torch._dynamo.reset()  # graphs of other models' blocks count towards a limit
            for block in built.blocks:
                block.compile(backend="aot_eager", fullgraph=True)
        loss = built(x, y, DOCUMENTS).objective
        loss.backward()
        found.append([loss, *(parameter.grad for parameter in built.parameters())])
    torch._dynamo.reset()
    for eager, other in zip(*found, strict=True):
        torch.testing.assert_close(eager, other, atol=1e-4, rtol=1e-4)
