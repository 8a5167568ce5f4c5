"""The page of all settings, and the schema for editors."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator

from assets.graph import experiment_graph
from llm_core import registries
from llm_core.experiment.base import Spec
from llm_core.experiment.experiment import Experiment
from llm_core.experiment.layers import LayerSpec
from llm_core.experiment.load import _Loader
from llm_core.registry import Registry
from llm_core.store.home import PROJECT
from pipelines.experiments import FOLDER, open_experiment
from pipelines.reference.editor import editor_schema
from pipelines.reference.models import schema
from pipelines.reference.page import OUTSIDE, page

SHIPPED = sorted(FOLDER.glob("*.yaml"))


@pytest.fixture(scope="module", autouse=True)
def _as_shipped() -> Iterator[None]:
    """Without the plug-ins that other tests of this process have loaded."""
    with pytest.MonkeyPatch.context() as patch:
        for table in vars(registries).values():
            if isinstance(table, Registry):
                own = {name: target for name, target in table.items() if name not in table._plugins}
                patch.setattr(table, "_targets", own)
        yield


@pytest.fixture(scope="module")
def validator() -> Draft7Validator:
    made = editor_schema()
    Draft7Validator.check_schema(made)
    return Draft7Validator(made)


def test_the_page_is_fresh() -> None:
    text = (PROJECT / "docs" / "settings.md").read_text(encoding="utf-8")
    assert text == page(), "settings changed: run python -m pipelines.reference"


def test_every_setting_says_what_it_means() -> None:
    silent = [
        f"{name}.{field}"
        for name, definition in schema().items()
        if name not in (LayerSpec.__name__, "JsonValue")
        for field, plain in definition["properties"].items()
        if "description" not in plain and "const" not in plain and "$ref" not in str(plain)
    ]
    assert not silent
    assert all(definition.get("description") for name, definition in schema().items() if name != "JsonValue")


def sections(value: Any) -> Iterator[Spec]:
    """All sections that a slice of an experiment holds."""
    if isinstance(value, Spec):
        yield value
        for name in type(value).model_fields:
            yield from sections(getattr(value, name))
    elif isinstance(value, dict | list | tuple):
        for item in value.values() if isinstance(value, dict) else value:
            yield from sections(item)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_stages_get_to_see_no_section_that_the_page_calls_outside(path: Path) -> None:
    experiment = open_experiment(str(path))
    seen = {id(section) for stage in experiment_graph(experiment) for section in sections(dict(stage.config))}
    for name in Experiment.model_fields:
        if name in OUTSIDE:
            assert not seen & {id(section) for section in sections(getattr(experiment, name))}, name


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_an_experiment_is_valid_in_an_editor(validator: Draft7Validator, path: Path) -> None:
    validator.validate(yaml.load(path.read_text(), Loader=_Loader))


@pytest.mark.parametrize(
    "text",
    [
        "{extends: tiny, model: {mixer: {n_heads: 8}, norm: layernorm}}",
        "{extends: tiny, study: null, cleaning: {rules: {min_words: null}}}",
        "{extends: tiny, training: {tokens: '12_000_000'}}",  # as YAML 1.2 reads 12_000_000
        "{model: {preset: tiny_qt, pattern: [{times: 3}, {mixer: {position: nope}}]}}",
        "{study: {training: {batch_tokens: 512}, ideas: {wide: {mixer: {n_heads: 8}, training: {z_loss: 1.0e-4}}}}}",
        "{long_context: {position: {theta: 5000000.0}}, branches: {short: {from_step: 100, steps: 10}}}",
        "{compute: {device: RTX PRO 4500}, tracking: {wandb: off}}",
    ],
)
def test_what_may_be_written(validator: Draft7Validator, text: str) -> None:
    validator.validate(yaml.safe_load(text))


@pytest.mark.parametrize(
    "text",
    [
        "{modle: {d_model: 64}}",
        "{model: {d_modle: 64}}",
        "{model: {mixer: {kind: attention, n_head: 4}}}",
        "{model: {mixer: atention}}",
        "{model: {pattern: [{mixr: mamba2}]}}",
        "{model: {preset: tiny_qd}}",
        "{cleaning: {rules: {min_word: {min: 5}}}}",
        "{raw: {sources: [{kind: files, path: [data]}]}}",
        "{training: {optimizer: {kind: adamw, momentum: 0.9}}}",
        "{training: {tokens: many}}",
        "{training: {grad_clip: -1}}",
        "{study: {ideas: {wide: {compute: {workers: 4}}}}}",
        "{study: {training: {batch_token: 4}}}",
        "{long_context: {position: {thet: 1}}}",
    ],
)
def test_a_typing_error_is_marked(validator: Draft7Validator, text: str) -> None:
    assert not validator.is_valid(yaml.safe_load(text))
