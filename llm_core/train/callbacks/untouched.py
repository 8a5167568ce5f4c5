"""A check that the callbacks of plug-ins change neither the weights nor what becomes of them, and return metrics."""

from collections.abc import Callable, Iterator
from functools import wraps
from typing import TYPE_CHECKING, Any

from llm_core.errors import PedigreeError
from llm_core.registries import CALLBACKS
from llm_core.runtime_only import runtime_only
from llm_core.train.callbacks.base import Callback

if TYPE_CHECKING:
    from torch import Tensor

    from llm_core.train.callbacks.run import Run

MOMENTS = (
    "on_start",
    "before_step",
    "before_update",
    "after_step",
    "on_metrics",
    "end_step",
    "at_checkpoint",
    "on_end",
)

Mark = tuple[int, int, int]
"""Two version counters and the address of a tensor, of a sharded one those of its part, too."""


@runtime_only("raises, and changes nothing")
def watched(callback: Callback) -> Callback:
    """``callback``, which raises ``PedigreeError`` when it belongs to a plug-in and changes a tensor of the training.

    It compares torch's version counters and the addresses of weights, gradients and optimiser states before and after
    each of its moments. That takes some 2 µs per tensor and waits for no device. The counters miss writes through
    ``tensor.data`` and NumPy; ``llm_core.contracts`` compares the bytes.
    """
    if CALLBACKS.plugin(callback.name) is not None:
        for moment in overridden(callback):
            setattr(callback, moment, _checked(callback.name, moment, getattr(callback, moment)))
    return callback


@runtime_only("says what a callback defines")
def overridden(callback: Callback) -> list[str]:
    """The events at which ``callback`` does something."""
    return [
        moment
        for moment in MOMENTS
        if getattr(getattr(callback, moment), "__func__", None) is not getattr(Callback, moment)
    ]


@runtime_only("raises, and changes nothing")
def _checked(name: str, moment: str, method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def checked(run: "Run", *arguments: Any, **options: Any) -> Any:
        before = [_mark(tensor) for _, _, tensor in _tensors(run)]
        found = method(run, *arguments, **options)
        if moment == "after_step" and not isinstance(found, dict):
            raise PedigreeError(
                f"the callback {name} ({CALLBACKS[name]}): after_step must return a dict of metrics ({{}} for none), "
                f"and returned {type(found).__name__}"
            )
        after = list(_tensors(run))
        for mark, (what, parameter, tensor) in zip(before, after, strict=False):
            if _mark(tensor) != mark or len(before) != len(after):
                names = [key for key, value in run.model.named_parameters() if value is parameter]
                raise PedigreeError(
                    f"the callback {name} ({CALLBACKS[name]}) changes {what} of {(names or ['the model'])[0]} in "
                    f"{moment}: callbacks are not part of any identity, so they must not change weights, gradients or "
                    "the optimiser's state; let it change a copy (tensor.detach().clone())"
                )
        return found

    return checked


def _tensors(run: "Run") -> "Iterator[tuple[str, Tensor, Tensor]]":
    """(what it is, its parameter, the tensor) for all tensors that decide the next weights."""
    # Of the optimiser: during and after a forward pass, FSDP2 shows other parameters in the model.
    for group in run.optimizer.param_groups:
        for parameter in group["params"]:
            yield "the weight", parameter, parameter
            if parameter.grad is not None:
                yield "the gradient", parameter, parameter.grad
            for key, value in run.optimizer.state.get(parameter, {}).items():
                if hasattr(value, "data_ptr"):
                    yield f"the optimiser's {key}", parameter, value


def _mark(tensor: "Tensor") -> Mark:
    part = getattr(tensor, "_local_tensor", tensor)  # of a sharded tensor, which counts apart from its part
    return tensor._version, part._version, part.data_ptr()
