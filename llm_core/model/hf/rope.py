"""Rotary positions in a ``config.json``: the base, and how angles shrink for longer texts."""

from typing import Any

from llm_core.experiment.layers import LayerSpec, RopeScaling
from llm_core.experiment.model import ModelSpec
from llm_core.model.hf.config import Config, Fields, UnsupportedError

Turning = tuple[float, dict[str, Any] | None]


class Rope:
    """``rope_theta`` and ``rope_scaling``, and the newer ``rope_parameters`` that holds both.

    The older form is written, since every version reads it.

    ``default_theta``: that of a config that names none. ``temperature``: whether YaRN's is the paper's; if not, another
    part sees to it.
    """

    def __init__(self, default_theta: float = 10_000.0, temperature: bool = True) -> None:
        self.default_theta = default_theta
        self.temperature = temperature

    def read(self, config: Config, fields: Fields) -> None:
        """See ``Part``."""
        parameters = config.get("rope_parameters") or config.get("rope_scaling") or {}
        if any(isinstance(value, dict) for value in parameters.values()):
            raise UnsupportedError("rope_parameters differ between kinds of layers")
        if parameters.get("partial_rotary_factor", config.get("partial_rotary_factor", 1.0)) != 1.0:
            raise UnsupportedError("partial_rotary_factor: only whole heads are turned here")
        theta = parameters.get("rope_theta") or config.get("rope_theta") or self.default_theta
        fields.model["rope_theta"] = float(theta)
        scaling = self._scaling(parameters, config)
        if scaling is not None:
            fields.model["rope_scaling"] = scaling

    def _scaling(self, parameters: dict[str, Any], config: Config) -> dict[str, Any] | None:
        kind = parameters.get("rope_type", parameters.get("type", "default"))
        if kind == "default":
            return None
        names = {
            "linear": {},
            "llama3": {"low_frequency": "low_freq_factor", "high_frequency": "high_freq_factor"},
            "yarn": {"low_frequency": "beta_slow", "high_frequency": "beta_fast"},
        }
        if kind not in names:
            raise UnsupportedError(f"rope_type {kind!r}; known: default, {', '.join(names)}")
        defaults = {"beta_slow": 1.0, "beta_fast": 32.0}
        original = parameters.get("original_max_position_embeddings") or config.get("max_position_embeddings")
        # A linear scaling needs no length, and a configuration need not have one.
        scaling = {"kind": kind, "original_length": original or 1}
        for ours, theirs in {"factor": "factor", **names[kind]}.items():
            value = parameters.get(theirs, defaults.get(theirs))
            if value is None:
                raise UnsupportedError(f"rope_scaling: {theirs} is missing")
            scaling[ours] = float(value)
        if kind == "yarn" and parameters.get("truncate", True) is not True:
            raise UnsupportedError("rope_scaling: yarn without truncate")
        others = [name for name in ("attention_factor", "mscale", "mscale_all_dim") if parameters.get(name) is not None]
        if kind == "yarn" and self.temperature and others:
            raise UnsupportedError(f"rope_scaling: {', '.join(others)}: only the paper's temperature can be taken over")
        return scaling

    def write(self, spec: ModelSpec, config: Config) -> None:
        """See ``Part``."""
        layer = next((layer for layer in spec.layers if turning(spec, layer) is not None), None)
        if layer is None:
            return
        theta, scaling = turning(spec, layer) or (self.default_theta, None)
        config["rope_theta"] = theta
        if scaling is None:
            return
        written = {"rope_type": scaling["kind"], "factor": scaling["factor"]}
        if scaling["kind"] == "llama3":
            written |= {
                "low_freq_factor": scaling["low_frequency"],
                "high_freq_factor": scaling["high_frequency"],
                "original_max_position_embeddings": scaling["original_length"],
            }
        if scaling["kind"] == "yarn":
            written |= {
                "beta_slow": scaling["low_frequency"],
                "beta_fast": scaling["high_frequency"],
                "original_max_position_embeddings": scaling["original_length"],
            }
        config["rope_scaling"] = written


def turning(spec: ModelSpec, layer: LayerSpec) -> Turning | None:
    """The base and the scaling that a layer's angles follow from, None for a layer that turns nothing.

    Settings with equal angles are equal here: ``ntk`` is a larger base, and ``linear`` needs its factor only.
    """
    if layer.mixer not in ("attention", "mla") or layer.position != "rope":
        return None
    scaling = layer.rope_scaling
    if scaling is None:
        return layer.rope_theta, None
    if scaling.kind == "ntk":
        width = spec.mla.rope_dim if layer.mixer == "mla" and spec.mla is not None else layer.heads[2]
        return layer.rope_theta * scaling.factor ** (width / (width - 2)), None
    return layer.rope_theta, _effective(scaling)


def _effective(scaling: RopeScaling) -> dict[str, Any]:
    if scaling.kind == "linear":
        return {"kind": "linear", "factor": scaling.factor}
    return scaling.model_dump()


def longest(spec: ModelSpec, trained: int) -> int:
    """Tokens of the longest sequence that a model trained on ``trained`` tokens is for, with its scaling."""
    scalings = [layer.rope_scaling for layer in spec.layers if layer.rope_scaling is not None]
    return max([trained, *(int(scaling.factor * scaling.original_length) for scaling in scalings)])
