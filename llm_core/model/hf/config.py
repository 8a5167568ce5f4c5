"""The parts of a ``config.json``. One object reads and writes each part.

A family of models is a list of parts (``llm_core.model.hf.family``). Reading fills ``Fields``; writing reads a
``ModelSpec``. Writing loses settings that no part can express. Reading the result back shows which ones.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from llm_core.experiment.component import over
from llm_core.experiment.layers import LayerSpec
from llm_core.experiment.model import ModelSpec

Config = dict[str, Any]

REQUIRED = object()
"""For ``Key``: there is no default, so the key is required."""


FULL, SLIDING = "full_attention", "sliding_attention"


class UnsupportedError(ValueError):
    """A ``config.json`` has a setting that the models of this project don't support."""


@dataclass
class Fields:
    """The fields of ``ModelSpec`` read so far, and for each layer the fields that differ."""

    model: dict[str, Any]
    layers: list[dict[str, Any]]


class Part:
    """One setting of a ``config.json``, or a few that belong together. By default it reads and writes nothing."""

    def read(self, config: Config, fields: Fields) -> None:
        """Copy the setting from ``config`` to ``fields``; raises ``UnsupportedError``."""

    def write(self, spec: ModelSpec, config: Config) -> None:
        """Copy the setting from ``spec`` to ``config``, as far as ``config`` can express it."""


def look_up(config: Mapping[str, Any], key: str, absent: Any = None) -> Any:
    """The value at a dotted key, or ``absent`` if there is no such key."""
    value: Any = config
    for name in key.split("."):
        if not isinstance(value, Mapping) or name not in value:
            return absent
        value = value[name]
    return value


def put(config: Config, key: str, value: Any) -> None:
    """Set the value at a dotted key."""
    *path, last = key.split(".")
    for name in path:
        config = config.setdefault(name, {})
    config[last] = value


def setting(holder: Any, name: str) -> Any:
    """The value of a dotted field of a specification; None if a component has no such field."""
    for field in name.split("."):
        holder = getattr(holder, field, None)
    return holder


def said(spec: ModelSpec, name: str) -> Any:
    """The value of a field that a family has once; for a field of layers, the value in the first layer that has it."""
    if name.partition(".")[0] not in LayerSpec.model_fields:
        return setting(spec, name)
    return next((value for layer in spec.layers if (value := setting(layer, name)) is not None), None)


@dataclass(frozen=True)
class Key(Part):
    """A key of theirs that is a field of ours, which may be a component's (``feed_forward.d_ff``). ``absent``: the
    value without the key; ``null`` is a value of its own."""

    theirs: str
    ours: str
    absent: Any = REQUIRED

    def read(self, config: Config, fields: Fields) -> None:
        """See ``Part``."""
        value = look_up(config, self.theirs, self.absent)
        if value is REQUIRED:
            raise UnsupportedError(f"{self.theirs} is missing")
        put(fields.model, self.ours, value)

    def write(self, spec: ModelSpec, config: Config) -> None:
        """See ``Part``."""
        put(config, self.theirs, said(spec, self.ours))


@dataclass(frozen=True)
class Written(Part):
    """A key that is written for other programs and ignored in reading."""

    theirs: str
    value: Any

    def write(self, spec: ModelSpec, config: Config) -> None:  # noqa: ARG002
        """See ``Part``."""
        put(config, self.theirs, self.value)


@dataclass(frozen=True)
class Fixed(Written):
    """A key of theirs of which our models support one value. ``absent``: whether a missing key means that value,
    too."""

    absent: bool = True

    def read(self, config: Config, fields: Fields) -> None:  # noqa: ARG002 (see ``Part``)
        """See ``Part``."""
        value = look_up(config, self.theirs)
        if value != self.value and not (value is None and self.absent):
            raise UnsupportedError(f"{self.theirs} is {value!r}; only {self.value!r} can be imported")


@dataclass(frozen=True)
class Implied(Part):
    """A field of ours that has the same value in all models of a family, without a key of theirs."""

    ours: str
    value: Any

    def read(self, config: Config, fields: Fields) -> None:  # noqa: ARG002
        """See ``Part``."""
        put(fields.model, self.ours, self.value)


@dataclass(frozen=True)
class Derived(Part):
    """A field of ours that is a function of a key of theirs. ``to_theirs``: the key's value; by default the field's."""

    theirs: str
    ours: str
    to_ours: Callable[[Any, Config], Any]
    to_theirs: Callable[[ModelSpec], Any] | None = None

    def read(self, config: Config, fields: Fields) -> None:
        """See ``Part``."""
        put(fields.model, self.ours, self.to_ours(look_up(config, self.theirs), config))

    def write(self, spec: ModelSpec, config: Config) -> None:
        """See ``Part``."""
        put(config, self.theirs, self.to_theirs(spec) if self.to_theirs else said(spec, self.ours))


