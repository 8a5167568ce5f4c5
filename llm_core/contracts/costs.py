"""Formulas of costs against what torch counts, for every model and so for each of its components.

Each function takes a ``ModelSpec`` and raises ``ContractError``. The plan, the memory estimate and MFU rest on these
formulas.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from llm_core.contracts.example import ContractError
from llm_core.contracts.models import VOCAB, loud_model, tokens
from llm_core.experiment.component import over
from llm_core.experiment.model import ModelSpec
from llm_core.model.accounting import (
    activation_bytes_per_token,
    flops_per_token,
    layer_costs,
    parameter_count,
    state_bytes,
)
from llm_core.model.build import build_model
from llm_core.model.mixers.attending import AttendingSpec
from llm_core.model.state import new_state

_PARTS = {
    "embedding": "embedding",
    "position": "embedding",
    "value_embeddings": "value_embeddings",
    "ngram_embedding": "ngram_embedding",
    "stream_scales": "stream_scales",
    "head": "head",
    "mixer": "mixers",
    "feed_forward": "feed_forward",
}
"""Part of a parameter's name → where ``parameter_count`` counts it. Others are norms."""


def parameters_are_the_modules(shape: ModelSpec) -> None:
    """The formula counts the parameters of the modules."""
    built = build_model(shape, VOCAB, device="meta")
    numbers = dict.fromkeys((*_PARTS.values(), "norms"), 0)
    for place, parameter in built.named_parameters():
        part = next((_PARTS[part] for part in place.split(".") if part in _PARTS), "norms")
        numbers[part] += parameter.numel()
    count = parameter_count(shape, VOCAB)
    for part, number in numbers.items():
        counted = getattr(count, part)
        if counted != number:
            raise ContractError(
                f"the formula counts {counted:,} parameters in {part}, and the modules have {number:,}: correct "
                "cost or parameters"
            )


def flops_are_those_of_the_products(shape: ModelSpec) -> None:
    """FLOPs of training per token."""
    built, counted = build_model(shape, VOCAB), []
    softcap = any(isinstance(layer.mixer, AttendingSpec) and layer.mixer.softcap for layer in shape.layers)
    built.attention_backend = "eager" if softcap else "sdpa"
    for rows in (1, 3):
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            built(torch.zeros(rows, 16, dtype=torch.long))
        counted.append(counter.get_total_flops())
    # Windows are counted by what is seen, and SDPA's products go over the whole square.
    whole = [
        over(entry, {"mixer": {"window": None}}) if isinstance(layer.mixer, AttendingSpec) else entry
        for entry, layer in zip(shape.pattern or ({},), shape.layers, strict=False)
    ]
    seen = ModelSpec.model_validate({**shape.model_dump(mode="json"), "pattern": whole})
    # A forward pass is a third of the work. What it does once, whatever its rows, is no token's.
    found, formula = 3 * (counted[1] - counted[0]) / (2 * 16), flops_per_token(seen, VOCAB, 16)
    if found != formula:
        raise ContractError(
            f"the formula gives {formula:,} FLOPs per token, and torch counts {found:,.0f}: correct "
            "matmul_parameters and mixing_flops of cost"
        )


def state_has_the_size_of_the_formula(shape: ModelSpec) -> None:
    """Bytes of a decoding state once a row is read."""
    for length in (10, 23):
        formula, found = state_bytes(shape, length, element_bytes=4), _bytes_of_state(shape, length)
        if formula != found:
            raise ContractError(
                f"the formula gives {formula:,} bytes of decoding state after {length} tokens, and the state has "
                f"{found:,}: correct state and cache_per_token of cost"
            )


def activations_are_what_autograd_keeps(shape: ModelSpec) -> None:
    """Bytes per token that a block saves for the backward pass, within a tenth."""
    length = min(88, shape.longest() or 88)
    one, three = (_wide(shape, layers, mask=True) for layers in (1, 3))
    for precision in ("bf16", "fp32"):
        found = (saved_bytes(three, precision, 1, length) - saved_bytes(one, precision, 1, length)) / length
        formula = activation_bytes_per_token(three, length, precision=precision) - activation_bytes_per_token(
            one, length, precision=precision
        )
        if abs(formula - found) > 0.1 * found:
            raise ContractError(
                f"the formula gives {formula / 2:,.0f} bytes of activations per token of a block in {precision}, and "
                f"autograd keeps {found / 2:,.0f}: correct saved of cost"
            )


