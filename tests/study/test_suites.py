import json

import pytest

from llm_core.errors import PedigreeError
from llm_core.study.suite_forecast import all_forecast
from llm_core.study.suite_signal import some_suite_decides
from llm_core.study.suites import evaluation_of, rows_of
from tests.study.planted import CHANCE, LADDER, LAUNCHED, Study, clear_accuracy, gold_bits, law


@pytest.fixture(scope="module", name="study")
def made_study(tmp_path_factory):
    study = Study(tmp_path_factory.mktemp("suites"))
    study.gate()
    return study


def of(rows, task, metric):
    return [row for row in rows if (row["task"], row["metric"]) == (task, metric)]


def test_a_suite_decides_where_it_is_above_chance_and_noise(study):
    results = study.suite_signal()
    clear, blind = of(results.rows, "clear", "accuracy"), of(results.rows, "blind", "accuracy")
    assert [(row["width"], row["decides"]) for row in clear] == [(256, False), (512, True), (768, True), (1024, True)]
    assert not any(row["decides"] for row in blind)
    assert {row["chance"] for row in blind} == {CHANCE["blind"]}
    # Bits per byte of the right answer tell more than accuracies do.
    assert all(row["decides"] for row in of(results.rows, "blind", "bits_per_byte"))
    assert some_suite_decides(results, None).message == "suites that decide at some size: blind, clear"
    assert not some_suite_decides(results.model_copy(update={"rows": blind}), None).passed


def test_the_forecast_covers_the_suite_and_refuses_one_at_chance(study):
    results = study.suite_forecast()
    bits = gold_bits(law(LAUNCHED.parameters, LAUNCHED.tokens))
    for metric, truth in (("bits_per_byte", bits), ("accuracy", clear_accuracy(bits))):
        (row,) = of(results.rows, "clear", metric)
        assert row["low"] < truth < row["high"]
        assert row["high"] - row["low"] < 0.1
    (refused,) = of(results.rows, "blind", "accuracy")
    assert refused["forecast"] is None
    assert refused["reason"] == "0 of 28 runs are above chance; a forecast takes 2"
    (known,) = of(results.rows, "blind", "bits_per_byte")
    assert known["low"] < bits < known["high"]
    assert all_forecast(results, None).message == "no forecast of some scores of blind"
    assert study.made["launch_gate"].results(type(study.gate())).suites == results.rows, "sealed"


def test_questions_from_heldout_text_are_a_suite_and_the_rest_is_not(tmp_path):
    tasks = ["heldout", "baseline_unigram", "continuation", "quiz", "baseline_overlap"]
    lines = [json.dumps({"task": task, "metric": "accuracy"}) for task in tasks]
    (tmp_path / "evals.jsonl").write_text("\n".join(lines))
    assert [task for task, _ in rows_of(tmp_path)] == ["continuation", "quiz"]


def test_runs_with_other_items_are_not_compared(tmp_path):
    study = Study(tmp_path)
    study.evaluate()
    path = study.made[evaluation_of(LADDER.of("cooldown")[1])].path / "evals.jsonl"
    path.write_text(path.read_text().replace('"n": 2000', '"n": 1999'))
    with pytest.raises(PedigreeError, match=r"suite_signal: .* same items of clear \(accuracy\)"):
        study.suite_signal()


def test_a_diverged_run_is_left_out_of_the_forecast(tmp_path):
    role = LADDER.of("cooldown")[0].role
    study = Study(tmp_path, {role: {"final_validation_bits_per_byte": None}})
    study.evaluate()
    for stage in (study.noise, study.law, study.forecast):
        stage()
    (row,) = of(study.suite_forecast().rows, "clear", "bits_per_byte")
    assert row["high"] < 1.1
