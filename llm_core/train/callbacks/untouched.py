"""A check that callbacks of plug-ins do not change weights or what decides the next ones, and return metrics."""

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any

from llm_core.errors import PedigreeError
from llm_core.registries import CALLBACKS
from llm_core.runtime_only import runtime_only
from llm_core.train.callbacks.base import EVENTS, Callback

if TYPE_CHECKING:
    from torch import Tensor

    from llm_core.train.callbacks.run import Run

Marks = dict[tuple[str, str | int], object]
"""(what it is, the id of its parameter or the name of its part) → two version counters and the address of the tensor
(of a sharded one those of its part, too), or the text of a setting."""


@runtime_only("raises, and changes nothing")
def watched(callback: Callback) -> Callback:
    """``callback``, which raises ``PedigreeError`` when it belongs to a plug-in and changes the training.

    It compares torch's version counters and the addresses of weights, buffers, gradients and optimiser states, and the
    settings of the optimiser's groups, before and after each event, and waits for no device. The counters
    miss writes through ``tensor.data`` and NumPy; ``llm_core.contracts`` compares the bytes.
    """
    if CALLBACKS.plugin(callback.name) is not None:
        for event in overridden(callback):
            setattr(callback, event, _checked(callback.name, event, getattr(callback, event)))
    return callback


@runtime_only("says what a callback defines")
def overridden(callback: Callback) -> list[str]:
    """The events at which ``callback`` does something."""
    return [
        event for event in EVENTS if getattr(getattr(callback, event), "__func__", None) is not getattr(Callback, event)
    ]


@runtime_only("raises, and changes nothing")
def _checked(name: str, event: str, method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def checked(run: "Run", *arguments: Any, **options: Any) -> Any:
        before = _marks(run)
        found = method(run, *arguments, **options)
        after = _marks(run)
        if before != after:
            what, owner = next(key for key in {**before, **after} if before.get(key) != after.get(key))
            names = [name for name, value in run.model.named_parameters() if id(value) == owner]
            whose = owner if isinstance(owner, str) else (names or ["the model"])[0]
            raise PedigreeError(
                f"the callback {name} ({CALLBACKS[name]}) changes {what} of {whose} in {event}: callbacks are not "
                "part of any identity, so they must not change weights, buffers, gradients, or the optimiser's "
                "state and settings; let it change a copy (tensor.detach().clone())"
            )
        if event == "after_step" and not isinstance(found, dict):
            raise PedigreeError(
                f"the callback {name} ({CALLBACKS[name]}): after_step must return a dict of metrics ({{}} for none), "
                f"and returned {type(found).__name__}"
            )
        return found

    return checked


def _marks(run: "Run") -> Marks:
    """The marks of all that decides the next weights. Absent: the rate, which the schedule sets in every step."""
    found: Marks = {}
    for name, buffer in run.model.named_buffers():
        part, _, key = name.rpartition(".")
        found[f"the buffer {key}", part] = _mark(buffer)
    # Of the optimiser: during and after a forward pass, FSDP2 shows other parameters in the model.
    for number, group in enumerate(run.optimizer.param_groups):
        for key, value in group.items():
            if key not in ("params", "lr"):
                setting = f"the optimiser's {key}", f"parameter group {group.get('kind', number)}"
                found[setting] = _mark(value) if hasattr(value, "data_ptr") else repr(value)
        for parameter in group["params"]:
            owner = id(parameter)
            found["the weight", owner] = _mark(parameter)
            if parameter.grad is not None:
                found["the gradient", owner] = _mark(parameter.grad)
            for key, value in run.optimizer.state.get(parameter, {}).items():
                if hasattr(value, "data_ptr"):
                    found[f"the optimiser's {key}", owner] = _mark(value)
    return found


def _mark(tensor: "Tensor") -> tuple[int, int, int]:
    part = getattr(tensor, "_local_tensor", tensor)  # of a sharded tensor, which counts apart from its part
    return tensor._version, part._version, part.data_ptr()
