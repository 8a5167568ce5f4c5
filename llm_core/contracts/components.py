"""What holds for the components of a model: mixers, positions, norms and feed-forwards.

Such a component is tried in a small model.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import partial, update_wrapper
from typing import Any

import torch

from llm_core.contracts import costs, models, settings
from llm_core.contracts.example import Check, ContractError, Example
from llm_core.experiment.component import over
from llm_core.experiment.model import ModelSpec

BASE: dict[str, Any] = {
    "d_model": 32,
    "n_layers": 2,
    "mixer": {"kind": "attention", "n_heads": 4, "n_kv_heads": 2},
    "feed_forward": {"kind": "swiglu", "d_ff": 48},
}
"""A small model."""


def holder(table: str, component: Any) -> dict[str, Any]:
    """The fields of ``ModelSpec`` that contain a component of a registry."""
    if table == "POSITIONS":
        return {"mixer": {"kind": "attention", "n_heads": 4, "position": component}}
    if table == "ABSOLUTE_POSITIONS":
        return {"absolute_position": component, "mixer": {"kind": "attention", "n_heads": 4, "position": "nope"}}
    return {table.lower().removesuffix("s"): component}


def of_model(check: Callable[[ModelSpec], None], example: Example) -> None:
    """Check the small model that has the component. Raises ``ContractError`` with the component's name."""
    example.component()
    try:
        check(ModelSpec.model_validate(over(BASE, holder(example.table, example.whole()))))
    except ContractError as error:
        example.hold(False, str(error))


def says_whether_it_biases(example: Example) -> None:
    """Kernels are chosen by ``biases``."""
    slopes = example.component().module(4, 8).slopes(torch.device("cpu"))
    advice = f"biases: ClassVar[bool] = {slopes is not None}"
    right = (slopes is not None) == example.loaded.biases
    example.hold(right, f"slopes of its module returns {type(slopes).__name__}, and biases is wrong: write {advice}")


def reads_as_far_as_it_says(example: Example) -> None:
    """``longest`` positions; any number without it."""
    position = example.component()
    length = position.longest() or 8192
    try:
        position.module(32, 1.0)(torch.arange(length))
    except IndexError:
        example.hold(False, f"can't encode {length} positions: define longest, which returns how many it can")


def _of_components(checks: Iterable[Callable[[ModelSpec], None]]) -> Iterator[Check]:
    for check in checks:
        yield update_wrapper(partial(of_model, check), check)


CHECKS: tuple[Check, ...] = (*settings.CHECKS, *_of_components((*models.CHECKS, *costs.CHECKS)))
OF_POSITIONS: tuple[Check, ...] = (*CHECKS, says_whether_it_biases)
OF_ABSOLUTE_POSITIONS: tuple[Check, ...] = (*CHECKS, reads_as_far_as_it_says)
OF_BLOCKS: tuple[Check, ...] = (*CHECKS, *_of_components(costs.OF_BLOCKS))
"""Those of mixers and feed-forwards."""