@dataclass(frozen=True)
class Bias(Part):
    """One field of ours for several keys of theirs, one for each kind of projection."""

    theirs: tuple[str, ...]

    def read(self, config: Config, fields: Fields) -> None:
        """See ``Part``."""
        values = [bool(look_up(config, key)) for key in self.theirs]
        if any(values) != all(values):
            raise UnsupportedError(f"{' and '.join(self.theirs)} differ; a model here has biases everywhere or nowhere")
        fields.model["bias"] = values[0]

    def write(self, spec: ModelSpec, config: Config) -> None:
        """See ``Part``."""
        for key in self.theirs:
            put(config, key, spec.bias)


@dataclass(frozen=True)
class Windows(Part):
    """Sliding windows of one width, in all layers or in those that ``layer_types`` lists.

    ``switch``: a key that must be true for windows to be used. ``default``: for a config without ``layer_types``,
    whether a layer has a window; None: the family has no such list, and all layers are alike. ``absent``: the width
    without the key; ``null`` means no window.
    """

    switch: str | None = None
    default: Callable[[Config, int], bool] | None = None
    absent: int | None = 4096

    @property
    def listed_only(self) -> bool:
        """Whether only ``layer_types`` decides which layers have a window."""
        return self.default is not None and self.switch is None

    def read(self, config: Config, fields: Fields) -> None:
        """See ``Part``."""
        width = config.get("sliding_window", self.absent)
        if width is None or (self.switch is not None and not config.get(self.switch)):
            return
        types = _entries(config, "layer_types", len(fields.layers)) if self.default is not None else None
        for index, layer in enumerate(fields.layers):
            if types is not None:
                sliding = types[index] == SLIDING
                if not sliding and types[index] != FULL:
                    raise UnsupportedError(f"layer_types: {types[index]!r} is unknown; known: {FULL!r}, {SLIDING!r}")
            else:
                sliding = self.default is None or self.default(config, index)
            if sliding:
                put(layer, "mixer.window", width)

    def write(self, spec: ModelSpec, config: Config) -> None:
        """See ``Part``."""
        widths = [setting(layer, "mixer.window") for layer in spec.layers]
        width = next((width for width in widths if width is not None), None)
        # If only the list decides, transformers requires a width even if no layer has a window.
        config["sliding_window"] = self.absent if width is None and self.listed_only else width
        if self.switch is not None:
            config[self.switch] = width is not None
        if self.default is not None:
            config["layer_types"] = [FULL if width is None else SLIDING for width in widths]


@dataclass(frozen=True)
class PerLayer(Part):
    """A list of theirs with one entry per layer. ``values``: entry → fields of ours. ``default``: the list of a config
    without one."""

    theirs: str
    values: Mapping[Any, Mapping[str, Any]]
    default: Callable[[Config, int], list[Any]]

    def read(self, config: Config, fields: Fields) -> None:
        """See ``Part``."""
        found = _entries(config, self.theirs, len(fields.layers))
        entries = self.default(config, len(fields.layers)) if found is None else found
        for entry, layer in zip(entries, fields.layers, strict=False):
            if entry not in self.values:
                raise UnsupportedError(
                    f"{self.theirs}: {entry!r} is unknown; known: {', '.join(map(repr, self.values))}"
                )
            for name, value in self.values[entry].items():
                put(layer, name, value)

    def write(self, spec: ModelSpec, config: Config) -> None:
        """See ``Part``."""
        entries = []
        for layer in spec.layers:
            alike = (
                entry
                for entry, fields in self.values.items()
                if all(setting(layer, name) == value for name, value in fields.items())
            )
            entries.append(next(alike, next(iter(self.values))))
        put(config, self.theirs, entries)


def _entries(config: Config, key: str, n_layers: int) -> list[Any] | None:
    """The list at ``key``, which has at least one entry per layer; None if there is no list."""
    entries = config.get(key)
    if entries is not None and len(entries) < n_layers:
        raise UnsupportedError(f"{key} has {len(entries)} entries for {n_layers} layers")
    return list(entries) if entries is not None else None


def read_fields(parts: tuple[Part, ...], always: Mapping[str, Any], config: Config, depth: str) -> dict[str, Any]:
    """Fields of ``ModelSpec`` from all ``parts``. ``depth``: the key for the number of layers."""
    n_layers = look_up(config, depth)
    if not isinstance(n_layers, int) or n_layers < 1:
        raise UnsupportedError(f"{depth} is {n_layers!r}; it must be a whole number from 1 on")
    fields = Fields({"n_layers": n_layers}, [{} for _ in range(n_layers)])
    for name, value in always.items():
        put(fields.model, name, value)
    for part in parts:
        part.read(config, fields)
    folded = _folded(fields.layers)
    return {**fields.model, **{name: over(fields.model.get(name), value) for name, value in folded.items()}}


def _folded(layers: list[dict[str, Any]]) -> dict[str, Any]:
    """The fields of layers as the shortest pattern, or as fields of the model if all layers are alike."""
    count = len(layers)
    names = sorted({name for layer in layers for name in layer})
    period = next(p for p in range(1, count + 1) if count % p == 0 and layers == layers[:p] * (count // p))
    if period == 1:
        return dict(layers[0])
    shared = {
        name: layers[0][name] for name in names if all(layer.get(name) == layers[0].get(name) for layer in layers)
    }
    pattern = [{name: value for name, value in layer.items() if name not in shared} for layer in layers[:period]]
    return {**shared, "pattern": pattern}
