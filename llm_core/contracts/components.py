"""What holds for the components of a model: mixers, positions, norms and feed-forwards.

Such a component is tried in a small model.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import partial, update_wrapper
from typing import Any

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


def _of_components(checks: Iterable[Callable[[ModelSpec], None]]) -> Iterator[Check]:
    for check in checks:
        yield update_wrapper(partial(of_model, check), check)


CHECKS: tuple[Check, ...] = (*settings.CHECKS, *_of_components((*models.CHECKS, *costs.CHECKS)))
OF_BLOCKS: tuple[Check, ...] = (*CHECKS, *_of_components(costs.OF_BLOCKS))
"""Those of mixers and feed-forwards."""
