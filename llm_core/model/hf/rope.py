"""Rotary positions in a ``config.json``: the base, and the scaling for longer texts."""

from collections.abc import Iterator
from typing import Any

from llm_core.experiment.model import ModelSpec
from llm_core.model.hf.config import FULL, SLIDING, Config, Fields, Part, UnsupportedError, put, setting
from llm_core.model.mixers.attending import AttendingSpec
from llm_core.model.positions.rope.spec import Rope as RopeSpec

_SCALINGS = {
    "linear": {},
    "llama3": {"low_frequency": "low_freq_factor", "high_frequency": "high_freq_factor"},
    "yarn": {"low_frequency": "beta_slow", "high_frequency": "beta_fast"},
}
"""Kinds of scaling, and our settings → their keys."""


class Rope(Part):
    """``rope_theta`` and ``rope_scaling``, or the newer ``rope_parameters``, which contains both.

    The older form is written, since every version reads it.

    ``default_theta``, ``default_share``: those of a config without the keys ``theta`` and ``share``. Without a
    ``default_share``, the family rotates whole heads. ``temperature``: whether YaRN must have the paper's temperature;
    if not, another part reads it. ``scales``: whether the family has the scalings.
    """

    def __init__(
        self,
        default_theta: float = 10_000.0,
        temperature: bool = True,
        *,
        theta: str = "rope_theta",
        share: str = "partial_rotary_factor",
        default_share: float | None = None,
        scales: bool = True,
    ) -> None:
        self.default_theta, self.default_share = default_theta, default_share
        self.theta, self.share = theta, share
        self.temperature = temperature
        self.scalings = _SCALINGS if scales else {}

    def read(self, config: Config, fields: Fields) -> None:
        """See ``Part``."""
        parameters = config.get("rope_parameters") or config.get("rope_scaling") or {}
        if any(isinstance(value, dict) for value in parameters.values()):
            raise UnsupportedError("rope_parameters differ between kinds of layers")
        put(fields.model, "mixer.position", self.position(parameters, config, self.theta, self.default_theta))

    def position(self, parameters: dict[str, Any], config: Config, key: str, default: float) -> dict[str, Any]:
        """Our position. ``key``: that of its base outside ``parameters``; ``default``: the base without one."""
        share = parameters.get("partial_rotary_factor", config.get(self.share))
        if share is None:
            share = self.default_share or 1.0
        if self.default_share is None and share != 1.0:
            raise UnsupportedError(f"{self.share}: models of this family rotate whole heads here")
        theta = parameters.get("rope_theta") or config.get(key) or default
        position = {"kind": "rope", "theta": float(theta), "share": float(share)}
        scaling = self._scaling(parameters, config)
        return position if scaling is None else {**position, "scaling": scaling}

    def _scaling(self, parameters: dict[str, Any], config: Config) -> dict[str, Any] | None:
        kind = parameters.get("rope_type", parameters.get("type", "default"))
        if kind == "default":
            return None
        if kind not in self.scalings:
            raise UnsupportedError(f"rope_type {kind!r}; known: {', '.join(['default', *self.scalings])}")
        defaults = {"beta_slow": 1.0, "beta_fast": 32.0}
        original = parameters.get("original_max_position_embeddings") or config.get("max_position_embeddings")
        # Linear scaling needs no length, and a configuration may have none.
        scaling = {"kind": kind, "original_length": original or 1}
        for ours, theirs in {"factor": "factor", **self.scalings[kind]}.items():
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
        mixer = next(_rotating(spec), None)
        if mixer is None:
            return
        config[self.theta], scaling = _written(mixer)
        if self.default_share is not None:
            config[self.share] = setting(mixer, "position.share")
        if scaling:
            config["rope_scaling"] = scaling


class RopeByWindow(Rope):
    """``rope_parameters`` with two entries: one for layers with a window, and one for the others.

    It must follow the part that reads windows. Older configurations have a base for each (``local``: the key for layers
    with a window, ``local_theta`` the default), and a scaling only for layers without a window; both forms are written.
    """

    def __init__(self, default_theta: float, local: str, local_theta: float) -> None:
        super().__init__(default_theta)
        self.local, self.local_theta = local, local_theta

    def read(self, config: Config, fields: Fields) -> None:
        """See ``Part``."""
        parameters = config.get("rope_parameters") or {}
        if any(value is not None and not isinstance(value, dict) for value in parameters.values()):
            raise UnsupportedError(f"rope_parameters: give those of {FULL} and of {SLIDING}")
        full = {**(parameters.get(FULL) or {}), **(config.get("rope_scaling") or {})}
        positions = {
            False: self.position(full, config, self.theta, self.default_theta),
            True: self.position(parameters.get(SLIDING) or {}, config, self.local, self.local_theta),
        }
        for layer in fields.layers:
            put(layer, "mixer.position", positions["window" in layer.get("mixer", {})])

    def write(self, spec: ModelSpec, config: Config) -> None:
        """See ``Part``."""
        mixers = {mixer.window is not None: mixer for mixer in reversed([*_rotating(spec)])}
        config["rope_parameters"] = {}
        for windowed, mixer in mixers.items():
            theta, scaling = _written(mixer)
            config[self.local if windowed else self.theta] = theta
            config["rope_parameters"][SLIDING if windowed else FULL] = {
                "rope_theta": theta,
                **(scaling or {"rope_type": "default"}),
            }
            if scaling and not windowed:
                config["rope_scaling"] = scaling


def _rotating(spec: ModelSpec) -> Iterator[AttendingSpec]:
    """The mixers with rotary positions."""
    attending = (layer.mixer for layer in spec.layers if isinstance(layer.mixer, AttendingSpec))
    return (mixer for mixer in attending if isinstance(mixer.position, RopeSpec))


def _written(mixer: AttendingSpec) -> tuple[float, dict[str, Any]]:
    """The base, and ``rope_scaling``; empty without one."""
    found = mixer.position.facts(mixer.rotated_channels())
    scaling = found["scaling"]
    if scaling is None:
        return found["theta"], {}
    keys = {"factor": "factor", **_SCALINGS[scaling["kind"]]}
    if scaling["kind"] != "linear":
        keys["original_length"] = "original_max_position_embeddings"
    return found["theta"], {"rope_type": scaling["kind"], **{theirs: scaling[ours] for ours, theirs in keys.items()}}


def longest(spec: ModelSpec, trained: int) -> int:
    """Tokens of the longest sequence that a model supports after training on ``trained`` tokens, with its scaling."""
    positions = [layer.mixer.position_of() for layer in spec.layers]
    return max([trained, *(position.reach(trained) for position in positions if position is not None)])
