"""Rotary positions in a ``config.json``: the base, and the scaling for longer texts."""

from typing import Any

from llm_core.experiment.model import ModelSpec
from llm_core.model.hf.config import Config, Fields, Part, UnsupportedError, put
from llm_core.model.mixers.attending import AttendingSpec
from llm_core.model.positions.rope.spec import Rope as RopeSpec


class Rope(Part):
    """``rope_theta`` and ``rope_scaling``, or the newer ``rope_parameters``, which contains both.

    The older form is written, since every version reads it.

    ``default_theta``: that of a config without one. ``temperature``: whether YaRN must have the paper's temperature; if
    not, another part reads it.
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
        put(fields.model, "mixer.position", {"kind": "rope", "theta": float(theta)})
        scaling = self._scaling(parameters, config)
        if scaling is not None:
            put(fields.model, "mixer.position.scaling", scaling)

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
        # Linear scaling needs no length, and a configuration may have none.
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
            raise UnsupportedError(f"rope_scaling: {', '.join(others)}: only the paper's temperature can be imported")
        return scaling

    def write(self, spec: ModelSpec, config: Config) -> None:
        """See ``Part``."""
        attending = (layer.mixer for layer in spec.layers if isinstance(layer.mixer, AttendingSpec))
        mixer = next((mixer for mixer in attending if isinstance(mixer.position, RopeSpec)), None)
        if mixer is None:
            return
        found = mixer.position.facts(mixer.rotated_channels())
        config["rope_theta"], scaling = found["theta"], found["scaling"]
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


def longest(spec: ModelSpec, trained: int) -> int:
    """Tokens of the longest sequence that a model supports after training on ``trained`` tokens, with its scaling."""
    positions = [layer.mixer.position_of() for layer in spec.layers]
    return max([trained, *(position.reach(trained) for position in positions if position is not None)])
