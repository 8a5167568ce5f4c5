"""The parts of the noise, planted: initial weights, order of data, and held-out text."""

import json

import numpy as np
import pytest
import torch

from llm_core.graph.job import Job
from llm_core.model.build import build_model
from llm_core.study import noise_law
from llm_core.study.ladder import ladder
from llm_core.study.study_run import SAME_WEIGHTS
from llm_core.tokens.order import Order
from llm_core.train.validation_windows import WINDOWS
from tests.study.planted import MODEL, STUDY, TRAINING, VOCABULARY, artifact
from tests.study.test_ladder import MODEL as SMALL
from tests.study.test_ladder import content, planned

WEIGHTS, ORDER = 0.006, 0.003
DOCUMENTS, WINDOWS_EACH = 40, 3
TEXT, TEXT_BETWEEN = 0.3, 0.02
"""Standard deviations between documents, as shares of the loss: of the loss, and of what a run adds to it."""
SIZES = [{"width": 256, "seeds": 30, "orders": 30}, {"width": 512}]


@pytest.fixture(scope="module", name="law")
def made_law(tmp_path_factory):
    folder = tmp_path_factory.mktemp("noise")
    plain = {**STUDY.model_dump(mode="json"), "sizes": SIZES, "gate": None, "tokens_per_parameter": [5]}
    runs = ladder(type(STUDY).model_validate_json(json.dumps(plain)), MODEL, TRAINING, VOCABULARY, 7)
    documents = np.repeat(np.random.default_rng(0).normal(1, TEXT, DOCUMENTS), WINDOWS_EACH)
    made = {}
    for run in (*runs.of("cooldown"), *runs.of("orders")):
        weights = np.random.default_rng(run.seed % SAME_WEIGHTS).normal(0, WEIGHTS)
        order = np.random.default_rng([run.seed, 1]).normal(0, ORDER)
        own = np.repeat(np.random.default_rng([run.seed, 2]).normal(0, TEXT_BETWEEN, DOCUMENTS), WINDOWS_EACH)
        losses = documents + own - own.mean()
        path = folder / run.role
        path.mkdir(parents=True)
        rows = [
            {"text_nats": 100 * loss, "bytes": 100, "document": number // WINDOWS_EACH}
            for number, loss in enumerate(losses)
        ]
        (path / WINDOWS).write_text("\n".join([*map(json.dumps, rows), '{"text_nats": 0.0, "bytes": 0}']) + "\n")
        loss = float(np.exp(weights + order))
        made[run.role] = artifact({"final_validation_bits_per_byte": loss, "validation_tokens": 1024}, path=path)
    job = Job("noise_law", "identity", made, folder, folder)
    return noise_law.build(job, runs.of("cooldown"), runs.compared("orders"))


def test_the_parts_of_weights_and_order_are_found(law):
    (between,) = law.by_width.values()
    assert between["low"] < np.hypot(WEIGHTS, ORDER) < between["high"]
    assert law.orders["256"]["low"] < ORDER < law.orders["256"]["high"]
    assert law.orders["256"]["freedom"] == 29
    assert law.weights["256"] == pytest.approx(WEIGHTS, rel=0.35)
    assert law.weights["256"] ** 2 + law.orders["256"]["sd"] ** 2 == pytest.approx(between["sd"] ** 2)


def test_windows_of_a_document_are_no_independent_evidence_about_the_text(law):
    assert set(law.text) == {"256", "512"}
    for error in law.text.values():
        assert error == pytest.approx(TEXT / DOCUMENTS**0.5, rel=0.3)  # not over the windows
    assert law.text_between_seeds == {"256": pytest.approx(TEXT_BETWEEN / DOCUMENTS**0.5, rel=0.1)}


def test_another_order_has_the_same_initial_weights():
    states = []
    for seed in (7, 7 + SAME_WEIGHTS, 8):
        torch.manual_seed(seed)
        states.append(build_model(SMALL, 64).state_dict())
    same, other = (
        all(torch.equal(weights, state[name]) for name, weights in states[0].items()) for state in states[1:]
    )
    assert same
    assert not other
    first, second = (Order(100, seed, "").rows(np.arange(100)) for seed in (7, 7 + SAME_WEIGHTS))
    assert (first != second).mean() > 0.9


def test_orders_are_added_to_a_study_without_other_changes():
    sizes = [{"width": 32, "seeds": 2}]
    before, after = content(planned(sizes=sizes)), planned(sizes=[{**sizes[0], "orders": 3}])
    assert {name: content(after)[name] for name in before} == before
    added = [stage for stage in after.stages if stage.name not in before]
    assert [stage.name for stage in added] == ["order_runs/width_32_order_2", "order_runs/width_32_order_3"]
    assert [stage.seed for stage in added] == [7 + SAME_WEIGHTS, 7 + 2 * SAME_WEIGHTS]
    first, *others = after.compared("orders")
    assert first.role == after.of("cooldown")[1].role  # the last budget of the first seed
    assert others == [stage.run for stage in added]
    assert {run.tokens for run in (first, *others)} == {first.tokens}