def products_are_counted(shape: ModelSpec) -> None:
    """The numbers that come out of products with matrices, which selective checkpointing keeps."""
    one = _wide(shape, 1, mask=False)
    built, (layer,) = build_model(one, VOCAB), one.layers
    (cost,) = layer_costs(one, 44)
    parts = {"feed_forward": cost.feed_forward.matmul_outputs}
    if not isinstance(layer.mixer, AttendingSpec):  # attention's kernel is another product
        parts["mixer"] = cost.mixer.matmul_outputs
    for name, formula in parts.items():
        module = getattr(built.blocks[0], name)
        if module is None:
            continue
        found = _products_of(module, lambda: built(tokens(1, 44))) / 44
        if found != formula:
            raise ContractError(
                f"the formula gives {formula:,} outputs of matrix products per token of the {name}, and torch counts "
                f"{found:,.0f}: correct matmul_outputs of cost"
            )


CHECKS: tuple[Callable[[ModelSpec], None], ...] = (
    parameters_are_the_modules,
    flops_are_those_of_the_products,
    state_has_the_size_of_the_formula,
)
OF_BLOCKS: tuple[Callable[[ModelSpec], None], ...] = (activations_are_what_autograd_keeps, products_are_counted)
"""For models whose layers are alike and can have 128 channels: of mixers and feed-forwards."""


def _wide(shape: ModelSpec, layers: int, mask: bool) -> ModelSpec:
    """``shape`` with 128 channels, so that what a row has once counts little, and ``layers`` layers."""
    fields = {**shape.model_dump(mode="json"), "d_model": 128, "n_layers": layers, "document_mask": mask}
    return ModelSpec.model_validate(fields)


def saved_bytes(
    shape: ModelSpec, precision: str, rows: int, length: int, loss: bool = False, backend: str = "sdpa"
) -> int:
    """Bytes that autograd keeps for the backward pass, without weights and their bf16 copies."""
    built = build_model(shape, VOCAB)
    built.attention_backend = backend
    shapes = {tuple(p.shape) for p in built.parameters()} | {
        tuple(p.T.shape) for p in built.parameters() if p.ndim == 2
    }
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        if tuple(tensor.shape) not in shapes:
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    x = torch.zeros(rows, length, dtype=torch.long)
    autocast = torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16")
    with saved_tensors_hooks(keep, lambda tensor: tensor), autocast:
        built(x, x if loss else None, document_ids_BT=x)
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


def _bytes_of_state(shape: ModelSpec, length: int) -> int:
    built = loud_model(shape)
    state = new_state(built, 1, length)
    total = 0 if state.tokens_BJ is None else state.tokens_BJ.nbytes
    with torch.inference_mode():
        built(tokens(1, length), state=state)
    for layer in (*state.layers, *state.feed_forwards):
        tensors = [value for value in vars(layer).values() if isinstance(value, Tensor)] if layer else []
        total += sum(tensor.nbytes for tensor in tensors)
    return total


class _Products(TorchDispatchMode):
    """How many numbers come out of products with matrices."""

    def __init__(self) -> None:
        super().__init__()
        self.yielded = 0

    def __torch_dispatch__(
        self, operation: Any, types: Any, arguments: Any = (), options: dict[str, Any] | None = None
    ) -> Any:
        del types
        result = operation(*arguments, **(options or {}))
        if operation.overloadpacket in (torch.ops.aten.mm, torch.ops.aten.addmm):
            self.yielded += result.numel()
        return result


def _products_of(module: nn.Module, run: Callable[[], Any]) -> int:
    found: list[_Products] = []

    def begin(*_: Any) -> None:
        found.append(_Products())
        found[0].__enter__()

    handles = (
        module.register_forward_pre_hook(begin),
        module.register_forward_hook(lambda *_: found[0].__exit__(None, None, None)),
    )
    run()
    for handle in handles:
        handle.remove()
    return found[0].yielded
