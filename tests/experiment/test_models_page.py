"""Every model that docs/models.md shows is one."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from llm_core.experiment.model import ModelSpec
from llm_core.experiment.model_presets import MODELS
from llm_core.model.accounting import parameter_count
from llm_core.registries import ABSOLUTE_POSITIONS, FEED_FORWARDS, MIXERS, NORMS, POSITIONS
from llm_core.store.home import PROJECT

PAGE = (PROJECT / "docs" / "models.md").read_text(encoding="utf-8")
SECTIONS = [
    data["model"] for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL) for data in yaml.safe_load_all(block)
]


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: "-".join(list(section)[1:3]))
def test_every_example_is_a_model(section: dict[str, Any]) -> None:
    assert ModelSpec.model_validate_json(json.dumps(section)).n_layers > 0


def test_every_field_and_name_is_shown() -> None:
    shown = set(_keys(SECTIONS))
    # Gemma's embedding scale and so on are all there; this is for tuning, and has a word in the text.
    assert set(ModelSpec.model_fields) - shown == {"init_std"}
    for registry in (MIXERS, FEED_FORWARDS, NORMS, POSITIONS, ABSOLUTE_POSITIONS):
        for kind in registry:
            assert set(registry.load(kind).model_fields) <= shown, kind
            assert re.search(rf"\b{kind}\b", PAGE)
    for name in MODELS:
        assert f"`{name}`" in PAGE


def _keys(data: Any) -> Iterator[str]:
    for item in data if isinstance(data, list) else data.values() if isinstance(data, dict) else ():
        yield from _keys(item)
    yield from data if isinstance(data, dict) else ()


def test_counts_of_models_by_name() -> None:
    rows = re.findall(r"\| `(\w[\w.]+)` \| [^|]+ \| ([\d,]+) \| ([\d,]+) \| ([\d,]+) \|", PAGE)
    assert len(rows) == 8
    for name, *numbers in rows:
        vocab_size, total, without = (int(number.replace(",", "")) for number in numbers)
        count = parameter_count(ModelSpec.model_validate({"preset": name}), vocab_size)
        assert (count.total, count.without_embeddings) == (total, without), name
