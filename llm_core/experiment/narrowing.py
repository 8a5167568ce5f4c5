"""A model as a smaller one of the same shape: the rule that makes the models of a study from the launched one.

Width and depth shrink by the same share, so the ratio of the shape stays. Heads keep their channels, patterns keep
their kinds of layers.
"""

import json
from typing import Any

from pydantic import ValidationError

from llm_core.errors import PedigreeError
from llm_core.experiment.base import from_plain, told
from llm_core.experiment.component import KindOf, over
from llm_core.experiment.model import ModelSpec
from llm_core.registries import FEED_FORWARDS, MIXERS


def narrowed(model: ModelSpec, width: int) -> ModelSpec:
    """``model`` with ``d_model`` ``width`` and as many layers as keep the ratio of its depth and width.

    Settings that a kind marks as ``with_width`` change in proportion. ``PedigreeError`` for a width that is larger, or
    that the model's components can't have.
    """
    if width >= model.d_model:
        raise PedigreeError(f"width {width} is not below the model's d_model {model.d_model}")
    plain = model.model_dump(mode="json")
    pattern = [entry for entry in plain["pattern"] for _ in range(entry.get("times", 1))]
    layers = _depth(model.n_layers, len(pattern), width / model.d_model)
    if len(pattern) == model.n_layers:  # it lists every layer
        pattern = _fewer(pattern, layers)
    parts = {"mixer": MIXERS, "feed_forward": FEED_FORWARDS}

    def smaller(section: dict[str, Any]) -> dict[str, Any]:
        changed = {}
        for name, registry in parts.items():
            if section.get(name) is not None:
                component: Any = KindOf(registry).made(over(plain[name], section[name]))
                changed[name] = component.narrowed(model.d_model, width).model_dump(mode="json")
        return {**{name: value for name, value in section.items() if name != "times"}, **changed}

    sizes = {"d_model": width, "n_layers": layers, "pattern": [smaller(entry) for entry in pattern]}
    try:
        return from_plain(ModelSpec, {**smaller(plain), **sizes})
    except ValidationError as error:
        raise PedigreeError(f"the model can't have width {width} and {layers} layers: {told(error)}") from None


def _depth(layers: int, period: int, share: float) -> int:
    wanted = max(1, round(layers * share))
    return wanted if period in (0, layers) else period * max(1, round(wanted / period))


def _fewer(entries: list[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    """``count`` of the layers, in order: of each kind its share, rounded by largest remainders, evenly spaced."""
    places: dict[str, list[int]] = {}
    for place, entry in enumerate(entries):
        kind = json.dumps({name: value for name, value in entry.items() if name != "times"}, sort_keys=True)
        places.setdefault(kind, []).append(place)
    shares = {kind: divmod(len(own) * count, len(entries)) for kind, own in places.items()}
    left = count - sum(whole for whole, _ in shares.values())
    rounded_up = sorted(shares, key=lambda kind: -shares[kind][1])[:left]
    kept = []
    for kind, own in places.items():
        number = shares[kind][0] + (kind in rounded_up)
        kept += [own[(2 * turn + 1) * len(own) // (2 * number)] for turn in range(number)]
    return [entries[place] for place in sorted(kept)]
