"""What holds for every model, whatever it is made of, and so for every mixer, position, norm and feed-forward.

Each function takes a ``ModelSpec``, builds a small model of it whose every part shows in the logits, and raises
``ContractError``.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from llm_core.contracts.example import ContractError
from llm_core.experiment.model import ModelSpec
from llm_core.model.build import build_model
from llm_core.model.decoder import Decoder, Losses
from llm_core.model.files import load_model, save_model
from llm_core.model.gather import Rows, gathered
from llm_core.model.state import DecodingState, new_state
from llm_core.registries import FEED_FORWARDS
from llm_core.train.activation_checkpointing import checkpoint_activations

VOCAB = 50
T = 24
DOCUMENTS = torch.tensor([[0] * 5 + [1] * 8 + [2] * 7 + [-1] * 4, [3] * 1 + [4] * 15 + [5] * 8])
"""Three documents in a row, one of them a single token; padding."""
PIECES = [(0, 0, 5), (0, 5, 13), (0, 13, 20), (1, 0, 1), (1, 1, 16), (1, 16, 24)]
"""(row, first token, one past the last) of every document."""
BORDERS = [(0, 5), (0, 13), (0, 20), (1, 1), (1, 16)]
"""Row, and where another document begins."""
_APART = "Keep documents apart by context.documents_BT"


def loud_model(shape: ModelSpec, seed: int = 0, vocab_size: int = VOCAB) -> Decoder:
    """A model whose weights are large enough for every part to show in the logits."""
    generator = torch.Generator().manual_seed(seed)
    built = build_model(shape.model_copy(update={"init_std": 0.3}), vocab_size, generator=generator)
    with torch.no_grad():
        for name, parameter in built.named_parameters():
            if name.endswith("norm.weight"):
                parameter.uniform_(0.5, 1.5, generator=generator)
            elif name.endswith("bias"):
                parameter.uniform_(-0.5, 0.5, generator=generator)
            elif parameter.abs().max() < 1e-3:  # begins as nothing
                parameter.normal_(0.0, 0.3, generator=generator)
    return built


def tokens(rows: int, length: int, seed: int = 0) -> Tensor:
    """Random tokens, (rows, length)."""
    return torch.randint(0, VOCAB, (rows, length), generator=torch.Generator().manual_seed(seed))


def the_future_changes_nothing(shape: ModelSpec) -> None:
    """The logits of a token depend on no later token, and on itself."""
    built, x = loud_model(shape), tokens(2, T)
    changed = x.clone()
    changed[:, 13:] = (changed[:, 13:] + 1) % VOCAB
    before, after = _logits(built, x), _logits(built, changed)
    _unchanged(shape, before[:, :13], after[:, :13], "a token sees tokens that come after it")
    shows = (before[:, 13:] - after[:, 13:]).abs().amax(-1) > 1e-4
    _hold(shows.all(), "the logits of a token do not depend on the token itself: the path from x_BTD is cut")


def gradients_come_from_the_past(shape: ModelSpec) -> None:
    """Backward, too."""
    size = _reach(loud_model(shape), tokens(2, T), slice(None), slice(9, 10))
    _hold((size[:, 10:] == 0).all(), "a token's gradient reaches tokens that come after it")
    _hold((size[:, 8:10] > 0).all(), "a token's gradient does not reach the token itself and the one before it")


def documents_do_not_see_each_other(shape: ModelSpec) -> None:
    """What stands before a border changes nothing behind it, and what stands behind changes nothing before."""
    built, x = loud_model(_masked(shape)), tokens(2, T)
    before = _logits(built, x, DOCUMENTS)
    for row, border in BORDERS:
        changed = x.clone()
        changed[row, :border] = (changed[row, :border] + 1) % VOCAB
        after = _logits(built, changed, DOCUMENTS)
        wrong = f"a token sees tokens of another document (border at token {border}). {_APART}"
        _unchanged(shape, before[row, border:], after[row, border:], wrong)
        _unchanged(shape, before[1 - row], after[1 - row], "a token sees tokens of another row")
        shows = (before[row, :border] - after[row, :border]).abs().amax(-1) > 1e-4
        _hold(shows.all(), "with documents, the logits of a token do not depend on the token itself")


def gradients_stay_in_their_document(shape: ModelSpec) -> None:
    """Backward, too."""
    built, x = loud_model(_masked(shape)), tokens(2, T)
    for row, columns in ((0, slice(5, 13)), (0, slice(20, 24)), (1, slice(0, 1)), (1, slice(1, 16))):
        size = _reach(built, x, slice(row, row + 1), columns, DOCUMENTS)
        inside = torch.zeros_like(size, dtype=torch.bool)
        inside[row, columns] = True
        _hold((size[~inside] == 0).all(), f"a token's gradient reaches another document. {_APART}")
        _hold((size[inside] > 0).all(), "a token's gradient does not reach all of its document before it")


def a_document_reads_as_it_does_alone(shape: ModelSpec) -> None:
    """Its place in the row does not count."""
    built, x = loud_model(_masked(shape)), tokens(2, T)
    packed = _logits(built, x, DOCUMENTS)
    for row, start, stop in PIECES:
        alone = x[row : row + 1, start:stop]
        found = _logits(built, alone, torch.zeros_like(alone))
        _close(packed[row : row + 1, start:stop], found, 2e-4, "a document reads differently behind another one")


def one_document_is_no_mask(shape: ModelSpec) -> None:
    """A row of one document reads as it does without a mask."""
    x = tokens(2, T)
    masked = _logits(loud_model(_masked(shape)), x, torch.zeros_like(x))
    _close(masked, _logits(loud_model(shape), x), 1e-4, "a row of one document reads differently with document_mask")


def rows_do_not_see_each_other(shape: ModelSpec) -> None:
    """Rows of a batch are apart."""
    built, x = loud_model(shape), tokens(3, T)
    together = _logits(built, x)
    for row in range(3):
        alone = _logits(built, x[row : row + 1])
        _close(together[row : row + 1], alone, 1e-4, "a row reads differently in a batch than alone")


def padding_changes_no_gradient(shape: ModelSpec) -> None:
    """A row whose end is padded, with targets that are ignored, trains as the row without its end does."""
    x, y = tokens(1, T), tokens(1, T, seed=1)
    built = loud_model(_masked(_without_balancing(shape)))  # experts are balanced over all positions, padding too
    documents = torch.tensor([[0] * 9 + [1] * 8 + [-1] * 7])
    y[:, 17:] = -100
    gradients: list[dict[str, Tensor]] = []
    for stop in (T, 17):
        built.zero_grad()
        built(x[:, :stop], y[:, :stop], documents[:, :stop]).objective.backward()
        gradients.append(_gradients(built))
    for key, gradient in gradients[0].items():
        _close(gradient, gradients[1][key], 2e-3, f"padding changes the gradient of {key}")


def the_loss_is_that_of_the_logits(shape: ModelSpec) -> None:
    """Summed over all tokens."""
    built, x, y = loud_model(shape), tokens(2, T), tokens(2, T, seed=1)
    with torch.no_grad():
        losses = built(x, y)
        expected = nn.functional.cross_entropy(built(x).flatten(0, 1).double(), y.flatten(), reduction="sum")
    _hold(isinstance(losses, Losses), "the model returns no Losses")
    _close(losses.cross_entropy.double(), expected, 1e-3, "the loss is not the cross-entropy of the logits")


def bf16_stays_close_to_fp32(shape: ModelSpec) -> None:
    """Under autocast; the loss is fp32."""
    built, x, y = loud_model(_masked(shape)), tokens(2, T), tokens(2, T, seed=1)
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.mul_(0.3)  # as flat as models are in training: sharp ones round to other tokens
        exact = built(x, y, DOCUMENTS).cross_entropy
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rounded = built(x, y, DOCUMENTS).cross_entropy
    _hold(rounded.dtype == torch.float32, f"the loss under autocast is {rounded.dtype}, not float32")
    gap = abs(float(rounded / exact) - 1)
    _hold(gap <= 0.01, f"the loss in bf16 is {gap:.1%} from that in fp32: compute sums and exponentials in fp32")


def recomputed_activations_change_no_gradient(shape: ModelSpec) -> None:
    """A second forward pass gives what the first gave."""
    x, y, found = tokens(2, T), tokens(2, T, seed=1), []
    for mode in ("none", "full"):
        built = loud_model(_masked(shape))
        checkpoint_activations(list(built.blocks), mode, None)
        built(x, y, DOCUMENTS).objective.backward()
        found.append(_gradients(built))
    for key, gradient in found[0].items():
        _hold(
            torch.equal(gradient, found[1][key]),
            f"activation checkpointing changes the gradient of {key}: the forward pass must keep nothing between calls",
        )


def every_weight_has_a_gradient(shape: ModelSpec) -> None:
    """A weight that no gradient reaches never trains."""
    built = loud_model(shape)
    built(tokens(2, T), tokens(2, T, seed=1)).objective.backward()
    for name, parameter in built.named_parameters():
        _hold(parameter.grad is not None, f"no gradient reaches {name}: use it in forward, or remove it")


def residual_writers_are_named(shape: ModelSpec) -> None:
    """So that their initial weights are scaled by the depth."""
    for block in build_model(shape, VOCAB, device="meta").blocks:
        for part in ("mixer", "feed_forward"):
            if (owner := getattr(block, part)) is None:
                continue
            found = [(module, name) for module in owner.modules() for name in getattr(module, "residual_writers", ())]
            missing = [name for module, name in found if name not in dict(module.named_parameters())]
            _hold(
                not missing, f"residual_writers of its module names {', '.join(missing)}, which is no parameter of it"
            )
            advice = 'residual_writers = ("output.weight",) names the matrices that write into the residual stream'
            _hold(found, f"the module of the {part} has no residual_writers: {advice}")


def a_folder_gives_the_same_model(shape: ModelSpec) -> None:
    """Written and read back."""
    built, x = loud_model(shape), tokens(2, T)
    with tempfile.TemporaryDirectory() as folder:
        save_model(built, built.spec, VOCAB, Path(folder))
        loaded, _ = load_model(Path(folder))
    same = torch.equal(_logits(built, x), _logits(loaded, x))
    _hold(same, "is another model after it was saved and loaded: its state must be in parameters or buffers")


@torch.inference_mode()
def cached_equals_uncached(shape: ModelSpec) -> None:
    """Generation, by pieces of any sizes, with a decoding state."""
    built, x = loud_model(shape), tokens(2, 9)
    whole = built(x)
    for sizes in ([1] * 9, [5, 1, 1, 2], [9], [1, 8], [4, 5]):
        state = new_state(built, 2, 9)
        parts = [built(piece, state=state) for piece in x.split(sizes, dim=1)]
        wrong = f"read in pieces of {sizes} tokens with a decoding state, the logits differ from those of the whole row"
        _close(torch.cat(parts, dim=1), whole, 1e-4, f"{wrong}: use and update context.layer_state(layer.index)")


@torch.inference_mode()
def a_state_forgets_documents_that_have_ended(shape: ModelSpec) -> None:
    """Documents begin with a piece, of one token or more, or within one."""
    built, x = loud_model(_masked(shape)), tokens(2, 9)
    documents = torch.tensor([[0] * 4 + [1] * 5, [2] * 5 + [3] * 4])
    whole = built(x, document_ids_BT=documents)
    for sizes in ([4, 1, 4], [5, 4]):
        state = new_state(built, 2, 9, documents_BS=documents)
        parts = [built(piece, state=state) for piece in x.split(sizes, dim=1)]
        wrong = "a decoding state remembers a document that has ended. Reset it where context.documents_BS changes"
        _close(torch.cat(parts, dim=1), whole, 1e-4, wrong)


@torch.inference_mode()
def rows_join_and_leave_a_batch(shape: ModelSpec) -> None:
    """A row of a decoding state reads as it does alone, whichever rows come and go beside it."""
    built, x = loud_model(shape), tokens(3, 12)
    whole, read = built(x), [5, 2, 7]

    def begun(row: int) -> Rows:
        state = new_state(built, 1, read[row])
        built(x[row : row + 1, : read[row]], state=state)
        return Rows(state, [0])

    def step(state: DecodingState, rows: list[int]) -> None:
        places = [read[row] for row in rows]
        logits = built(x[rows, places][:, None], state=state)
        wrong = "in a batch that rows join and leave, a row's logits differ from those of the row alone"
        advice = "Give its decoding state a method gathered (llm_core.model.gather), or tensors (B, …) only"
        _close(logits[:, 0], whole[rows, places], 1e-4, f"{wrong}. {advice}")
        for row in rows:
            read[row] += 1

    state = gathered([begun(0), begun(1)], 4)
    step(state, [0, 1])
    state = gathered([Rows(state, [1, 0]), begun(2)], 4)
    for _ in range(3):
        step(state, [1, 0, 2])
    state = gathered([Rows(state, [0])], 4)
    for _ in range(4):
        step(state, [1])


CHECKS: tuple[Callable[[ModelSpec], None], ...] = (
    the_future_changes_nothing,
    gradients_come_from_the_past,
    documents_do_not_see_each_other,
    gradients_stay_in_their_document,
    a_document_reads_as_it_does_alone,
    one_document_is_no_mask,
    rows_do_not_see_each_other,
    padding_changes_no_gradient,
    the_loss_is_that_of_the_logits,
    bf16_stays_close_to_fp32,
    recomputed_activations_change_no_gradient,
    every_weight_has_a_gradient,
    residual_writers_are_named,
    a_folder_gives_the_same_model,
    cached_equals_uncached,
    a_state_forgets_documents_that_have_ended,
    rows_join_and_leave_a_batch,
)


def _hold(condition: Any, wrong: str) -> None:
    if not condition:
        raise ContractError(wrong)


def _close(found: Tensor, wanted: Tensor, tolerance: float, wrong: str) -> None:
    if not torch.allclose(found, wanted, atol=tolerance, rtol=tolerance):
        raise ContractError(f"{wrong} (differences of up to {float((found - wanted).abs().max()):.2g})")


def _unchanged(shape: ModelSpec, before: Tensor, after: Tensor, wrong: str) -> None:
    """Bit for bit; but an expert's products go over as many tokens as chose it, and round as that number has it."""
    experts = any(layer.feed_forward is not None and layer.feed_forward.routes for layer in shape.layers)
    _close(before, after, 1e-5 if experts else 0, wrong)


