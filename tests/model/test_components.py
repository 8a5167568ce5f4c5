"""What every kind of component must keep to, the kinds of tomorrow too."""

from typing import Any

import pytest
from pydantic import ValidationError

from llm_core import registries
from llm_core.contracts.settings import entries_of, torch_after_loading, unexplained
from llm_core.experiment.component import Component
from llm_core.experiment.model import ModelSpec
from tests.model.shapes import BASE, MODELS, named, spec

NAMES = ("MIXERS", "POSITIONS", "ABSOLUTE_POSITIONS", "NORMS", "FEED_FORWARDS")
KINDS = [(registry, kind) for registry in NAMES for kind in getattr(registries, registry)]

every_kind = pytest.mark.parametrize(("registry", "kind"), KINDS, ids=[kind for _, kind in KINDS])


def loaded(registry: str, kind: str) -> type[Component]:
    found: type[Component] = getattr(registries, registry).load(kind)
    return found


def settings(registry: str, kind: str) -> dict[str, Any]:
    """The kind with the settings that it can't do without: all of them are sizes."""
    fields = loaded(registry, kind).model_fields
    return {"kind": kind, **{name: 4 for name, field in fields.items() if field.is_required()}}


def holder(registry: str, component: str | dict[str, Any]) -> dict[str, Any]:
    """The fields of ``ModelSpec`` that hold it."""
    if registry == "POSITIONS":
        return {"mixer": {"kind": "attention", "n_heads": 4, "position": component}}
    return {registry.lower().removesuffix("s"): component}


def held(shape: ModelSpec, registry: str) -> Component | None:
    """What of the first layer, or of the model, is of the registry."""
    (layer, *_) = shape.layers
    found: Component | None = {
        "MIXERS": layer.mixer,
        "POSITIONS": layer.mixer.position_of(),
        "ABSOLUTE_POSITIONS": shape.absolute_position,
        "NORMS": layer.norm,
        "FEED_FORWARDS": layer.feed_forward,
    }[registry]
    return found


def test_all_load_without_torch() -> None:
    assert not torch_after_loading(entries_of(*NAMES))


@every_kind
def test_a_kind_has_the_name_of_its_class(registry: str, kind: str) -> None:
    assert loaded(registry, kind).model_fields["kind"].default == kind
    with pytest.raises(ValidationError):
        loaded(registry, kind).model_validate({**settings(registry, kind), "kind": "another"})


@every_kind
def test_what_it_is_and_what_its_settings_mean_is_written(registry: str, kind: str) -> None:
    assert not unexplained(loaded(registry, kind))


@every_kind
def test_it_comes_back_from_json(registry: str, kind: str) -> None:
    shape = spec(**holder(registry, settings(registry, kind)))
    component = held(shape, registry)
    assert isinstance(component, loaded(registry, kind))
    back = ModelSpec.model_validate_json(shape.model_dump_json())
    assert back == shape
    assert held(back, registry) == component
    assert ModelSpec.model_validate(shape.model_dump(mode="json")) == shape


@every_kind
def test_a_setting_that_it_does_not_have_is_an_error_that_names_it(registry: str, kind: str) -> None:
    wrong = holder(registry, {**settings(registry, kind), "nonsense": 1})
    with pytest.raises(ValidationError, match=f"{kind}: nonsense: there is no such key"):
        spec(**wrong)
    if registry != "ABSOLUTE_POSITIONS":
        with pytest.raises(ValidationError, match=rf"pattern\[1\].*{kind}: nonsense: there is no such key"):
            spec(pattern=({}, wrong))


@every_kind
def test_a_setting_that_it_can_not_do_without_is_asked_for(registry: str, kind: str) -> None:
    whole = settings(registry, kind)
    for name in whole.keys() - {"kind"}:
        fewer = {key: value for key, value in whole.items() if key != name}
        # Not by ``spec``: there the small model's own settings would fill the gap.
        with pytest.raises(ValidationError, match=f"{kind}: {name}: Field required"):
            ModelSpec.model_validate({**BASE, **holder(registry, fewer)})


@pytest.mark.parametrize("registry", NAMES)
def test_an_unknown_kind_is_an_error_that_names_the_known_ones(registry: str) -> None:
    known = ", ".join(sorted(getattr(registries, registry)))
    unknown: tuple[str | dict[str, Any], ...] = ("nonsense", {"kind": "nonsense"})
    for component in unknown:
        with pytest.raises(ValidationError, match=f"unknown .* 'nonsense'; known: {known}"):
            spec(**holder(registry, component))


def test_every_kind_is_among_the_models_of_the_tests() -> None:
    """So that all that must hold for any model is tried with it."""
    shapes = [named(name) for name in MODELS]
    layers = [layer for shape in shapes for layer in shape.layers]
    positions = [layer.mixer.position_of() for layer in layers]
    found = {
        "MIXERS": {layer.mixer.kind for layer in layers},
        "POSITIONS": {position.kind for position in positions if position is not None},
        "ABSOLUTE_POSITIONS": {shape.absolute_position.kind for shape in shapes if shape.absolute_position is not None},
        "NORMS": {layer.norm.kind for layer in layers},
        "FEED_FORWARDS": {layer.feed_forward.kind for layer in layers if layer.feed_forward is not None},
    }
    assert found == {registry: set(getattr(registries, registry)) for registry in NAMES}
