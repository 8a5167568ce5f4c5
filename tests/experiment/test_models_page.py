"""Every model that docs/models.md shows is one."""

import json
import re
from typing import Any

import pytest
import yaml

from llm_core.experiment.model import ModelSpec
from llm_core.experiment.model_presets import MODELS
from llm_core.model.accounting import parameter_count
from llm_core.store.home import PROJECT

PAGE = (PROJECT / "docs" / "models.md").read_text(encoding="utf-8")
SECTIONS = [
    data["model"] for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL) for data in yaml.safe_load_all(block)
]


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: "-".join(list(section)[1:3]))
def test_every_example_is_a_model(section: dict[str, Any]) -> None:
    assert ModelSpec.model_validate_json(json.dumps(section)).n_layers > 0


def test_every_field_and_name_is_shown() -> None:
    shown = {key for section in SECTIONS for key in section}
    # Gemma's embedding scale and so on are all there; these are for tuning, and have a word in the text.
    assert set(ModelSpec.model_fields) - shown <= {"window", "norm_eps", "init_std"}
    for name in MODELS:
        assert f"`{name}`" in PAGE


def test_counts_of_models_by_name() -> None:
    rows = re.findall(r"\| `(\w[\w.]+)` \| [^|]+ \| ([\d,]+) \| ([\d,]+) \| ([\d,]+) \|", PAGE)
    assert len(rows) == 5
    for name, *numbers in rows:
        vocab_size, total, without = (int(number.replace(",", "")) for number in numbers)
        count = parameter_count(ModelSpec.model_validate({"preset": name}), vocab_size)
        assert (count.total, count.without_embeddings) == (total, without), name