def _masked(shape: ModelSpec) -> ModelSpec:
    return shape.model_copy(update={"document_mask": True})


def _without_balancing(shape: ModelSpec) -> ModelSpec:
    def without(value: Any) -> Any:
        if isinstance(value, dict):
            kind = value.get("kind")
            routes = isinstance(kind, str) and kind in FEED_FORWARDS and FEED_FORWARDS.load(kind).routes
            return {key: without(item) for key, item in value.items()} | ({"balance_loss": 0.0} if routes else {})
        return [without(item) for item in value] if isinstance(value, list | tuple) else value

    return ModelSpec.model_validate(without(shape.model_dump(mode="json")))


def _gradients(built: nn.Module) -> dict[str, Tensor]:
    return {key: p.grad.clone() for key, p in built.named_parameters() if p.grad is not None}


def _logits(built: nn.Module, x: Tensor, documents: Tensor | None = None) -> Tensor:
    with torch.no_grad():
        found: Tensor = built(x, document_ids_BT=documents)
    return found


def _reach(built: Any, x: Tensor, rows: slice, columns: slice, documents: Tensor | None = None) -> Tensor:
    """(B, T): how much the embedding of each token moves the logits of ``columns`` in ``rows``."""
    embedded: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        embedded.append(output.detach().requires_grad_())
        return embedded[0]

    handle = built.embedding.register_forward_hook(keep)
    built(x, document_ids_BT=documents)[rows, columns].square().sum().backward()
    handle.remove()
    assert embedded[0].grad is not None
    return embedded[0].grad.abs().sum(-1)
