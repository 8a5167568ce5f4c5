"""What is asked of a suite's items, and how answers are judged; against lm-eval's own multiple-choice metrics."""

import json
import math
from pathlib import Path

import pytest
from lm_eval.evaluator import evaluate
from lm_eval.tasks import TaskManager

from llm_core.data.suites import read_suite
from llm_core.evals.lm import PedigreeLM
from llm_core.evals.scores import task_rows
from llm_core.evals.suite_rows import asked, suite_lines
from llm_core.evals.suite_tasks import score_choices, score_pair, score_word, suite_task
from llm_core.experiment.suites import MultipleChoiceSuite
from llm_core.model.files import load_model
from tests.evals.conftest import World
from tests.evals.suites import suites


def adapter(world: World) -> PedigreeLM:
    model, _ = load_model(world.folder / "model")
    return PedigreeLM(model, world.tokenizer, world.eot, 32, 3, 2, lambda *_: None)


def test_the_figures_are_those_of_lm_eval(world: World, tmp_path: Path) -> None:
    suite = suites(tmp_path)[1]
    items = read_suite(suite)
    rows = [asked(suite, item) for item in items]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    ours = suite_task("quiz", "multiple_choice", tmp_path / "rows.jsonl")
    theirs = {
        **{name: ours[name] for name in ("custom_dataset", "test_split", "num_fewshot", "output_type", "doc_to_text",
                                         "doc_to_target")},
        "task": "theirs", "doc_to_choice": lambda row: row["choices"], "target_delimiter": " ",
        "metric_list": [{"metric": name, "aggregation": "mean", "higher_is_better": True}
                        for name in ("acc", "acc_bytes")],
    }  # fmt: skip
    tasks = TaskManager(include_defaults=False).load([ours, theirs])
    report = evaluate(lm=adapter(world), task_dict=tasks, bootstrap_iters=0, log_samples=True)
    scores = [
        {"task": "quiz", "choice_bits": [nats for nats, _ in row["filtered_resps"]], **row}
        for row in report["samples"]["quiz"]
    ]
    found = {row["metric"]: row for row in task_rows(suite_lines(suite, items, scores))}
    assert found["accuracy"]["value"] == pytest.approx(report["results"]["theirs"]["acc,none"])
    assert found["accuracy_per_byte"]["value"] == pytest.approx(report["results"]["theirs"]["acc_bytes,none"])
    assert found["accuracy"]["chance"] == pytest.approx(1 / 3)
    assert found["accuracy"]["value"] != found["accuracy_per_byte"]["value"]


def test_what_is_asked(tmp_path: Path) -> None:
    pairs, quiz, words, texts = suites(tmp_path)
    assert asked(pairs, read_suite(pairs)[0])["context"] == ""
    assert asked(quiz, read_suite(quiz)[0]) == {
        "context": "what is a 0?\nanswer:",
        "choices": ["a", "zq", "the list of a file and returns value"],
        "gold": 0, "delimiter": " ",
    }  # fmt: skip
    assert asked(words, read_suite(words)[1]) == {"context": "an", "choices": ["x"], "gold": 0, "delimiter": " "}
    assert asked(texts, read_suite(texts)[0])["delimiter"] == ""


def test_a_tie_is_no_answer() -> None:
    assert score_pair({"gold": 0}, [(-2.0, False), (-2.0, True)]) == {"right": 0.0}
    assert score_pair({"gold": 0}, [(-2.0, False), (-2.1, True)]) == {"right": 1.0}


def test_choices_in_all_and_per_byte() -> None:
    row = {"choices": ["ab", "abcdλ"], "gold": 1}
    score = score_choices(row, [(-2.0, True), (-3.0, False)])
    assert score == {"right": 0.0, "right_per_byte": 1.0, "bits": pytest.approx(3 / math.log(2))}
    assert score_word({}, [(-1.0, True)]) == {"right": 1.0, "bits": pytest.approx(1 / math.log(2))}


def test_chance_follows_the_number_of_choices(tmp_path: Path) -> None:
    path = tmp_path / "q.jsonl"
    path.write_text(
        '{"query": "Q", "choices": ["a", "b"], "gold": 0}\n{"query": "Q", "choices": ["a", "b", "c", "d"], "gold": 0}'
    )
    suite = MultipleChoiceSuite(name="q", path=str(path))
    score = {"task": "q", "right": 1.0, "right_per_byte": 0.0, "choice_bits": [6.0, 7.0, 8.0, 9.0]}
    rows = task_rows(suite_lines(suite, read_suite(suite), [score, score]))
    assert [(row["metric"], row["value"], row["chance"]) for row in rows] == [
        ("accuracy", 1.0, 0.375), ("accuracy_per_byte", 0.0, 0.375), ("bits_per_byte", 3.0, None),
    ]  # fmt: skip
